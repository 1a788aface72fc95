"""One endpoint over HTTP: aiohttp, and what it is told not to do.

A reply is read whole, up to a limit. Nothing is followed elsewhere and no cookie is kept, so that the key
goes to the endpoint alone. Not httpx: it takes 1.5 ms of CPU a request, aiohttp 0.14.
"""

import ipaddress
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from selflong.job import UserError

IDLE_SECONDS = 4.0  # uvicorn, and so vLLM, closes a connection after 5 idle seconds
CONNECT_SECONDS = 60.0
LARGEST_REPLY = (
    1 << 30
)  # bytes; an answer of 100k tokens takes 1.5 MB with their ids, a batch many of them


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Looked up in lower case."""


class Transport:
    """Connections to one endpoint, kept alive; `async with Transport(...) as transport:`.

    They go through the proxy that the environment names for it, if any; or to a Unix socket.
    """

    def __init__(self, base_url: str, api_key: str, socket: Path | None = None) -> None:
        self._base_url = base_url
        self._socket = socket
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }

    async def __aenter__(self) -> "Transport":
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy_of(self._base_url),
        )
        return self

    def _connector(self) -> aiohttp.BaseConnector:
        if self._socket is not None:
            return aiohttp.UnixConnector(str(self._socket), limit=0, keepalive_timeout=IDLE_SECONDS)
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS)

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Reply:
        """Send `body` and wait for the whole reply.

        Raises TimeoutError, ssl.SSLCertVerificationError, or another OSError where the connection fails.
        """
        return await self._send("POST", path, timeout_seconds, data=body)

    async def get(self, path: str, timeout_seconds: float) -> Reply:
        """What lies at `path`; raises as `post` does."""
        return await self._send("GET", path, timeout_seconds)

    async def upload(self, path: str, content: bytes, timeout_seconds: float) -> Reply:
        """Send a file of requests for a batch; raises as `post` does."""
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", content, filename="requests.jsonl", content_type="application/jsonl")
        multipart = form()
        return await self._send(
            "POST", path, timeout_seconds, data=multipart, headers=multipart.headers
        )

    async def _send(self, method: str, path: str, timeout_seconds: float, **content: Any) -> Reply:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._session.request(
                method, self._base_url + path, allow_redirects=False, timeout=timeout, **content
            ) as response:
                return Reply(response.status, await _read(response), response.headers)
        except aiohttp.ClientHttpProxyError as error:
            return Reply(error.status, error.message.encode())
        except (TimeoutError, ssl.SSLCertVerificationError):
            raise
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error) or type(error).__name__) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > LARGEST_REPLY:
            raise ConnectionError(f"a reply of more than {LARGEST_REPLY >> 20} MiB")
    return bytes(body)


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`; none for this machine, whatever it says."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxy: Any = urllib.request.getproxies().get(parts.scheme)
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise UserError(
            f"the environment variable {parts.scheme}_proxy names a proxy that is not spoken to: "
            "name one by http://, or take the variable away"
        )
    return proxy or None


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
