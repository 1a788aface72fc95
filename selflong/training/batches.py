"""Packed data as global batches: order by seed alone, balanced over ranks, each rank reads its slice."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selflong.formats import SEQUENCES, PackedFiles, read_parquet
from selflong.job import UserError
from selflong.placement.layout import balanced_slots
from selflong.training.layout import Layout, Place, token_ranges
from selflong.training.loss import IGNORE, target_mask


@dataclass(frozen=True)
class MicroBatch:
    """One rank's slice of one packed sequence; tensors are [local tokens].

    ``bounds`` are the documents of the whole padded sequence; an idle rank's micro-batch has no target.
    """

    input_ids: Tensor
    labels: Tensor
    positions: Tensor
    bounds: tuple[int, ...]
    sequence: int | None

    @property
    def targets(self) -> int:
        """Number of tokens that the loss counts."""
        return int((self.labels != IGNORE).sum())


def _mapped(path: Path, dtype: type) -> NDArray[Any]:
    """An array of one dimension, memory-mapped; UserError where the file holds none of this type."""
    try:
        values = np.load(path, mmap_mode="r")
    except Exception:  # numpy reads the header as Python, which has many ways to be wrong
        values = None
    if values is None or values.dtype != dtype or values.ndim != 1:
        raise UserError(f"{path} holds no array of {dtype.__name__}: pack the mixture again")
    return values


class PackedData:
    """A packed folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        table = read_parquet(folder / PackedFiles.SEQUENCES, SEQUENCES)
        if table.is_empty():
            raise UserError(f"{folder} holds no sequence: the mixture left nothing for this stage")
        self.folder = folder
        if any(column.null_count() for column in table):
            raise UserError(
                f"{folder / PackedFiles.SEQUENCES} holds rows without a value: pack the mixture again"
            )
        self.input_ids: NDArray[np.uint32] = _mapped(folder / PackedFiles.INPUT_IDS, np.uint32)
        self.roles: NDArray[np.uint8] = _mapped(folder / PackedFiles.ROLES, np.uint8)
        self.offsets: list[int] = table["offset"].to_list()
        self.tokens: list[int] = table["tokens"].to_list()
        self.bounds: list[list[int]] = table["document_bounds"].to_list()
        self.sample_ids: list[list[str]] = table["sample_ids"].to_list()
        self.kinds: list[list[str]] = table["kinds"].to_list()
        self._check()

    def _check(self) -> None:
        total = max(
            o + t if o >= 0 else len(self.roles) + 1
            for o, t in zip(self.offsets, self.tokens, strict=True)
        )
        if len(self.input_ids) != len(self.roles) or total > len(self.input_ids):
            raise UserError(
                f"{self.folder}: {PackedFiles.SEQUENCES} names {total} tokens, "
                f"but {PackedFiles.INPUT_IDS} holds {len(self.input_ids)} and "
                f"{PackedFiles.ROLES} {len(self.roles)}; pack the mixture again"
            )
        for row, (tokens, bounds, kinds) in enumerate(
            zip(self.tokens, self.bounds, self.kinds, strict=True)
        ):
            rising = len(bounds) > 1 and all(a < b for a, b in itertools.pairwise(bounds))
            if (
                not rising
                or bounds[0] != 0
                or bounds[-1] != tokens
                or len(kinds) != len(bounds) - 1
            ):
                raise UserError(
                    f"{self.folder / PackedFiles.SEQUENCES}: row {row}: document_bounds must rise "
                    "from 0 to tokens, with one kind for each document"
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def cost(self, sequence: int) -> int:
        """Attention work of a sequence: the sum of its squared document lengths."""
        bounds = self.bounds[sequence]
        return sum((b - a) ** 2 for a, b in itertools.pairwise(bounds))

    def global_batch(self, step: int, size: int, seed: int) -> list[int]:
        """The sequences of a step: the same for any number of ranks; each once before any twice."""
        return [self._ordered(position, seed) for position in range(step * size, (step + 1) * size)]

    def _ordered(self, position: int, seed: int) -> int:
        epoch, index = divmod(position, len(self))
        if getattr(self, "_epoch", None) != (epoch, seed):
            self._order = np.random.default_rng([seed, epoch]).permutation(len(self))
            self._epoch = (epoch, seed)
        return int(self._order[index])

    def micro_batches(
        self, batch: list[int], layout: Layout, place: Place, mask_prompt: bool
    ) -> Iterator[MicroBatch]:
        """This rank's micro-batches of a global batch; equally many on every rank."""
        for row in balanced_slots([self.cost(sequence) for sequence in batch], layout.data):
            slot = row[place.data]
            if slot is None:
                yield idle_micro_batch(layout, place)
            else:
                yield self.micro_batch(batch[slot], layout, place, mask_prompt)

    def micro_batch(
        self, sequence: int, layout: Layout, place: Place, mask_prompt: bool
    ) -> MicroBatch:
        """This rank's slice of one sequence, padded to a length that the ranks share evenly."""
        tokens = self.tokens[sequence]
        padded = layout.padded(tokens)
        ranges = token_ranges(padded, layout, place)
        parts = [self._read(sequence, part, mask_prompt) for part in ranges]
        input_ids, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        bounds = list(self.bounds[sequence])
        if padded > tokens:
            bounds.append(padded)
        return MicroBatch(
            torch.from_numpy(input_ids),
            torch.from_numpy(labels),
            _positions(ranges, bounds),
            tuple(bounds),
            sequence,
        )

    def _read(
        self, sequence: int, part: range, mask_prompt: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and labels of a range; what lies beyond the sequence is padding."""
        tokens, offset = self.tokens[sequence], self.offsets[sequence]
        stop = min(part.stop + 1, tokens)  # one more token: the last position's target
        input_ids = np.zeros(len(part) + 1, dtype=np.int64)
        targets = np.zeros(len(part) + 1, dtype=bool)
        if part.start < stop:
            span = slice(offset + part.start, offset + stop)
            input_ids[: stop - part.start] = self.input_ids[span]
            targets[: stop - part.start] = target_mask(
                self.roles[span],
                part.start,
                self.bounds[sequence],
                self.kinds[sequence],
                mask_prompt,
            )
        labels = np.where(targets[1:], input_ids[1:], IGNORE)
        return input_ids[:-1], labels


def _positions(ranges: list[range], bounds: list[int]) -> Tensor:
    """Positions that restart in each document."""
    tokens = np.concatenate([np.arange(part.start, part.stop) for part in ranges])
    starts = np.asarray(bounds)
    return torch.from_numpy(tokens - starts[np.searchsorted(starts, tokens, side="right") - 1])


def idle_micro_batch(layout: Layout, place: Place) -> MicroBatch:
    """The smallest micro-batch without a target: it keeps an idle group in step with the others."""
    length = layout.multiple
    ranges = token_ranges(length, layout, place)
    count = sum(len(part) for part in ranges)
    zeros = torch.zeros(count, dtype=torch.int64)
    return MicroBatch(
        zeros, torch.full_like(zeros, IGNORE), _positions(ranges, [0, length]), (0, length), None
    )
