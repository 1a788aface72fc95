"""HTTP/1.1 over asyncio, no more than a client of the OpenAI protocol needs, at a fifth of aiohttp's cost.

The parser is httptools' (that of Node.js). A connection carries one request at a time and is kept alive;
one that failed in any way is closed and never used again.
"""

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from selflong.job import UserError

IDLE_SECONDS = 4.0  # uvicorn, and so vLLM, closes a connection after 5 idle seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""


class _Connection(asyncio.Protocol):
    """One connection; the callbacks `on_*` are the parser's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Reply] | None = None
        self.idle_since = 0.0
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._parser = httptools.HttpResponseParser(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError("the connection was cut"))

    def _fail(self, error: OSError) -> None:
        self.usable = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self._transport.abort()

    def on_message_begin(self) -> None:
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._reply is None or self._reply.done():  # nobody asked
            self._fail(ConnectionError("the server spoke unasked"))
            return
        self.usable = self._parser.should_keep_alive()
        self._reply.set_result(
            Reply(self._parser.get_status_code(), b"".join(self._parts), self._headers)
        )

    async def send(self, message: bytes, timeout_seconds: float) -> Reply:
        self._reply = self._loop.create_future()
        self._transport.write(message)
        # asyncio.timeout costs a tenth of the whole request.
        timer = self._loop.call_later(timeout_seconds, self._fail, TimeoutError())
        try:
            return await self._reply
        finally:
            timer.cancel()
            self._reply = None

    def close(self) -> None:
        self.usable = False
        self._transport.abort()


class Transport:
    """Connections to one endpoint. Proxies are not used."""

    def __init__(self, base_url: str, api_key: str) -> None:
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise UserError(f"{base_url!r} is not the address of an endpoint: give http(s)://host")
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if url.scheme == "https" else None
        self._path = url.path.rstrip("/")
        self._headers = (
            f" HTTP/1.1\r\nHost: {url.netloc.rpartition('@')[2]}\r\n"
            f"Authorization: Bearer {api_key}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: "
        )
        self._idle: list[_Connection] = []

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Reply:
        """Send `body` and wait for the whole reply.

        Raises TimeoutError, or another OSError where the connection fails.
        """
        connection = self._take()
        if connection is None:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._connect()
        try:
            head = f"POST {self._path}{path}{self._headers}{len(body)}\r\n\r\n"
            reply = await connection.send(head.encode("latin-1") + body, timeout_seconds)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()
        return reply

    def _take(self) -> _Connection | None:
        fresh = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > fresh:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            _Connection, self._host, self._port, ssl=self._ssl
        )
        return connection

    def close(self) -> None:
        """Close the idle connections; those in use are closed by their requests."""
        while self._idle:
            self._idle.pop().close()
