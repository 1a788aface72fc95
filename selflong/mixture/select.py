"""Which samples train in which stage, and how often."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import xxhash

from selflong.job import UserError
from selflong.recipe.mixture import Mixture, MixtureEntry

LONGER = "longer_than_stage"
SHORTER = "shorter_than_stage"
"""Reason of documents that fill no sequence."""
OTHER_STAGE = "other_stage"
BEYOND_WEIGHT = "beyond_weight"


def draw(sample_ids: pl.Series, seed: int) -> np.ndarray:
    """uint64 [samples]: a number for each sample that depends on its id and the seed alone."""
    hashes = (xxhash.xxh3_64_intdigest(name.encode(), seed) for name in sample_ids)
    return np.fromiter(hashes, np.uint64, len(sample_ids))


def leave_out(
    mixture: Mixture,
    stage: str,
    stages: Mapping[str, int],
    sample_ids: pl.Series,
    tokens: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Object [samples]: the reason why a sample does not train in `stage`, or None where it does.

    `stages` are the lengths of all stages that train on the mixture, shortest first. With every_stage a
    sample trains in each stage that holds it; with one_stage in a single one, drawn evenly by its hash from
    those that hold it. A sample is never cut.

    Raises UserError where a sample is longer than its stages and the recipe refuses that.
    """
    reasons = np.full(len(tokens), None, dtype=object)
    too_long = tokens > stages[stage]
    if mixture.assignment == "one_stage":
        lengths = np.array(list(stages.values()))
        too_long = tokens > lengths[-1]
        first = np.searchsorted(lengths, tokens, side="left")
        holding = np.maximum(len(lengths) - first, 1).astype(np.uint64)
        drawn = first + (draw(sample_ids, seed) % holding).astype(np.int64)
        reasons[drawn != list(stages).index(stage)] = OTHER_STAGE
    reasons[too_long] = LONGER
    if mixture.longer_than_stage == "refuse" and too_long.any():
        longest = int(np.argmax(tokens))
        raise UserError(
            f"stage {stage}: {int(too_long.sum())} samples are longer than their stages hold, the longest is "
            f"{sample_ids[longest]} with {tokens[longest]} tokens: let longer_than_stage say leave_out"
        )
    return reasons


def repeats(
    entry: MixtureEntry, sample_ids: pl.Series, tokens: np.ndarray, stage_tokens: int, seed: int
) -> np.ndarray:
    """int64 [samples]: how often each sample of an entry is taken for a stage of `stage_tokens`.

    Whole passes over all, then samples in the order of their hash until the entry's weight is met as nearly
    as whole samples can.
    """
    total = int(tokens.sum())
    if total == 0:
        return np.zeros(len(tokens), dtype=np.int64)
    passes, rest = divmod(round(entry.wanted(total, stage_tokens)), total)
    counts = np.full(len(tokens), passes, dtype=np.int64)
    order = np.argsort(draw(sample_ids, seed), kind="stable")
    reached = np.concatenate([[0], np.cumsum(tokens[order])])
    counts[order[: int(np.argmin(np.abs(reached - rest)))]] += 1
    return counts
