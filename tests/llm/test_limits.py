"""Pauses, the adaptive bound, prices."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.llm.limits import AdaptiveLimit, Budget, BudgetSpent, Patience, Purse, cost_usd
from selflong.recipe.weights import Price


@given(st.integers(1, 30), st.none() | st.floats(0, 1e4))
def test_pauses_grow_with_jitter_and_honour_the_server(
    attempt: int, retry_after: float | None
) -> None:
    patience = Patience(first_pause_seconds=0.5, longest_pause_seconds=60)
    backoff = min(60, 0.5 * 2 ** (attempt - 1))
    pause = patience.pause(attempt, retry_after)
    assert pause >= (retry_after or 0)
    assert backoff / 2 <= pause <= max(backoff, retry_after or 0)


def test_pauses_differ() -> None:
    assert len({Patience().pause(5, None) for _ in range(20)}) == 20


def test_the_limit_bounds_what_is_in_flight() -> None:
    async def most_in_flight() -> int:
        limit = AdaptiveLimit(3)
        most = 0

        async def use() -> None:
            nonlocal most
            await limit.acquire()
            most = max(most, limit.in_flight)
            await asyncio.sleep(0)
            limit.release()

        await asyncio.gather(*(use() for _ in range(20)))
        assert limit.in_flight == 0
        return most

    assert asyncio.run(most_in_flight()) == 3


def test_overload_lowers_the_limit_once_a_round_trip_and_success_restores_it() -> None:
    limit = AdaptiveLimit(64)
    for _ in range(64):  # all sent before the first of them came back
        limit.overloaded(sent=1.0, now=2.0)
    assert limit.limit == 48
    limit.overloaded(sent=3.0, now=4.0)
    assert limit.limit == 36
    answers = 0
    while limit.limit < 64:
        limit.succeeded()
        answers += 1
    assert 28 * 36 < answers < 28 * 65
    for moment in range(100):
        limit.overloaded(sent=10.0 + 2 * moment, now=11.0 + 2 * moment)
    assert limit.limit == 1


def test_a_cancelled_wait_loses_no_place() -> None:
    async def scenario() -> None:
        limit = AdaptiveLimit(1)
        await limit.acquire()
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        limit.release()
        waiting[1].cancel()  # at the moment in which it got the place
        await asyncio.sleep(0)
        await asyncio.wait_for(waiting[2], 1)
        limit.release()
        assert limit.in_flight == 0

    asyncio.run(scenario())


def test_cost_counts_prompt_and_completion_apart() -> None:
    assert cost_usd(Price(prompt=2.5, completion=10), 1_000_000, 100_000) == 3.5
    assert cost_usd(None, 1_000_000, 100_000) == 0


@dataclass
class _Spent:
    prompt_tokens: int = 0
    completion_tokens: int = 0


@given(
    st.integers(0, 2000),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.booleans()), max_size=20),
)
def test_what_is_in_flight_counts_too(budget: int, requests: list[tuple[int, int, bool]]) -> None:
    """Requests that are answered or fail in any order never cost more than the budget together."""

    async def scenario() -> None:
        spent = _Spent()
        purse = Purse(Budget(tokens=budget), None, spent)

        async def ask(prompt: int, completion: int, is_answered: bool) -> None:
            await purse.take(prompt, completion)
            await asyncio.sleep(0)
            if is_answered:
                spent.prompt_tokens += prompt
                spent.completion_tokens += completion
            purse.give_back(prompt, completion)

        outcomes = await asyncio.gather(*(ask(*one) for one in requests), return_exceptions=True)
        assert spent.prompt_tokens + spent.completion_tokens <= budget
        assert all(outcome is None or isinstance(outcome, BudgetSpent) for outcome in outcomes)
        if sum(prompt + completion for prompt, completion, _ in requests) <= budget:
            assert outcomes == [None] * len(requests)

    asyncio.run(scenario())


def test_a_budget_in_usd_needs_a_price() -> None:
    with pytest.raises(UserError, match="price"):
        Purse(Budget(usd=1.0), None, _Spent())
