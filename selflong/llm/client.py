"""One asynchronous client of the OpenAI protocol for every way of serving.

Each request is looked up in the cache, asked when it is not there, repeated with growing pauses while the
endpoint is overloaded or the network fails, and stored at once when it is answered.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import uvloop

from selflong.job import UserError
from selflong.llm.batches import BatchTransport
from selflong.llm.cache import Cache
from selflong.llm.limits import AdaptiveLimit, Budget, Patience, Purse, cost_usd
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
from selflong.llm.replies import CHECK_ADDRESS, Rejection, Trouble, judge, speaks_of_request
from selflong.llm.transport import Transport

logger = logging.getLogger(__name__)

REJECTIONS_IN_A_ROW = 8
"""So many requests that are turned down one after the other are not at fault themselves."""


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


def utf8_bytes(text: str) -> int:
    """At least as many as a text has tokens."""
    return len(text.encode(errors="surrogatepass"))


class Client:
    """Asks `endpoint`, with answers kept in `cache`; `async with Client(...) as client:`.

    concurrency: the most requests in flight, the endpoint's slots by default; fewer when it is overloaded.
    expected_requests: how many will come, for the time left in the progress; or expected_samples, where a
    sample takes more than one, which `progress.made` counts.
    count: tokens of a text, for a budget and where the endpoint does not say how many it used.

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
        count: Callable[[str], int] = utf8_bytes,
    ) -> None:
        self.endpoint = endpoint
        self.usage = Usage()
        self._cache = cache
        self._concurrency = concurrency or endpoint.slots
        self._patience = patience or Patience()
        self._timeout_seconds = self._patience.timeout_seconds or endpoint.timeout_seconds
        self._count = count
        self._budget = budget or Budget()
        self._purse = Purse(self._budget, endpoint.price, cache)
        self._limit = AdaptiveLimit(self._concurrency)
        self._transport = Transport(endpoint.base_url, endpoint.api_key, endpoint.socket)
        self._posts: Transport | BatchTransport = self._transport
        if endpoint.batches is not None:
            self._posts = BatchTransport(
                self._transport, endpoint.batches, cache.folder / "batches"
            )
        self._in_flight: dict[bytes, asyncio.Future[None]] = {}
        self._stop: UserError | None = None
        self._rejections = 0  # since the last answer
        self.progress = Progress(endpoint.model, self.usage, expected_requests, expected_samples)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        if self._posts is not self._transport:
            await self._posts.__aenter__()
        self._housekeeping = asyncio.create_task(self._keep_house())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._housekeeping.cancel()
        if self._posts is not self._transport:
            await self._posts.__aexit__()
        await self._transport.__aexit__()
        self._cache.sync()
        self.progress.finish()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await asyncio.to_thread(self._cache.sync)
            self.progress.show()

    def stored(self, request: Request) -> Answer | Refusal | None:
        """The result that `ask` would find in the cache."""
        payload = request.payload(self.endpoint)
        return self._stored(request_key(self.endpoint, request.path, payload))

    async def ask(self, request: Request) -> Result:
        """The stored result, or the endpoint's. The same request asked twice at once is sent once."""
        payload = request.payload(self.endpoint)
        key = request_key(self.endpoint, request.path, payload)
        self.usage.requests += 1
        while True:
            if (stored := self._stored(key)) is not None:
                self.usage.from_cache += 1
                return stored
            running = self._in_flight.get(key)
            if running is None:
                return await self._ask_alone(key, request, payload)
            await asyncio.shield(running)

    def _stored(self, key: bytes) -> Answer | Refusal | None:
        stored = self._cache.get(key) or self._cache.get(self._refusal_key(key))
        # Earlier versions also stored refusals that lay in the configuration.
        if isinstance(stored, Refusal) and not speaks_of_request(stored.status, stored.reason):
            return None
        return stored

    def _refusal_key(self, key: bytes) -> bytes:
        """A refusal holds for the context length that the endpoint was started with."""
        return request_key(self.endpoint, f"context {self.endpoint.context_tokens}", key)

    async def _ask_alone(self, key: bytes, request: Request, payload: bytes) -> Result:
        done = asyncio.get_running_loop().create_future()
        self._in_flight[key] = done
        try:
            return await self._obtain(key, request, payload)
        finally:
            del self._in_flight[key]
            done.set_result(None)

    async def _obtain(self, key: bytes, request: Request, payload: bytes) -> Result:
        answered_before = self.usage.answered
        trouble = Trouble("")
        for attempt in range(1, self._patience.attempts + 1):
            outcome = await self._attempt(key, request, payload)
            if isinstance(outcome, Answer | Refusal):
                return outcome
            if isinstance(outcome, Rejection):
                return self._rejected(key, outcome)
            trouble = outcome
            if attempt < self._patience.attempts:
                self.usage.retried += 1
                await asyncio.sleep(self._patience.pause(attempt, trouble.retry_after))
        if self.usage.answered == answered_before:
            self._halt(
                f"answered nobody during the {self._patience.attempts} attempts of a request "
                f"(last: {trouble.reason}): see to it and start again"
            )
        self.usage.failed += 1
        return Failure(key.hex(), trouble.reason, self._patience.attempts)

    def _rejected(self, key: bytes, rejection: Rejection) -> Failure:
        """Only this request fails where others were answered; else the run ends."""
        self._rejections += 1
        if (
            rejection.by_settings
            or not self._cache.has_answers
            or self._rejections >= REJECTIONS_IN_A_ROW
        ):
            self._halt(f"{rejection.reason}: {rejection.mend}")
        self.usage.failed += 1
        return Failure(key.hex(), rejection.reason, 1)

    async def _attempt(
        self, key: bytes, request: Request, payload: bytes
    ) -> Answer | Refusal | Trouble | Rejection:
        cost = self._most(request)
        await self._limit.acquire()
        try:
            await self._take(cost)
            try:
                sent = asyncio.get_running_loop().time()
                outcome = await self._exchange(key, request, payload)
                # Stored before its cost is given back: the budget counts it all the time.
                self._record(key, outcome)
            finally:
                self._purse.give_back(*cost)
            if not isinstance(outcome, Trouble):
                self._limit.succeeded()
            elif outcome.overload:
                self._limit.overloaded(sent, asyncio.get_running_loop().time())
            return outcome
        finally:
            self._limit.release()

    def _most(self, request: Request) -> tuple[int, int]:
        """Tokens of the prompt and the most of the answer; not counted where there is no budget."""
        if self._budget == Budget():
            return 0, 0
        most = request.body.get("max_tokens", self.endpoint.context_tokens)
        return request.prompt_tokens(self._count), most + self.endpoint.reasoning_tokens

    async def _take(self, cost: tuple[int, int]) -> None:
        """Set aside what a request may cost; UserError where the run has come to its end."""
        self._check_running()
        try:
            await self._purse.take(*cost)
        except UserError as mistake:
            self._stop = self._stop or mistake
        self._check_running()

    async def _exchange(
        self, key: bytes, request: Request, payload: bytes
    ) -> Answer | Refusal | Trouble | Rejection:
        try:
            reply = await self._posts.post(request.path, payload, self._timeout_seconds)
        except ssl.SSLCertVerificationError as error:
            return Rejection(f"its certificate is not trusted ({error})", CHECK_ADDRESS, True)
        except TimeoutError:
            return Trouble(f"no answer within {self._timeout_seconds:g} s", overload=True)
        except OSError as error:
            return Trouble(str(error))
        return judge(key, request, reply, self.endpoint, self._count)

    def _halt(self, reason: str) -> NoReturn:
        """End the run: nothing more is sent."""
        self._stop = self._stop or UserError(f"{self.endpoint.base_url}: {reason}")
        raise self._stop

    def _check_running(self) -> None:
        if self._stop is not None:
            raise self._stop

    def _record(self, key: bytes, outcome: Answer | Refusal | Trouble | Rejection) -> None:
        usage = self.usage
        if isinstance(outcome, Answer):
            self._cache.put(key, outcome)
            self._rejections = 0
            usage.answered += 1
            usage.prompt_tokens += outcome.prompt_tokens
            usage.completion_tokens += outcome.completion_tokens
            usage.cached_tokens += outcome.cached_tokens
            usage.usd += cost_usd(
                self.endpoint.price, outcome.prompt_tokens, outcome.completion_tokens
            )
        elif isinstance(outcome, Refusal):
            self._cache.put(self._refusal_key(key), outcome)
            usage.refused += 1

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
