"""Packed data as global batches: order by seed alone, balanced over ranks, each rank reads its slice."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selflong.formats import SEQUENCES, PackedFiles, read_array, read_parquet
from selflong.job import UserError
from selflong.placement.layout import balanced_slots
from selflong.placement.ring import Integers, split
from selflong.training.layout import Layout, Place, local_tokens
from selflong.training.loss import IGNORE, target_mask


@dataclass(frozen=True)
class MicroBatch:
    """One rank's slice of one packed sequence; tensors are [local tokens].

    ``bounds`` are the documents of the whole sequence, without its padding; an idle rank's micro-batch has no
    target.
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
        self.input_ids: NDArray[np.uint32] = read_array(folder / PackedFiles.INPUT_IDS, np.uint32)
        self.roles: NDArray[np.uint8] = read_array(folder / PackedFiles.ROLES, np.uint8)
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
        bounds = self.bounds[sequence]
        tokens = local_tokens(split(bounds, layout.ring), layout, place)
        input_ids, labels = self._read(sequence, tokens, mask_prompt)
        return MicroBatch(
            torch.from_numpy(input_ids),
            torch.from_numpy(labels),
            _positions(tokens, bounds),
            tuple(bounds),
            sequence,
        )

    def _read(
        self, sequence: int, tokens: Integers, mask_prompt: bool
    ) -> tuple[Integers, Integers]:
        """Ids and labels of tokens of a sequence; what lies beyond it is padding."""
        size = self.tokens[sequence]
        # Padding stands at the last token, which predicts nothing.
        own = np.minimum(tokens, size - 1)
        following = np.minimum(own + 1, size - 1)
        start, stop = int(own.min()), int(following.max()) + 1
        span = slice(self.offsets[sequence] + start, self.offsets[sequence] + stop)
        input_ids = self.input_ids[span].astype(np.int64)
        targets = target_mask(
            self.roles[span], start, self.bounds[sequence], self.kinds[sequence], mask_prompt
        )
        counts = targets[following - start] & (following > own)
        labels = np.where(counts, input_ids[following - start], IGNORE)
        return np.where(tokens < size, input_ids[own - start], 0), labels


def _positions(tokens: Integers, bounds: Sequence[int]) -> Tensor:
    """Positions that restart in each document, and in the padding."""
    starts = np.asarray(bounds)
    return torch.from_numpy(tokens - starts[np.searchsorted(starts, tokens, side="right") - 1])


def idle_micro_batch(layout: Layout, place: Place) -> MicroBatch:
    """A small micro-batch without a target: it keeps an idle group in step with the others."""
    bounds = (0, 2 * layout.sequence)
    tokens = local_tokens(split(bounds, layout.ring), layout, place)
    zeros = torch.zeros(len(tokens), dtype=torch.int64)
    return MicroBatch(
        zeros, torch.full_like(zeros, IGNORE), _positions(tokens, bounds), bounds, None
    )
