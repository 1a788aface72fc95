"""One asynchronous client of the OpenAI protocol for every way of serving.

Each request is looked up in the cache, asked when it is not there, repeated with growing pauses while the
endpoint is overloaded or the network fails, and stored at once when it is answered.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import uvloop

from selflong.job import UserError
from selflong.llm.cache import Cache
from selflong.llm.limits import AdaptiveLimit, Budget, BudgetSpent, Patience, cost_usd
from selflong.llm.progress import Progress
from selflong.llm.protocol import (
    Answer,
    Endpoint,
    Failure,
    Refusal,
    Request,
    Result,
    request_key,
)
from selflong.llm.transport import Reply, Transport

logger = logging.getLogger(__name__)

OVERLOADED = frozenset({429, 503, 529})
TRANSIENT = OVERLOADED | {408, 409, 425, 500, 502, 504}
# The fault lies in the configuration, so every request would meet it.
MISCONFIGURED = {
    401: "check the API key",
    402: "the account has no credit left",
    403: "the API key may not use this model",
    404: "check the address and the model's name",
}
REASON_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class _Trouble:
    """An attempt failed, the next may succeed."""

    reason: str
    overload: bool = False
    retry_after: float | None = None


class _MalformedReply(Exception):
    """A reply of status 200 that is not a whole answer."""


@dataclass
class Usage:
    """What a client did. Tokens and USD are those of the answers that this client paid for."""

    requests: int = 0
    from_cache: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts' tokens those that the server did not read again."""
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def finished(self) -> int:
        return self.from_cache + self.answered + self.refused + self.failed


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _read_answer(key: str, body: bytes) -> Answer:
    try:
        reply = json.loads(body.decode())  # bytes would have their encoding guessed
        choice = reply["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        usage = reply.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        token_ids = choice.get("token_ids")
        return Answer(
            key=key,
            text=text or "",
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            finish_reason=str(choice.get("finish_reason")),
            token_ids=None if token_ids is None else tuple(token_ids),
            cached_tokens=int(details.get("cached_tokens") or 0),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _MalformedReply(f"{type(error).__name__} in a reply of {len(body)} bytes") from error


def _error_of(reply: Reply) -> tuple[str, str]:
    """Message and code of an error reply, in any of the shapes that servers use."""
    try:
        content = json.loads(reply.body)
        error = content.get("error", content)
        if isinstance(error, str):
            return error, ""
        message = error.get("message") or error.get("detail") or reply.body.decode()
        return str(message), str(error.get("code") or error.get("type") or "")
    except (ValueError, AttributeError):
        return reply.body.decode(errors="replace"), ""


class Client:
    """Asks `endpoint`, with answers kept in `cache`; `async with Client(...) as client:`.

    concurrency: the most requests in flight, the endpoint's slots by default; fewer when it is overloaded.
    expected_requests: how many will come, for the time left in the progress; or expected_samples, where a
    sample takes more than one, which `progress.made` counts.

    `ask` and `ask_all` raise UserError where the run cannot go on: a wrong key or model name, an endpoint
    that no longer answers anybody, BudgetSpent. What was answered is stored by then.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Cache,
        *,
        concurrency: int | None = None,
        patience: Patience | None = None,
        budget: Budget | None = None,
        expected_requests: int | None = None,
        expected_samples: int | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.usage = Usage()
        self._cache = cache
        self._concurrency = concurrency or endpoint.slots
        self._patience = patience or Patience()
        self._timeout_seconds = self._patience.timeout_seconds or endpoint.timeout_seconds
        self._budget = budget or Budget()
        self._limit = AdaptiveLimit(self._concurrency)
        self._transport = Transport(endpoint.base_url, endpoint.api_key)
        self._in_flight: dict[bytes, asyncio.Future[None]] = {}
        self._stop: UserError | None = None
        self.progress = Progress(endpoint.model, self.usage, expected_requests, expected_samples)

    async def __aenter__(self) -> Self:
        self._housekeeping = asyncio.create_task(self._keep_house())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._housekeeping.cancel()
        self._transport.close()
        self._cache.sync()
        self.progress.finish()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self._cache.sync)
            self.progress.show()

    def stored(self, request: Request) -> Answer | Refusal | None:
        """The result that `ask` would find in the cache."""
        payload = request.payload(self.endpoint.model)
        return self._stored(request_key(self.endpoint, request.path, payload))

    async def ask(self, request: Request) -> Result:
        """The stored result, or the endpoint's. The same request asked twice at once is sent once."""
        payload = request.payload(self.endpoint.model)
        key = request_key(self.endpoint, request.path, payload)
        self.usage.requests += 1
        while True:
            if (stored := self._stored(key)) is not None:
                self.usage.from_cache += 1
                return stored
            running = self._in_flight.get(key)
            if running is None:
                return await self._ask_alone(key, request.path, payload)
            await asyncio.shield(running)

    def _stored(self, key: bytes) -> Answer | Refusal | None:
        return self._cache.get(key) or self._cache.get(self._refusal_key(key))

    def _refusal_key(self, key: bytes) -> bytes:
        """A refusal holds for the context length that the endpoint was started with."""
        return request_key(self.endpoint, f"context {self.endpoint.context_tokens}", key)

    async def _ask_alone(self, key: bytes, path: str, payload: bytes) -> Result:
        done = asyncio.get_running_loop().create_future()
        self._in_flight[key] = done
        try:
            result = await self._obtain(key, path, payload)
            self._record(key, result)
            return result
        finally:
            del self._in_flight[key]
            done.set_result(None)

    async def _obtain(self, key: bytes, path: str, payload: bytes) -> Result:
        answered_before = self.usage.answered
        trouble = _Trouble("")
        for attempt in range(1, self._patience.attempts + 1):
            outcome = await self._attempt(key, path, payload)
            if not isinstance(outcome, _Trouble):
                return outcome
            trouble = outcome
            if attempt < self._patience.attempts:
                self.usage.retried += 1
                await asyncio.sleep(self._patience.pause(attempt, trouble.retry_after))
        if self.usage.answered == answered_before:
            self._halt(
                UserError(
                    f"{self.endpoint.base_url} answered nobody during the {self._patience.attempts} "
                    f"attempts of a request (last: {trouble.reason}): see to it and start again"
                )
            )
        return Failure(key.hex(), trouble.reason, self._patience.attempts)

    async def _attempt(self, key: bytes, path: str, payload: bytes) -> Answer | Refusal | _Trouble:
        await self._limit.acquire()
        try:
            self._check_running()
            sent = asyncio.get_running_loop().time()
            outcome = await self._exchange(key, path, payload)
            if isinstance(outcome, _Trouble):
                if outcome.overload:
                    self._limit.overloaded(sent, asyncio.get_running_loop().time())
            else:
                self._limit.succeeded()
            return outcome
        finally:
            self._limit.release()

    async def _exchange(self, key: bytes, path: str, payload: bytes) -> Answer | Refusal | _Trouble:
        try:
            reply = await self._transport.post(path, payload, self._timeout_seconds)
            if reply.status == 200:
                return _read_answer(key.hex(), reply.body)
        except ssl.SSLCertVerificationError as error:
            self._halt(UserError(f"{self.endpoint.base_url}: {error.verify_message}"))
        except TimeoutError:
            return _Trouble(f"no answer within {self._timeout_seconds:g} s", overload=True)
        except (OSError, _MalformedReply) as error:
            return _Trouble(str(error))
        return self._judge(key, reply)

    def _judge(self, key: bytes, reply: Reply) -> Refusal | _Trouble:
        """What an error reply means."""
        message, code = _error_of(reply)
        # A provider may quote the key in its message.
        message = message.replace(self.endpoint.api_key, "***")[:REASON_CHARACTERS]
        reason = f"status {reply.status}: {message}"
        if code == "insufficient_quota":
            self._halt(UserError(f"{self.endpoint.base_url}: {reason}: {MISCONFIGURED[402]}"))
        if reply.status in MISCONFIGURED:
            mend = MISCONFIGURED[reply.status]
            self._halt(UserError(f"{self.endpoint.base_url}: {reason}: {mend}"))
        if 400 <= reply.status < 500 and reply.status not in TRANSIENT:
            return Refusal(key.hex(), reason, reply.status)
        return _Trouble(reason, reply.status in OVERLOADED, _retry_after(reply.headers))

    def _halt(self, mistake: UserError) -> NoReturn:
        """End the run: nothing more is sent."""
        self._stop = self._stop or mistake
        raise self._stop

    def _check_running(self) -> None:
        if self._stop is not None:
            raise self._stop
        budget, cache = self._budget, self._cache
        if budget.tokens is not None:
            tokens = cache.prompt_tokens + cache.completion_tokens
            if tokens >= budget.tokens:
                self._halt(
                    BudgetSpent(
                        f"the budget of {budget.tokens:,} tokens is spent ({tokens:,} were used): "
                        "raise budget_tokens in config.yaml to go on"
                    )
                )
        if budget.usd is not None:
            usd = cost_usd(self.endpoint, cache.prompt_tokens, cache.completion_tokens)
            if usd >= budget.usd:
                self._halt(
                    BudgetSpent(
                        f"the budget of {budget.usd:.2f} USD is spent ({usd:.2f} were used): "
                        "raise budget_usd in config.yaml to go on"
                    )
                )

    def _record(self, key: bytes, result: Result) -> None:
        usage = self.usage
        if isinstance(result, Answer):
            self._cache.put(key, result)
            usage.answered += 1
            usage.prompt_tokens += result.prompt_tokens
            usage.cached_tokens += result.cached_tokens
            usage.completion_tokens += result.completion_tokens
            usage.usd += cost_usd(self.endpoint, result.prompt_tokens, result.completion_tokens)
        elif isinstance(result, Refusal):
            self._cache.put(self._refusal_key(key), result)
            usage.refused += 1
        else:
            usage.failed += 1

    async def ask_all(self, requests: Iterable[Request]) -> AsyncIterator[tuple[Request, Result]]:
        """Each request with its result, in the order of completion.

        `requests` is drawn from as places become free, so memory does not grow with its length. Where
        the run cannot go on, what was in flight is still yielded, then the UserError is raised.
        """
        async for _, request, result in self._ask_numbered(requests):
            yield request, result

    async def _ask_numbered(
        self, requests: Iterable[Request]
    ) -> AsyncIterator[tuple[int, Request, Result]]:
        finished: asyncio.Queue[tuple[int, Request, Result] | None] = asyncio.Queue(
            2 * self._concurrency
        )
        source = enumerate(requests)

        async def work() -> None:
            for number, request in source:
                await finished.put((number, request, await self.ask(request)))

        async def work_together() -> None:
            # A quarter more than may be in flight: some of them pause between two attempts.
            workers = [work() for _ in range(self._concurrency + self._concurrency // 4 + 1)]
            outcomes = await asyncio.gather(*workers, return_exceptions=True)
            await finished.put(None)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

        working = asyncio.create_task(work_together())
        try:
            while (entry := await finished.get()) is not None:
                yield entry
            await working
        finally:
            working.cancel()


T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop, which halves the cost of a request."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)


def answers(
    endpoint: Endpoint,
    cache_folder: Path,
    requests: Iterable[Request],
    *,
    concurrency: int | None = None,
    patience: Patience | None = None,
    budget: Budget | None = None,
    expected_requests: int | None = None,
) -> tuple[list[Result], Usage]:
    """Ask all and wait: the results in the order of the requests, and what they cost.

    Raises UserError as `Client` does; called again, it goes on from what is stored.
    """

    async def ask_everything() -> tuple[list[Result], Usage]:
        with Cache(cache_folder) as cache:
            client = Client(
                endpoint,
                cache,
                concurrency=concurrency,
                patience=patience,
                budget=budget,
                expected_requests=expected_requests,
            )
            results: dict[int, Result] = {}
            async with client:
                async for number, _, result in client._ask_numbered(requests):
                    results[number] = result
            return [results[number] for number in range(len(results))], replace(client.usage)

    return run(ask_everything())
