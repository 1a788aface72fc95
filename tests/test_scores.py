"""Means and intervals over predictions."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.formats import MEAN_OF_TASKS, PREDICTIONS, table
from selflong.job import UserError
from selflong.scores import RESAMPLES, aggregate, bootstrap_means, interval, length_name

SCORES_OF_A_TASK = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40)


def predictions(by_task: dict[str, list[float]], depths: list[float] | None = None) -> pl.DataFrame:
    return table(
        [
            {
                "suite": "s",
                "model": "m/1",
                "task": task,
                "length": 1000,
                "index": index,
                "depth": depths[index % len(depths)] if depths else None,
                "score": score,
            }
            for task, scores in by_task.items()
            for index, score in enumerate(scores)
        ],
        PREDICTIONS,
    )


def scored(frame: pl.DataFrame, grids: frozenset[str] = frozenset()) -> dict[tuple, dict]:
    rows = aggregate({"a.parquet": frame}, grids, seed=3).iter_rows(named=True)
    return {(row["task"], row["depth"]): row for row in rows}


@given(st.dictionaries(st.sampled_from("abc"), SCORES_OF_A_TASK, min_size=1))
def test_means_are_exact_and_inside_their_intervals(by_task: dict[str, list[float]]) -> None:
    found = scored(predictions(by_task))
    for task, scores in by_task.items():
        row = found[task, None]
        assert row["mean"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert row["samples"] == len(scores)
        assert min(scores) - 1e-9 <= row["low"] <= row["high"] <= max(scores) + 1e-9
    whole = found[MEAN_OF_TASKS, None]
    means = [np.mean(scores) for scores in by_task.values()]
    assert whole["mean"] == pytest.approx(np.mean(means), abs=1e-12)


@given(SCORES_OF_A_TASK, SCORES_OF_A_TASK)
def test_an_interval_depends_on_its_own_group_alone(a: list[float], b: list[float]) -> None:
    alone = scored(predictions({"a": a}))["a", None]
    beside = scored(predictions({"a": a, "b": b}))["a", None]
    assert alone == beside


def test_the_interval_is_as_wide_as_the_binomials() -> None:
    rng = np.random.default_rng(0)
    for share, samples in ((0.5, 500), (0.8, 100)):
        ones = np.repeat([1.0, 0.0], [int(share * samples), samples - int(share * samples)])
        low, high = interval(bootstrap_means(ones, rng))
        normal = 1.96 * np.sqrt(share * (1 - share) / samples)
        assert high - low == pytest.approx(2 * normal, rel=0.1)
        assert low < share < high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth, covered = 0.7, 0
    for _ in range(300):
        drawn = (rng.random(200) < truth).astype(float)
        low, high = interval(bootstrap_means(drawn, rng))
        covered += low <= truth <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_resamples_have_the_mean_of_the_sample() -> None:
    scores = np.random.default_rng(2).random(50)
    means = bootstrap_means(scores, np.random.default_rng(3))
    assert means.shape == (RESAMPLES,)
    assert means.mean() == pytest.approx(scores.mean(), abs=0.005)


def test_the_mean_of_tasks_is_narrower_than_a_task() -> None:
    rng = np.random.default_rng(4)
    by_task = {str(task): (rng.random(50) < 0.5).astype(float).tolist() for task in range(13)}
    found = scored(predictions(by_task))
    widths = [found[task, None]["high"] - found[task, None]["low"] for task in by_task]
    whole = found[MEAN_OF_TASKS, None]
    assert whole["high"] - whole["low"] == pytest.approx(np.mean(widths) / 13**0.5, rel=0.15)


def test_grids_keep_their_depths_and_other_suites_are_put_into_tenths() -> None:
    frame = predictions({"a": [0.0, 1.0, 1.0, 0.0]}, depths=[0.0, 0.04, 0.5, 1.0])
    assert {depth for _, depth in scored(frame, frozenset({"s"}))} == {None, 0.0, 0.04, 0.5, 1.0}
    tenths = scored(frame)
    assert {depth for _, depth in tenths} == {None, 0.05, 0.55, 0.95}
    assert tenths["a", 0.05]["mean"] == 0.5
    assert tenths["a", 0.05]["samples"] == 2


def test_order_and_files_do_not_change_a_score() -> None:
    frame = predictions({"a": [0.0, 1.0, 0.5], "b": [1.0]})
    parts = {"x": frame.filter(pl.col("task") == "b"), "y": frame.filter(pl.col("task") == "a")}
    apart = aggregate(parts, frozenset(), seed=3)
    together = aggregate({"a.parquet": frame.reverse()}, frozenset(), seed=3)
    assert apart.drop("files").equals(together.drop("files"))
    assert apart.filter(pl.col("task") == MEAN_OF_TASKS)["files"].to_list() == [["x", "y"]]


def test_a_prediction_that_stands_twice_is_refused() -> None:
    frame = predictions({"a": [0.0, 1.0]})
    with pytest.raises(UserError, match="stands twice"):
        aggregate({"x": frame, "y": frame}, frozenset(), seed=3)


@pytest.mark.parametrize(
    ("length", "name"),
    [
        (4096, "4k"),
        (32_000, "32k"),
        (65_536, "64k"),
        (128_000, "128k"),
        (131_072, "128k"),
        (512_000, "512k"),
        (1_000_000, "1M"),
        (1_048_576, "1M"),
        (300, "300"),
        (29_959, "29k"),
    ],
)
def test_lengths_are_named_as_papers_do(length: int, name: str) -> None:
    assert length_name(length) == name
