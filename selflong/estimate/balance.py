"""How evenly ranks share the attention of a step, by the lengths that a recipe says before any data."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from selflong.estimate.data_stages import stage_documents
from selflong.mixture.pack import pack
from selflong.placement.layout import balanced_slots
from selflong.placement.ring import RingSplit, split
from selflong.recipe.recipe import Recipe

STEPS = 8
"""Steps that are drawn."""


@cache
def _packed(sizes: bytes, counts: bytes, length: int, sequences: int) -> list[np.ndarray]:
    lengths = np.maximum(1, np.frombuffer(sizes).astype(np.int64))
    share = np.frombuffer(counts) / np.frombuffer(counts).sum()
    draw = np.random.default_rng(1)
    number = int(np.ceil(1.1 * sequences * length / (share @ lengths)))
    tokens = draw.choice(lengths, number, p=share)
    place = pack(tokens, length)
    order = np.argsort(place, kind="stable")
    held = np.split(tokens[order], np.flatnonzero(np.diff(place[order])) + 1)
    return [held[index] for index in draw.permutation(len(held))[:sequences]]


def packed_documents(recipe: Recipe, mixture: str, stage: str, sequences: int) -> list[np.ndarray]:
    """Lengths of the documents of each of a stage's sequences, drawn and packed, the same each time."""
    length, sizes, counts = stage_documents(recipe, mixture, stage)
    return _packed(sizes.tobytes(), counts.tobytes(), length, sequences)


def turn_work(shared: RingSplit, index: int, source: int) -> int:
    """Twice the pairs of a query of one ring index and an earlier key of its document of another."""
    work = 0
    if index == source:
        work += int((np.diff(shared.bounds(index)) ** 2).sum())
    for part, earlier in shared.crossings(index, source):
        work += 2 * int(shared.sizes[part] @ shared.sizes[earlier])
    return work


def lock_step(documents: np.ndarray, ring: int) -> int:
    """Work of the slowest rank of each turn of a ring, in squared tokens; all ranks wait for it."""
    shared = split([0, *np.cumsum(documents).tolist()], ring)
    return sum(
        max(turn_work(shared, index, (index - turn) % ring) for index in range(ring))
        for turn in range(ring)
    )


def _steps(sequences: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(sequences), size):
        yield sequences[start : start + size]


def useful_share(sequences: list[np.ndarray], per_step: int, ring: int, data: int) -> float:
    """Attention that is computed over what all ranks could compute until the slowest of each turn is done."""
    useful = spent = 0.0
    for batch in _steps(sequences, per_step):
        costs = [int((documents**2).sum()) for documents in batch]
        for row in balanced_slots(costs, data):
            taken = [index for index in row if index is not None]
            useful += sum(costs[index] for index in taken)
            spent += data * ring * max(lock_step(batch[index], ring) for index in taken)
    return useful / spent
