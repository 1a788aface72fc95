"""Requests by way of a provider's batch API: cheaper, answered within a day.

What is posted is gathered until nothing more comes, goes up as a file of JSON lines, and is answered by
another file (https://platform.openai.com/docs/guides/batch). To the client this is a transport like any
other, only slow: it judges, stores and repeats as it does elsewhere.

Nothing is paid for twice. Before a batch is made its requests' names are written down, under a name that the
batch carries as metadata; a process that is killed at any moment finds the batch again, by its id or by that
name, and a request that it holds waits for it.
"""

import asyncio
import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from selflong.formats import write_json
from selflong.job import UserError
from selflong.llm.protocol import Batches
from selflong.llm.transport import Reply

logger = logging.getLogger(__name__)

FILES, BATCHES = "/v1/files", "/v1/batches"
WINDOW = "24h"
LABEL = "selflong"
CALL_SECONDS = 600.0
"""For a file to go up or come down."""
LARGEST_FILE = 190 << 20
"""Bytes; OpenAI takes 200 MB."""
ATTEMPTS = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
FULL = "token_limit_exceeded"
"""Code of a batch that finds the provider's queue for this account full."""
NOT_ANSWERED = 408
"""Status that a request gets whose batch ended without it: the client asks again."""
_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@contextmanager
def _of_batch_api() -> Iterator[None]:
    """ConnectionError, which may pass, where a reply does not have the form that the API gives it."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ConnectionError("a reply that is none of a batch API") from error


class Calls(Protocol):
    """What a transport does beside posts."""

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Reply: ...
    async def get(self, path: str, timeout_seconds: float) -> Reply: ...
    async def upload(self, path: str, content: bytes, timeout_seconds: float) -> Reply: ...


class _Refused(Exception):
    """The provider does not take a call; the requests behind it share its reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"status {reply.status}")
        self.reply = reply


@dataclass
class _Batch:
    """One batch, as its file in the journal says it."""

    name: str
    path: str
    """Of the protocol, which all its requests have."""
    requests: list[str]
    id: str | None = None
    replies: "asyncio.Task[dict[str, Reply]] | None" = field(default=None, compare=False)

    def save(self, folder: Path) -> None:
        content = {"path": self.path, "requests": self.requests, "id": self.id}
        write_json(content, folder / f"{self.name}.json")


@dataclass
class _Waiting:
    """A request that belongs to no batch yet."""

    path: str
    body: bytes
    batch: "asyncio.Future[_Batch]"


def request_name(path: str, body: bytes) -> str:
    """The custom_id of a request: equal requests have one."""
    return hashlib.sha256(f"{path}\n".encode() + body).hexdigest()


class BatchTransport:
    """Posts by batches; `async with BatchTransport(...) as transport:`. folder: of the journal."""

    def __init__(self, calls: Calls, settings: Batches, folder: Path) -> None:
        self._calls = calls
        self._settings = settings
        self._folder = folder
        self._held: dict[str, _Batch] = {}
        """By the name of each request that a batch holds."""
        self._waiting: dict[str, _Waiting] = {}
        self._arrived = asyncio.Event()
        self._work: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> "BatchTransport":
        for file in sorted(self._folder.glob("*.json")):
            batch = _read_journal(file)
            if batch.id is not None or await self._was_made(batch):
                self._hold(batch)  # of a request that was asked again the last one counts
            else:
                file.unlink()
        self._start(self._gather())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _was_made(self, batch: _Batch) -> bool:
        """Whether a batch exists whose making was interrupted."""
        try:
            return await self._find(batch)
        except (OSError, _Refused) as error:
            raise UserError(
                f"{self._folder / batch.name}.json names a batch of an earlier run, and the endpoint does "
                f"not say whether it was made ({error}): see to the endpoint and start again"
            ) from None

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Reply:
        """The reply of the batch that holds this request already, or of the next one."""
        name = request_name(path, body)
        async with asyncio.timeout(timeout_seconds):
            try:
                reply = (await self._replies(name, path, body)).get(name)
            except _Refused as refused:
                reply = refused.reply
        if reply is None:
            reply = _reply(NOT_ANSWERED, "its batch ended without an answer")
        if reply.status != 200:
            self._held.pop(name, None)  # asked again, it goes into another batch
        return reply

    async def _replies(self, name: str, path: str, body: bytes) -> dict[str, Reply]:
        batch = self._held.get(name)
        if batch is None:
            waiting = self._waiting.get(name)
            if waiting is None:
                made: asyncio.Future[_Batch] = asyncio.get_running_loop().create_future()
                waiting = self._waiting[name] = _Waiting(path, body, made)
                self._arrived.set()
            batch = await asyncio.shield(waiting.batch)
        if batch.replies is None:
            batch.replies = self._start(self._follow(batch))
        try:
            return await asyncio.shield(batch.replies)
        except (OSError, _Refused):
            batch.replies = None  # the next attempt looks again
            raise

    def _start(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def _hold(self, batch: _Batch) -> None:
        self._held.update(dict.fromkeys(batch.requests, batch))

    # -------------------------------------------------------------------------------- on the way up

    async def _gather(self) -> None:
        """Send what waits, when nothing more came for a while or a batch is full."""
        while True:
            await self._arrived.wait()
            while len(self._waiting) < self._settings.requests:
                self._arrived.clear()
                try:
                    await asyncio.wait_for(self._arrived.wait(), self._settings.gather_seconds)
                except TimeoutError:
                    break
            await self._send(self._take())
            if not self._waiting:
                self._arrived.clear()

    def _take(self) -> dict[str, _Waiting]:
        """The first that wait, of one path, as many as one file holds."""
        taken: dict[str, _Waiting] = {}
        size = 0
        for name, waiting in self._waiting.items():
            if taken and waiting.path != next(iter(taken.values())).path:
                continue
            size += len(waiting.body) + 200
            if taken and (len(taken) == self._settings.requests or size > LARGEST_FILE):
                break
            taken[name] = waiting
        for name in taken:
            del self._waiting[name]
        return taken

    async def _send(self, taken: dict[str, _Waiting]) -> None:
        """Make a batch of them; where that fails, they fail with it."""
        path = next(iter(taken.values())).path
        batch = _Batch(f"{time.time_ns():020}-{secrets.token_hex(4)}", path, list(taken))
        batch.save(self._folder)
        try:
            await self._make(batch, b"".join(map(_line, taken, taken.values())))
        except (OSError, _Refused) as failed:
            for waiting in taken.values():
                waiting.batch.set_exception(failed)
            return
        self._hold(batch)
        for waiting in taken.values():
            waiting.batch.set_result(batch)
        logger.info("batch %s: %d requests", batch.id, len(taken))

    async def _make(self, batch: _Batch, content: bytes) -> None:
        file = await self._call(lambda: self._calls.upload(FILES, content, CALL_SECONDS))
        body = {
            "input_file_id": _id(file),
            "endpoint": batch.path,
            "completion_window": WINDOW,
            "metadata": {LABEL: batch.name},
        }
        encoded = json.dumps(body).encode()

        async def create() -> Reply:
            # A call that was not answered may have made it.
            if await self._find(batch):
                return Reply(200, json.dumps({"id": batch.id}).encode())
            return await self._calls.post(BATCHES, encoded, CALL_SECONDS)

        batch.id = _id(await self._call(create))
        batch.save(self._folder)

    async def _find(self, batch: _Batch) -> bool:
        """Set the id of a batch that may have been made, by the name that it carries."""
        last = ""
        while True:
            path = f"{BATCHES}?limit=100" + (f"&after={last}" if last else "")
            page = await self._call(lambda path=path: self._calls.get(path, CALL_SECONDS))
            with _of_batch_api():
                items = [(_id(item), item.get("metadata") or {}) for item in page["data"]]
                found = [id for id, metadata in items if metadata.get(LABEL) == batch.name]
            if found:
                batch.id = found[0]
                batch.save(self._folder)
                return True
            if not page.get("has_more") or not items or items[-1][0] == last:
                return False
            last = items[-1][0]

    # ------------------------------------------------------------------------------ on the way down

    async def _follow(self, batch: _Batch) -> dict[str, Reply]:
        """Wait for the end of a batch: the reply to each of its requests that has one."""
        while True:
            state = await self._call(lambda: self._calls.get(f"{BATCHES}/{batch.id}", CALL_SECONDS))
            if state.get("status") in _ENDED:
                break
            await asyncio.sleep(self._settings.poll_seconds)
        logger.info("batch %s: %s", batch.id, state["status"])
        replies: dict[str, Reply] = {}
        for name in ("output_file_id", "error_file_id"):
            if file := state.get(name):
                with _of_batch_api():
                    path = f"{FILES}/{_in_paths(file)}/content"
                content = await self._read(lambda path=path: self._calls.get(path, CALL_SECONDS))
                replies |= dict(_replies(content))
        if state["status"] == "failed":
            with _of_batch_api():
                failed = _failure(state)
            return {name: replies.get(name, failed) for name in batch.requests}
        return replies

    async def _call(self, call: Any) -> Any:
        """The JSON object that a call answers with."""
        content = await self._read(call)
        with _of_batch_api():
            found = json.loads(content)
            if not isinstance(found, dict):
                raise TypeError
            return found

    async def _read(self, call: Any) -> bytes:
        """The body that a call answers with; repeated where the next attempt may succeed."""
        pause = FIRST_PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply: Reply = await call()
            except OSError:
                if attempt == ATTEMPTS:
                    raise
            else:
                if reply.status == 200:
                    return reply.body
                if reply.status not in _AGAIN or attempt == ATTEMPTS:
                    raise _Refused(reply)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        raise AssertionError("the last attempt returns or raises")


def _line(name: str, waiting: _Waiting) -> bytes:
    """A request as a line of the file that goes up."""
    head = json.dumps({"custom_id": name, "method": "POST", "url": waiting.path})
    return head[:-1].encode() + b', "body": ' + waiting.body + b"}\n"


def _read_journal(file: Path) -> _Batch:
    """The batch that a file of the journal tells of; UserError where it is damaged."""
    try:
        with _of_batch_api():
            content = json.loads(file.read_text(encoding="utf-8"))
            path, requests, made = content["path"], content["requests"], content["id"]
            if not all(isinstance(text, str) for text in (path, *requests)):
                raise TypeError
            return _Batch(file.stem, path, requests, None if made is None else _in_paths(made))
    except ConnectionError:
        raise UserError(
            f"{file} is damaged: it named a batch whose answers may be paid for; remove it to ask again"
        ) from None


def _id(content: dict[str, Any]) -> str:
    """The id of what a reply tells of."""
    with _of_batch_api():
        return _in_paths(content["id"])


def _in_paths(name: Any) -> str:
    """A provider's name for something, which stands in the paths of further calls."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.:=-]{1,200}", name, re.ASCII):
        raise TypeError
    return name


def _replies(content: bytes) -> Iterator[tuple[str, Reply]]:
    """Name and reply of each line of a file that came down; a line that cannot be read answers nobody."""
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        try:
            with _of_batch_api():
                reply = _reply_of(json.loads(line))
        except ConnectionError:
            logger.warning("a line of a batch's answers cannot be read and is left out")
        else:
            yield reply


def _reply_of(content: dict[str, Any]) -> tuple[str, Reply]:
    name, response, error = content["custom_id"], content.get("response"), content.get("error")
    if not isinstance(name, str):
        raise TypeError
    if response is None:
        return name, _reply(NOT_ANSWERED, str((error or {}).get("message", "no response")))
    if not isinstance(response["status_code"], int):
        raise TypeError
    return name, Reply(response["status_code"], json.dumps(response["body"]).encode())


def _failure(state: dict[str, Any]) -> Reply:
    """What a batch that failed as a whole says of each of its requests."""
    errors = (state.get("errors") or {}).get("data") or [{}]
    status = 429 if errors[0].get("code") == FULL else 400
    return _reply(status, errors[0].get("message") or "the batch failed", errors[0].get("code"))


def _reply(status: int, message: str, code: str | None = None) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message, "code": code}}).encode())
