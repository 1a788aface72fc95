"""Greedy generation of many prompts at once whose results do not depend on each other.

Prompts are read one at a time, unpadded; the rows that decode share one forward pass. Padding and masking
rows of different lengths would let a row's neighbours change the order of its sums, and in bfloat16 that
flips close decisions. So attention runs over each row's own keys alone, and the matrix products always
have the same number of rows. A row joins when a place is free and leaves when it ends.
"""

import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

ATTENTION = "selflong_rows"
DECODING_ROWS = 8


@dataclass(frozen=True)
class Generated:
    """New token ids, the end token included where one ended the row."""

    token_ids: list[int]
    finish_reason: str
    """`stop` or `length`."""


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

    @property
    def capacity(self) -> int:
        return len(self.prompt) + self.max_tokens

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
    **_settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of one whole prompt, or of one new position of each row; further rows are filling.

    query: [rows, heads, positions, head size]; gives [rows, positions, heads, head size].
    """
    layer = cast(int, module.layer_idx)
    if query.shape[2] > 1:
        rows[0].extend(layer, key[0], value[0])
        attended = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
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
    """Runs `model` (loaded with `attn_implementation=ATTENTION`) in a thread of its own.

    key_tokens: positions whose keys are held at once, over all rows; a prompt waits until it fits.
    """

    def __init__(self, model: PreTrainedModel, key_tokens: int) -> None:
        if getattr(model.config, "sliding_window", None):
            raise ValueError("a model with sliding windows cannot be served this way")
        self._model = model.eval()
        self._key_tokens = key_tokens
        self._arrivals: queue.SimpleQueue[_Row] = queue.SimpleQueue()
        self._waiting: deque[_Row] = deque()
        self._rows: list[_Row] = []
        threading.Thread(target=self._work, name="generation", daemon=True).start()

    def submit(
        self, prompt: Sequence[int], max_tokens: int, end_ids: frozenset[int]
    ) -> "Future[Generated]":
        """Generate until one of `end_ids` or `max_tokens` new tokens."""
        row = _Row(prompt, max_tokens, end_ids)
        self._arrivals.put(row)
        return row.result

    @torch.inference_mode()
    def _work(self) -> None:
        while True:
            self._receive()
            while self._waiting and self._fits(self._waiting[0]):
                self._read_prompt(self._waiting.popleft())
            if self._rows:
                self._decode()

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

    def _read_prompt(self, row: _Row) -> None:
        try:
            next_ids = self._forward([row], [list(row.prompt)], [0])
        except Exception as error:
            row.result.set_exception(error)
            return
        row.length = len(row.prompt)
        self._take(row, next_ids[0])

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
        self, rows: list[_Row], token_ids: list[list[int]], starts: list[int]
    ) -> list[int]:
        """The likeliest next token of each row, the lowest id where several are equally likely."""
        ids = torch.tensor(token_ids)
        positions = torch.tensor(starts)[:, None] + torch.arange(ids.shape[1])
        logits = self._model(
            input_ids=ids, position_ids=positions, use_cache=False, logits_to_keep=1, rows=rows
        ).logits
        return logits[:, -1].argmax(-1).tolist()

    def _take(self, row: _Row, next_id: int) -> None:
        row.new_ids.append(next_id)
        if next_id in row.end_ids:
            row.result.set_result(Generated(row.new_ids, "stop"))
        elif len(row.new_ids) == row.max_tokens:
            row.result.set_result(Generated(row.new_ids, "length"))
        else:
            self._rows.append(row)
