"""How much is asked at once, how long it is tried, and how much it may cost."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from selflong.job import UserError
from selflong.recipe.site import RemoteServing, Serving
from selflong.recipe.weights import Price


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


def budget_of(serving: Serving) -> Budget | None:
    """What the site lets an endpoint cost; None where it costs nothing."""
    if not isinstance(serving, RemoteServing):
        return None
    return Budget(tokens=serving.budget_tokens, usd=serving.budget_usd)


class BudgetSpent(UserError):
    """The budget is spent: nothing more is asked; what was answered is stored."""


def cost_usd(price: Price | None, prompt_tokens: int, completion_tokens: int) -> float:
    """Price of so many tokens; 0 where there is none."""
    return 0.0 if price is None else price.usd(prompt_tokens, completion_tokens)


class Spent(Protocol):
    """Counts the tokens of all answers so far."""

    prompt_tokens: int
    completion_tokens: int


class Purse:
    """Keeps what is spent, with the most that the requests in flight may cost, within a budget.

    Raises UserError where a budget in USD has no price to count with.
    """

    def __init__(self, budget: Budget, price: Price | None, spent: Spent) -> None:
        if budget.usd is not None and price is None:
            raise UserError(
                "budget_usd in config.yaml has no price to count with: give the generator's `price` in the "
                "recipe, or a budget_tokens in its place"
            )
        self._budget = budget
        self._price = price
        self._spent = spent
        self._in_flight = self._prompt_tokens = self._completion_tokens = 0
        self._returned = asyncio.Event()

    async def take(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside what a request may cost; waits for those in flight where that does not fit.

        Raises BudgetSpent where it does not fit beside the answers alone.
        """
        while excess := self._excess(prompt_tokens, completion_tokens):
            if not self._in_flight:
                raise BudgetSpent(excess)
            self._returned.clear()
            await self._returned.wait()
        self._hold(1, prompt_tokens, completion_tokens)

    def give_back(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The request is over; what it cost stands among the answers, if any."""
        self._hold(-1, -prompt_tokens, -completion_tokens)
        self._returned.set()

    def _hold(self, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
        self._in_flight += requests
        self._prompt_tokens += prompt_tokens
        self._completion_tokens += completion_tokens

    def _excess(self, prompt_tokens: int, completion_tokens: int) -> str | None:
        """Why a request does not fit."""
        spent = (self._spent.prompt_tokens, self._spent.completion_tokens)
        total = (
            spent[0] + self._prompt_tokens + prompt_tokens,
            spent[1] + self._completion_tokens + completion_tokens,
        )
        if self._budget.tokens is not None and sum(total) > self._budget.tokens:
            return (
                f"the budget of {self._budget.tokens:,} tokens is spent ({sum(spent):,} were used, the next "
                f"request may take {prompt_tokens + completion_tokens:,}): raise budget_tokens in "
                "config.yaml to go on"
            )
        if self._budget.usd is not None and cost_usd(self._price, *total) > self._budget.usd:
            return (
                f"the budget of {self._budget.usd:.2f} USD is spent ({cost_usd(self._price, *spent):.2f} "
                "were used): raise budget_usd in config.yaml to go on"
            )
        return None
