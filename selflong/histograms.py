"""Lengths in bins, four to each doubling, for the figures of corpora and mixtures."""

import numpy as np

BINS = np.unique(np.round(2 ** (np.arange(4 * 22) / 4)).astype(np.int64))
"""Lower bounds; the last bin has no upper one."""


def histogram(lengths: np.ndarray, counts: np.ndarray | None = None) -> dict[int, int]:
    """Lower bound of each bin that holds something -> how many; `counts` tells how often each length stands.

    `lengths` (int64) are at least 1.
    """
    bins = np.searchsorted(BINS, lengths, side="right") - 1
    held = np.bincount(bins, weights=counts, minlength=len(BINS)).astype(int)
    return {int(BINS[number]): int(held[number]) for number in np.flatnonzero(held)}
