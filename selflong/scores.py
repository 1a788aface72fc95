"""Means over predictions with 95% intervals by bootstrap over samples: the one place where scores add up."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from selflong.formats import MEAN_OF_TASKS, SCORED, SCORES, read_parquet, table
from selflong.job import UserError

RESAMPLES = 2000
CONFIDENCE = 0.95

Mean = Callable[[np.ndarray, np.random.Generator], tuple[float, np.ndarray]]
"""Scores [samples] -> their mean, and those of resamples [RESAMPLES]."""

DEPTH_BINS = 10
"""Depths of suites that draw them freely are counted in tenths of the context."""


def bootstrap_means(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 [RESAMPLES]: means of resamples of `scores` [samples] with replacement."""
    counts = rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), size=RESAMPLES)
    return counts @ scores / len(scores)


def generator(seed: int, key: object) -> np.random.Generator:
    """Random numbers that depend on the seed and on what they are for, as it prints, alone."""
    state = hashlib.sha256(f"{seed} {key}".encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(state))


def interval(means: np.ndarray) -> tuple[float, float]:
    """The percentile interval of bootstrapped means."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def aggregate(
    predictions: Mapping[str, pl.DataFrame],
    grids: frozenset[str],
    seed: int,
    pooled: frozenset[str] = frozenset(),
    geometric: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    """formats.SCORES of formats.SCORED by file name (relative to the results' folder).

    For each suite, model and length: every task, the mean of the tasks (each task counts alike, whatever its
    number of samples, and is resampled by itself; of suites in `pooled` each sample counts alike), and each
    task at each depth. Suites in `grids` ask for certain depths, which are kept; elsewhere depths are put
    into tenths, named by their middle. Means over samples of suites in `geometric` are geometric ones. The
    intervals depend on the seed and the group's own scores alone, not on what else is scored.

    Raises UserError where a prompt stands in two files or was predicted twice.
    """
    frame = pl.concat(
        [part.with_columns(pl.lit(name).alias("file")) for name, part in predictions.items()]
    )
    identity = ["suite", "model", "task", "length", "index"]
    twice = frame.filter(frame.select(identity).is_duplicated())
    if not twice.is_empty():
        row = dict(zip(identity, twice.select(identity).row(0), strict=True))
        raise UserError(f"{twice['file'][0]}: the prediction {row} stands twice: score each once")
    frame = frame.with_columns(_depth_of_group(grids).alias("depth")).sort(identity)
    rows: list[dict[str, object]] = []
    for (suite, model, length), cell in frame.group_by(
        "suite", "model", "length", maintain_order=True
    ):
        key = {"suite": suite, "model": model, "length": length}
        resampled, means, weights = [], [], []
        mean = _geometric_means if suite in geometric else _means
        for (task,), of_task in cell.group_by("task", maintain_order=True):
            row, drawn = _row({**key, "task": task, "depth": None}, of_task, seed, mean)
            resampled.append(drawn)
            means.append(row["mean"])
            weights.append(of_task.height if suite in pooled else 1)
            rows.append(row)
            at_depths = of_task.filter(pl.col("depth").is_not_null()).sort("depth", "index")
            for (depth,), at_depth in at_depths.group_by("depth", maintain_order=True):
                rows.append(_row({**key, "task": task, "depth": depth}, at_depth, seed, mean)[0])
        low, high = interval(np.average(resampled, axis=0, weights=weights))
        rows.append(
            {
                **key,
                "task": MEAN_OF_TASKS,
                "depth": None,
                "mean": float(np.average(np.array(means, dtype=np.float64), weights=weights)),
                "low": low,
                "high": high,
                "samples": cell.height,
                "files": sorted(cell["file"].unique()),
            }
        )
    return table(rows, SCORES)


def aggregate_files(
    paths: list[Path],
    root: Path,
    grids: frozenset[str],
    seed: int,
    pooled: frozenset[str] = frozenset(),
    geometric: frozenset[str] = frozenset(),
) -> pl.DataFrame:
    """`aggregate` of prediction files below `root`, the folder of the results."""
    predictions = {
        str(path.relative_to(root)): read_parquet(path, SCORED) for path in sorted(paths)
    }
    if all(frame.is_empty() for frame in predictions.values()):
        raise UserError(f"{root} holds no predictions: evaluate a model first")
    return aggregate(predictions, grids, seed, pooled, geometric)


def length_name(length: int) -> str:
    """A length in tokens as papers write it: 131072 and 128000 are 128k, 1048576 is 1M, 300 is 300.

    Lengths that are no whole thousands are rounded to multiples of 1,024 from 10,000 on.
    """
    for thousand in (1000, 1024):
        if length % thousand == 0:
            thousands = length // thousand
            return f"{thousands // thousand}M" if thousands % thousand == 0 else f"{thousands}k"
    return f"{length / 1024:.0f}k" if length >= 10_000 else str(length)


def _depth_of_group(grids: frozenset[str]) -> pl.Expr:
    tenth = (pl.col("depth") * DEPTH_BINS).floor().clip(0, DEPTH_BINS - 1)
    middle = ((tenth + 0.5) / DEPTH_BINS).round(4)
    return pl.when(pl.col("suite").is_in(sorted(grids))).then(pl.col("depth")).otherwise(middle)


def _means(scores: np.ndarray, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    return float(scores.mean()), bootstrap_means(scores, rng)


def _geometric_means(scores: np.ndarray, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    mean, drawn = _means(np.log(scores), rng)
    return float(np.exp(mean)), np.exp(drawn)


def _row(
    key: dict[str, object], samples: pl.DataFrame, seed: int, mean: Mean
) -> tuple[dict[str, object], np.ndarray]:
    scores = samples["score"].to_numpy()
    rng = generator(seed, sorted(key.items(), key=lambda item: item[0]))
    found, drawn = mean(scores, rng)
    low, high = interval(drawn)
    row = {
        **key,
        "mean": found,
        "low": low,
        "high": high,
        "samples": len(scores),
        "files": sorted(samples["file"].unique()),
    }
    return row, drawn
