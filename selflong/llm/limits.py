"""How much is asked at once, how long it is tried, and how much it may cost."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass

from selflong.job import UserError
from selflong.llm.protocol import Endpoint


@dataclass(frozen=True)
class Patience:
    """When an attempt counts as failed, and how often and after what pauses it is repeated."""

    attempts: int = 8
    timeout_seconds: float | None = None
    """From the moment an attempt is sent to the last byte of its answer; the endpoint's own by default."""
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 60.0

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after attempt number `attempt` (from 1): exponential, with jitter, never less
        than the server asked for."""
        backoff = min(self.longest_pause_seconds, self.first_pause_seconds * 2 ** (attempt - 1))
        return max(retry_after or 0.0, backoff * random.uniform(0.5, 1.0))


class AdaptiveLimit:
    """Bounds the requests in flight: cut when the endpoint says that it is overloaded, raised by success.

    Starts at `maximum`, since a known endpoint bears it; a cut takes a quarter, at most once per round
    trip; `limit` answers raise the limit by one.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = float(maximum)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._last_cut = float("-inf")

    async def acquire(self) -> None:
        """Wait for a place."""
        if self.in_flight < int(self.limit) and not self._waiting:
            self.in_flight += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place  # release() counts it in
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.in_flight += 1
                place.set_result(None)

    def succeeded(self) -> None:
        """An answer came."""
        if self.limit < self.maximum:
            self.limit = min(self.maximum, self.limit + 1 / self.limit)
            self._admit()

    def overloaded(self, sent: float, now: float) -> None:
        """The endpoint turned away a request that was sent at `sent` (seconds of the event loop)."""
        if sent > self._last_cut:
            self._last_cut = now
            self.limit = max(1.0, self.limit * 0.75)


@dataclass(frozen=True)
class Budget:
    """What the answers in a cache folder may cost together, those of earlier runs included."""

    tokens: int | None = None
    usd: float | None = None


class BudgetSpent(UserError):
    """The budget is spent: nothing more is asked; what was answered is stored."""


def cost_usd(endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> float:
    """Price of so many tokens; 0 where the endpoint has none."""
    if endpoint.price is None:
        return 0.0
    price = endpoint.price
    return (prompt_tokens * price.prompt + completion_tokens * price.completion) / 1e6
