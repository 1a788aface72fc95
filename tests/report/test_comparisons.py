"""Pairs of checkpoints on the same prompts."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.formats import SCORED
from selflong.report.side_by_side import Difference, holm, paired_differences

SCORES = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=2, max_size=12)


def scored(**models: dict[str, list[float]]) -> pl.DataFrame:
    """Scores of each model by task."""
    rows = [
        ("suite", model, task, 4096, index, None, score)
        for model, tasks in models.items()
        for task, scores in tasks.items()
        for index, score in enumerate(scores)
    ]
    return pl.DataFrame(rows, schema=SCORED, orient="row")


def difference(by_sample: bool = False, **models: dict[str, list[float]]) -> Difference:
    (found,) = paired_differences(scored(**models), ["a", "b"], 1, by_sample).values()
    return found


@settings(deadline=None, max_examples=30)
@given(SCORES, SCORES)
def test_the_other_way_round_is_the_same_difference(
    first: list[float], second: list[float]
) -> None:
    size = min(len(first), len(second))
    one, other = {"t": first[:size]}, {"t": second[:size]}
    there, back = difference(a=one, b=other), difference(a=other, b=one)
    assert there.mean == pytest.approx(np.mean(first[:size]) - np.mean(second[:size]))
    assert (there.mean, there.p) == pytest.approx((-back.mean, back.p))
    assert there.low <= there.high and there.low == pytest.approx(-back.high)


def test_a_constant_lead_is_sure_however_much_the_prompts_differ() -> None:
    hard_and_easy = [0.0, 0.9] * 20
    found = difference(a={"t": [score + 0.03 for score in hard_and_easy]}, b={"t": hard_and_easy})
    assert (found.low, found.high) == pytest.approx((0.03, 0.03))
    assert found.p < 0.01
    assert difference(a={"t": hard_and_easy}, b={"t": hard_and_easy}).p == 1.0


def test_few_prompts_say_little() -> None:
    for size, least in ((4, 0.09), (6, 0.02)):  # of all signs two in 16, two in 64
        found = difference(a={"t": [1.0] * size}, b={"t": [0.0] * size})
        assert (found.low, found.high) == (1.0, 1.0)
        assert found.p == pytest.approx(2 / 2**size, rel=0.25) and found.p > least


def test_only_prompts_that_both_answered_count_and_tasks_count_alike() -> None:
    a = {"t": [1.0, 1.0, 0.0, 0.0], "u": [0.0]}
    b = {"t": [0.0, 0.0, 0.0, 0.0, 1.0], "u": [1.0], "v": [1.0]}
    assert difference(a=a, b=b).mean == pytest.approx((0.5 - 1.0) / 2)
    assert difference(by_sample=True, a=a, b=b).mean == pytest.approx((2 - 1) / 5)
    assert difference(a=a, b=b).samples == 5


def test_equal_models_seldom_differ() -> None:
    rng = np.random.default_rng(7)
    trials = [
        difference(a={"t": [*rng.random(30)]}, b={"t": [*rng.random(30)]}).p < 0.05
        for _ in range(150)
    ]
    assert sum(trials) / len(trials) < 0.12


def test_holm_keeps_the_order_and_counts_all() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
