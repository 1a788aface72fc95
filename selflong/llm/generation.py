"""Greedy generation of many prompts at once whose results do not depend on each other.

Prompts are read one at a time, unpadded; the rows that decode share one forward pass. Padding and masking
rows of different lengths would let a row's neighbours change the order of its sums, and in bfloat16 that
flips close decisions. So attention runs over each row's own keys alone, and the matrix products always
have the same number of rows. A row joins when a place is free and leaves when it ends.

The beginning that a prompt shares with an earlier one is not read again: its keys are copied. Every prompt
is read in blocks that begin at multiples of their size, so that the keys of a whole block come from
products of the same shapes, to the bit, whichever prompt brought it; what is not a whole block is read by
every prompt.
"""

import queue
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

ATTENTION = "selflong_rows"
DECODING_ROWS = 8
BLOCKS = {torch.float32: 128, torch.bfloat16: 256}
"""Positions that are read together, and the grain of what is shared.

A core multiplies bfloat16 so fast that with 128 rows it waits for the weights to come from memory.
"""


@dataclass(frozen=True)
class Generated:
    """New token ids, the end token included where one ended the row."""

    token_ids: list[int]
    finish_reason: str
    """`stop` or `length`."""
    cached_tokens: int = field(default=0, compare=False)
    """Of the prompt, whose keys an earlier one had left."""


@dataclass(eq=False)
class _Row:
    """A prompt on its way."""

    prompt: Sequence[int]
    max_tokens: int
    end_ids: frozenset[int]
    result: "Future[Generated]" = field(default_factory=Future)
    new_ids: list[int] = field(default_factory=list)
    layers: list[torch.Tensor] = field(default_factory=list)
    """Keys and values of each layer: [2, key-value heads, capacity, head size]."""
    length: int = 0
    """Positions whose keys are stored by every layer."""
    shared: int = 0
    """Of them those whose keys were copied."""

    @property
    def capacity(self) -> int:
        return len(self.prompt) + self.max_tokens

    def common_blocks(self, prompt: Sequence[int], block: int) -> int:
        """Positions in whole blocks that begin both prompts and whose keys are stored.

        The last of `prompt` is not among them: what follows it is asked for.
        """
        end = min(self.length, len(self.prompt), len(prompt) - 1) // block * block
        for start in range(0, end, block):
            if self.prompt[start : start + block] != prompt[start : start + block]:
                return start
        return end

    def share(self, other: "_Row", positions: int) -> None:
        """Begin with the keys and values of another row's first positions."""
        if positions == 0:
            return
        for stored in other.layers:
            _, heads, _, size = stored.shape
            own = stored.new_empty(2, heads, self.capacity, size)
            own[:, :, :positions] = stored[:, :, :positions]
            self.layers.append(own)
        self.length = self.shared = positions

    def extend(
        self, layer: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the keys and values [key-value heads, positions, head size] behind the earlier ones."""
        if layer == len(self.layers):
            heads, _, size = key.shape
            self.layers.append(key.new_empty(2, heads, self.capacity, size))
        end = self.length + key.shape[1]
        stored = self.layers[layer]
        stored[0, :, self.length : end] = key
        stored[1, :, self.length : end] = value
        return stored[0, :, :end], stored[1, :, :end]


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    rows: list[_Row],
    mask: torch.Tensor | None = None,
    **_settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one block of a prompt, or of one new position of each row; further rows are filling.

    query: [rows, heads, positions, head size]; gives [rows, positions, heads, head size]. mask: what is added
    to a block's scores, [positions, keys], where it is not a prompt's first.
    """
    layer = cast(int, module.layer_idx)
    if query.shape[0] == 1:
        keys, values = rows[0].extend(layer, key[0], value[0])
        attended = scaled_dot_product_attention(
            query, keys[None], values[None],
            attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=True,
        )  # fmt: skip
        return attended.transpose(1, 2), None
    _, heads, _, size = query.shape
    attended = torch.zeros_like(query)
    for index, row in enumerate(rows):
        keys, values = row.extend(layer, key[index], value[index])
        # The query heads that share a key head stand as its positions: no key is copied.
        grouped = query[index].view(1, keys.shape[0], -1, size)
        attended[index] = scaled_dot_product_attention(
            grouped, keys[None], values[None], scale=scaling
        ).view(heads, 1, size)
    return attended.transpose(1, 2), None


AttentionInterface.register(ATTENTION, _attend)


class Generator:
    """Runs `model` (loaded with `attn_implementation=ATTENTION`) in the thread that calls `run`.

    key_tokens: positions whose keys are held at once, over all rows; a prompt waits until it fits. What the
    rows leave of them holds the keys of the last prompts, for others that begin alike.
    """

    def __init__(self, model: PreTrainedModel, key_tokens: int) -> None:
        if getattr(model.config, "sliding_window", None):
            raise ValueError("a model with sliding windows cannot be served this way")
        self._model = model.eval()
        self._block = BLOCKS[model.dtype]
        self._key_tokens = key_tokens
        self._arrivals: queue.SimpleQueue[_Row] = queue.SimpleQueue()
        self._waiting: list[_Row] = []
        self._rows: list[_Row] = []
        self._ended: list[_Row] = []
        """Whose keys are kept, the last used at the end."""

    def submit(
        self, prompt: Sequence[int], max_tokens: int, end_ids: frozenset[int]
    ) -> "Future[Generated]":
        """Generate until one of `end_ids` or `max_tokens` new tokens."""
        row = _Row(prompt, max_tokens, end_ids)
        self._arrivals.put(row)
        return row.result

    @torch.inference_mode()
    def run(self) -> NoReturn:
        """Answer what any thread submits, for good.

        Call it in the thread that loaded the model: in a second one that computes, the products of torch use
        one core, however many it was given.
        """
        while True:
            self._receive()
            while self._waiting and self._fits(row := self._next()):
                self._waiting.remove(row)
                self._read_prompt(row)
            if self._rows:
                self._decode()

    def _next(self) -> _Row:
        """The waiting prompt that shares most with what is held; of equal ones the first.

        Requests that are sent together arrive in any order, and keys are held for a while only.
        """
        return max(self._waiting, key=lambda row: self._shared(self._source(row), row))

    def _source(self, row: _Row) -> _Row:
        """The row that shares most with `row`, of equal ones one that decodes; itself where there is none."""
        others = [*self._rows, *self._ended]
        return max(others, key=lambda other: self._shared(other, row), default=row)

    def _shared(self, source: _Row, row: _Row) -> int:
        return source.common_blocks(row.prompt, self._block)

    def _receive(self) -> None:
        if not self._rows and not self._waiting:
            self._waiting.append(self._arrivals.get())
        while not self._arrivals.empty():
            self._waiting.append(self._arrivals.get())

    def _fits(self, row: _Row) -> bool:
        if not self._rows:
            return True
        held = sum(other.capacity for other in self._rows)
        return len(self._rows) < DECODING_ROWS and held + row.capacity <= self._key_tokens

    def _share_beginning(self, row: _Row) -> None:
        """Make room for the row's keys and copy those of the longest beginning that another row still has."""
        source = self._source(row)
        if source in self._ended:  # it is the last to go
            self._ended.remove(source)
            self._ended.append(source)
        room = self._key_tokens - row.capacity - sum(other.capacity for other in self._rows)
        while self._ended and sum(other.capacity for other in self._ended) > room:
            self._ended.pop(0)
        source = self._source(row)
        row.share(source, self._shared(source, row))

    def _read_prompt(self, row: _Row) -> None:
        try:
            self._share_beginning(row)
            for start in range(row.length, len(row.prompt), self._block):
                block = list(row.prompt[start : start + self._block])
                next_id = self._read_block(
                    row, block, is_last=start + self._block >= len(row.prompt)
                )
        except Exception as error:
            row.result.set_exception(error)
            return
        self._take(row, next_id)

    def _read_block(self, row: _Row, block: list[int], is_last: bool) -> int:
        """Store a block's keys; the likeliest token after the last one, 0 after others."""
        mask = self._mask(row.length, len(block)) if row.length else None
        next_id = 0
        if is_last:
            (next_id,) = self._forward([row], [block], [row.length], mask)
        else:  # nobody asks for its logits
            self._model.base_model(**self._inputs([row], [block], [row.length], mask))
        row.length += len(block)
        return next_id

    def _mask(self, start: int, positions: int) -> torch.Tensor:
        """Added to the scores of a block from `start`, for all layers: [positions, keys]."""
        mask = torch.full((positions, start + positions), -torch.inf, dtype=self._model.dtype)
        return mask.triu(start + 1)

    def _decode(self) -> None:
        rows = list(self._rows)
        filling = DECODING_ROWS - len(rows)
        next_ids = self._forward(
            rows,
            [[row.new_ids[-1]] for row in rows] + [[0]] * filling,
            [row.length for row in rows] + [0] * filling,
        )
        self._rows.clear()
        for row, next_id in zip(rows, next_ids, strict=False):
            row.length += 1
            self._take(row, next_id)

    def _forward(
        self,
        rows: list[_Row],
        token_ids: list[list[int]],
        starts: list[int],
        mask: torch.Tensor | None = None,
    ) -> list[int]:
        """The likeliest next token of each row, the lowest id where several are equally likely."""
        inputs = self._inputs(rows, token_ids, starts, mask)
        logits = self._model(**inputs, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1).tolist()

    @staticmethod
    def _inputs(
        rows: list[_Row], token_ids: list[list[int]], starts: list[int], mask: torch.Tensor | None
    ) -> dict[str, Any]:
        ids = torch.tensor(token_ids)
        positions = torch.tensor(starts)[:, None] + torch.arange(ids.shape[1])
        return {
            "input_ids": ids,
            "position_ids": positions,
            "use_cache": False,
            "rows": rows,
            "mask": mask,
        }

    def _take(self, row: _Row, next_id: int) -> None:
        row.new_ids.append(next_id)
        if next_id in row.end_ids:
            self._end(row, "stop")
        elif len(row.new_ids) == row.max_tokens:
            self._end(row, "length")
        else:
            self._rows.append(row)

    def _end(self, row: _Row, reason: str) -> None:
        row.result.set_result(Generated(row.new_ids, reason, row.shared))
        self._ended.append(row)
