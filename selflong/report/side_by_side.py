"""Checkpoints on the same prompts, pair by pair: whether a difference of few points is one.

Each pair is compared on the prompts that both answered: what makes one hard for both cancels, so that much
smaller differences are told apart than by two intervals. The interval is a paired bootstrap's over prompts;
the p is that of a test which flips the signs of the prompts' differences, and holds for few prompts too,
where a bootstrap finds differences that are none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from selflong.formats import SCORED, read_parquets
from selflong.scores import RESAMPLES, generator, interval, length_name
from selflong.suites.measured import Measured
from selflong.suites.section import SuiteSection
from selflong.tables import Cell, Table, number_cell, row_of, signed_cell

Pair = tuple[str, str]
ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """A score minus another, of 0 to 1, on the same prompts."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided: how often random signs of the prompts' differences give as large a mean."""
    samples: int

    @property
    def cell(self) -> Cell:
        """In points of per cent."""
        return signed_cell(100 * self.mean, 100 * self.low, 100 * self.high, self.samples)


def comparisons(measured: Measured) -> Table | None:
    """Every two checkpoints of every suite at every length; None where no suite asks two."""
    rows = [
        row
        for name, suite in measured.recipe.suites.items()
        for row in _rows_of_suite(measured, name, suite)
    ]
    if not rows:
        return None
    return Table(
        name="comparisons",
        title="Models on the same prompts",
        caption="The first model's score minus the second's in points of per cent, on the prompts that both "
        "answered, with the 95% interval of a paired bootstrap over prompts and the two-sided p of a test "
        "that flips the signs of their differences; p (Holm) counts all comparisons of the suite. Where it "
        "is below 0.05 the two differ.",
        columns=("Suite", "Length", "Model", "Other", "Prompts", "Difference", "p", "p (Holm)"),
        rows=tuple(rows),
    )


def _rows_of_suite(
    measured: Measured, name: str, suite: SuiteSection
) -> Iterator[tuple[Cell, ...]]:
    scored = read_parquets(measured.predictions.get(name, ()), SCORED)
    checkpoints = measured.checkpoints(name)
    found: list[tuple[int | None, Pair, Difference]] = []
    for (length,), cell in scored.sort("length").group_by("length", maintain_order=True):
        differences = paired_differences(
            cell, checkpoints, measured.recipe.seed, by_sample=suite.counts_samples
        )
        found += [(length, pair, difference) for pair, difference in differences.items()]
    adjusted = holm([difference.p for _, _, difference in found])
    for (length, pair, difference), p in zip(found, adjusted, strict=True):
        yield row_of(
            name,
            "" if length is None else length_name(length),
            *map(measured.label, pair),
            difference.samples,
            difference.cell,
            number_cell(difference.p, digits=4),
            number_cell(p, digits=4),
        )


def paired_differences(
    scored: pl.DataFrame, checkpoints: Sequence[str], seed: int, by_sample: bool = False
) -> Mapping[Pair, Difference]:
    """Of formats.SCORED at one length: each two checkpoints that answered some of the same prompts.

    Each task counts alike, whatever its number of prompts, and is resampled by itself; with `by_sample` each
    prompt counts alike. Pairs with the same number of prompts of a task share their resamples.
    """
    parts: dict[Pair, list[_OfTask]] = {}
    for (suite, length, task), of_task in scored.sort("task").group_by(
        "suite", "length", "task", maintain_order=True
    ):
        wide = of_task.pivot("model", index="index", values="score").sort("index")
        draws = cache(partial(_draws, seed, (suite, length, task)))
        for pair in combinations([name for name in checkpoints if name in wide.columns], 2):
            both = wide.select(pair).drop_nulls()
            size = both.height
            if size == 0:
                continue
            difference = (both[pair[0]] - both[pair[1]]).to_numpy()
            means = [drawn @ difference / size for drawn in draws(size)]
            parts.setdefault(pair, []).append(_OfTask(difference, *means))
    return {pair: _together(of_pair, by_sample) for pair, of_pair in parts.items()}


class _OfTask(NamedTuple):
    """Differences of a task's prompts [prompts]; their means over resamples and over signs [RESAMPLES]."""

    differences: np.ndarray
    resampled: np.ndarray
    flipped: np.ndarray


def _draws(seed: int, key: tuple[object, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of `size` prompts is drawn, and its sign; each int64 [RESAMPLES, size]."""
    rng = generator(seed, ("paired", *key, size))
    counts = rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    return counts, rng.choice([-1, 1], size=(RESAMPLES, size))


def _together(tasks: Sequence[_OfTask], by_sample: bool) -> Difference:
    weights = [len(task.differences) if by_sample else 1 for task in tasks]
    mean = float(np.average([task.differences.mean() for task in tasks], weights=weights))
    low, high = interval(np.average([task.resampled for task in tasks], axis=0, weights=weights))
    flipped = np.average([task.flipped for task in tasks], axis=0, weights=weights)
    as_large = int((np.abs(flipped) >= abs(mean) - ROUNDING).sum())
    p = (as_large + 1) / (RESAMPLES + 1)
    return Difference(mean, low, high, p, sum(len(task.differences) for task in tasks))


def holm(values: Sequence[float]) -> list[float]:
    """p values that hold for all of them together (Holm 1979), in the same order."""
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, position in enumerate(np.argsort(values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(values) - rank) * values[position]))
        adjusted[position] = largest
    return adjusted
