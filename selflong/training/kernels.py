"""Attention of one block, by whatever computes it best on the device.

Tensors are [heads, tokens, head_dim] and the log-sum-exp [heads, tokens], a natural logarithm in float32
(float64 for float64 inputs). Keys and values may have fewer heads than the queries by a whole factor.
"""

import importlib
import itertools
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)

TILE_ROWS = 256
"""Query rows whose scores the plain kernel holds at once."""


@dataclass(frozen=True)
class Rule:
    """What a layer does with its scores: scaled, then capped, then masked by a window."""

    scale: float
    window: int | None = None
    """A query sees its own token and the ``window - 1`` before it."""
    softcap: float = 0.0
    """Scores become ``softcap * tanh(scores / softcap)``; 0 leaves them as they are."""


@dataclass(frozen=True)
class Block:
    """The shape of one block: documents of queries beside as many of keys.

    ``reach`` is how many keys before its own a query sees, where a document's last query and its last key
    count as the same token (flash-attention's window_size_left); None for all.
    """

    query_bounds: tuple[int, ...]
    key_bounds: tuple[int, ...]
    causal: bool
    reach: int | None = None

    @cached_property
    def _on_devices(self) -> dict[torch.device, "Lengths"]:
        return {}

    def lengths(self, device: torch.device) -> "Lengths":
        """The bounds as kernels for GPUs take them; they are brought to the device once."""
        if device not in self._on_devices:
            self._on_devices[device] = Lengths(
                torch.tensor(self.query_bounds, dtype=torch.int32, device=device),
                torch.tensor(self.key_bounds, dtype=torch.int32, device=device),
                max(b - a for a, b in itertools.pairwise(self.query_bounds)),
                max(b - a for a, b in itertools.pairwise(self.key_bounds)),
            )
        return self._on_devices[device]

    def documents(self) -> Iterator[tuple[slice, slice]]:
        """Rows of the queries and of the keys of each document."""
        for (a, b), (c, d) in zip(
            itertools.pairwise(self.query_bounds), itertools.pairwise(self.key_bounds), strict=True
        ):
            yield slice(a, b), slice(c, d)


class Lengths(NamedTuple):
    """Cumulative lengths (int32 [documents + 1]) and the longest document, named as by flash-attention."""

    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    max_seqlen_q: int
    max_seqlen_k: int


class Attended(NamedTuple):
    """Queries, keys and values of a block, with the output and the log-sum-exp of the whole row."""

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    lse: Tensor


Output = tuple[Tensor, Tensor]
"""Of attention, and its log-sum-exp."""
Gradients = tuple[Tensor, Tensor, Tensor]
"""Of queries, keys and values."""


class BlockKernel(Protocol):
    """Attention of one block."""

    name: str

    def forward(self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> Output:
        """Compute a block."""

    def backward(self, grad: Tensor, given: Attended, block: Block, rule: Rule) -> Gradients:
        """Differentiate it, from the gradient of the output."""


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What sums of numbers of a dtype are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class PlainKernel:
    """Matrix products of torch, a tile of queries at a time: any device, any window, any softcap."""

    name = "torch's matrix products"

    def forward(self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> Output:
        wide = accumulator_dtype(q.dtype)
        out = torch.empty_like(q)
        lse = torch.empty(q.shape[:2], dtype=wide, device=q.device)
        for rows, keys, seen in _tiles(block, q.device):
            scores, _ = _scores(q[:, rows], k[:, keys], seen, rule)
            lse[:, rows] = scores.logsumexp(-1).flatten(0, 1)
            weights = (scores - lse[:, rows].unflatten(0, scores.shape[:2])[..., None]).exp()
            out[:, rows] = _by_group(weights, v[:, keys]).flatten(0, 1).to(q.dtype)
        return out, lse

    def backward(self, grad: Tensor, given: Attended, block: Block, rule: Rule) -> Gradients:
        q, k, v, out, lse = given
        wide = accumulator_dtype(q.dtype)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(x.shape, dtype=wide, device=x.device) for x in (k, v))
        delta = (grad.to(wide) * out.to(wide)).sum(-1)
        groups = (k.shape[0], q.shape[0] // k.shape[0])
        for rows, keys, seen in _tiles(block, q.device):
            scores, slope = _scores(q[:, rows], k[:, keys], seen, rule)
            weights = (scores - lse[:, rows].unflatten(0, groups)[..., None]).exp()
            tile_grad = grad[:, rows].unflatten(0, groups).to(wide)
            dv[:, keys] += torch.einsum("hgqk,hgqd->hkd", weights, tile_grad)
            moved = torch.einsum("hgqd,hkd->hgqk", tile_grad, v[:, keys].to(wide))
            moved = weights * (moved - delta[:, rows].unflatten(0, groups)[..., None])
            moved = moved * rule.scale if slope is None else moved * slope * rule.scale
            dq[:, rows] = _by_group(moved, k[:, keys]).flatten(0, 1).to(q.dtype)
            tile = q[:, rows].unflatten(0, groups).to(wide)
            dk[:, keys] += torch.einsum("hgqk,hgqd->hkd", moved, tile)
        return dq, dk.to(k.dtype), dv.to(v.dtype)


def _tiles(block: Block, device: torch.device) -> Iterator[tuple[slice, slice, Tensor]]:
    """Query rows, the keys that any of them sees, and which sees which (bool [rows, keys])."""
    for queries, keys in block.documents():
        shift = (keys.stop - keys.start) - (queries.stop - queries.start)
        for start in range(queries.start, queries.stop, TILE_ROWS):
            stop = min(start + TILE_ROWS, queries.stop)
            own = torch.arange(start, stop, device=device)[:, None] - queries.start + shift
            low, high = 0, keys.stop - keys.start
            if block.reach is not None:
                low = max(0, start - queries.start + shift - block.reach)
            if block.causal:
                high = min(high, stop - queries.start + shift)
            columns = torch.arange(low, high, device=device)[None]
            seen = torch.ones(stop - start, high - low, dtype=torch.bool, device=device)
            if block.causal:
                seen &= columns <= own
            if block.reach is not None:
                seen &= columns >= own - block.reach
            yield slice(start, stop), slice(keys.start + low, keys.start + high), seen


def _scores(q: Tensor, k: Tensor, seen: Tensor, rule: Rule) -> tuple[Tensor, Tensor | None]:
    """Masked scores [key heads, queries a key head, rows, keys], and the slope of their cap."""
    wide = accumulator_dtype(q.dtype)
    grouped = q.unflatten(0, (k.shape[0], -1)).to(wide)
    scores = torch.einsum("hgqd,hkd->hgqk", grouped, k.to(wide)) * rule.scale
    slope = None
    if rule.softcap:
        capped = (scores / rule.softcap).tanh()
        scores, slope = capped * rule.softcap, 1 - capped.square()
    return scores.masked_fill(~seen, -math.inf), slope


def _by_group(weights: Tensor, values: Tensor) -> Tensor:
    return torch.einsum("hgqk,hkd->hgqd", weights, values.to(weights.dtype))


class TorchCpuKernel:
    """torch's own flash attention for CPUs; float64, float32 and bfloat16."""

    name = "torch's flash attention for CPUs"

    def __init__(self) -> None:
        self._plain = PlainKernel()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> Output:
        if rule.softcap or block.reach is not None:
            return self._plain.forward(q, k, v, block, rule)
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        if len(block.query_bounds) == 2:
            out, lse = run(q[None], k[None], v[None], 0.0, block.causal, scale=rule.scale)
            return out[0], lse[0]
        out = torch.empty_like(q)
        lse = torch.empty(q.shape[:2], dtype=accumulator_dtype(q.dtype))
        for rows, keys in block.documents():
            parts = run(
                q[None, :, rows], k[None, :, keys], v[None, :, keys], 0.0, block.causal,
                scale=rule.scale,
            )  # fmt: skip
            out[:, rows], lse[:, rows] = parts[0][0], parts[1][0]
        return out, lse

    def backward(self, grad: Tensor, given: Attended, block: Block, rule: Rule) -> Gradients:
        if rule.softcap or block.reach is not None:
            return self._plain.backward(grad, given, block, rule)
        q, k, v, out, lse = given
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        gradients = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for rows, keys in block.documents():
            by_query = [x[None, :, rows] for x in (grad, q, out, lse)]
            parts = run(
                by_query[0], by_query[1], k[None, :, keys], v[None, :, keys], by_query[2],
                by_query[3], 0.0, block.causal, scale=rule.scale,
            )  # fmt: skip
            for gradient, part, where in zip(gradients, parts, (rows, keys, keys), strict=True):
                gradient[:, where] = part[0]
        return gradients


def _by_token(*tensors: Tensor) -> list[Tensor]:
    """[heads, tokens, head_dim] -> [tokens, heads, head_dim], contiguous, as kernels for GPUs want them."""
    return [x.transpose(0, 1).contiguous() for x in tensors]


def _window(block: Block) -> dict[str, int]:
    """Positions that a query sees before and behind itself; -1: all."""
    return {
        "window_size_left": -1 if block.reach is None else block.reach,
        "window_size_right": 0 if block.causal else -1,
    }


class FlashKernel(ABC):
    """Flash attention on a GPU, whose functions take and give [tokens, heads, head_dim]."""

    name: str

    def __init__(self, interface: Any) -> None:
        self._interface = interface

    def forward(self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> Output:
        lengths = block.lengths(q.device)
        q, k, v = _by_token(q, k, v)
        out, lse, *_ = self._forward(q, k, v, lengths, block, rule)
        return out.transpose(0, 1), lse

    def backward(self, grad: Tensor, given: Attended, block: Block, rule: Rule) -> Gradients:
        lengths = block.lengths(grad.device)
        grad, q, k, v, out = _by_token(grad, given.q, given.k, given.v, given.out)
        given = Attended(q, k, v, out, given.lse.contiguous())
        gradients = self._backward(grad, given, lengths, block, rule)
        dq, dk, dv = (x.transpose(0, 1) for x in gradients[:3])
        return dq, dk, dv

    @abstractmethod
    def _forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        """What the library gives: output and log-sum-exp first."""

    @abstractmethod
    def _backward(
        self, grad: Tensor, given: Attended, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        """What the library gives: the gradients first."""


class FlashAttention4Kernel(FlashKernel):
    """FlashAttention-4 (package flash-attn-4, written in Python) on Hopper and Blackwell."""

    name = "flash-attn 4"

    def _forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        return self._interface._flash_attn_fwd(
            q, k, v, **lengths._asdict(),
            softmax_scale=rule.scale, causal=block.causal, softcap=rule.softcap,
            window_size_left=block.reach, return_lse=True,
        )  # fmt: skip

    def _backward(
        self, grad: Tensor, given: Attended, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        return self._interface._flash_attn_bwd(
            given.q, given.k, given.v, given.out, grad, given.lse, **lengths._asdict(),
            softmax_scale=rule.scale, causal=block.causal, softcap=rule.softcap,
            window_size_left=block.reach,
        )  # fmt: skip


class FlashAttention3Kernel(FlashKernel):
    """FlashAttention-3 (module flash_attn_interface, built from the folder hopper) on Hopper."""

    name = "flash-attn 3"

    def _forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        return self._interface._flash_attn_forward(
            q, k, v, **lengths._asdict(), softmax_scale=rule.scale, causal=block.causal,
            softcap=rule.softcap, **_window(block),
        )  # fmt: skip

    def _backward(
        self, grad: Tensor, given: Attended, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        dq, dk, dv = map(torch.empty_like, given[:3])
        self._interface._flash_attn_backward(
            grad, *given, **lengths._asdict(), dq=dq, dk=dk, dv=dv,
            softmax_scale=rule.scale, is_causal=block.causal, softcap=rule.softcap, **_window(block),
        )  # fmt: skip
        return dq, dk, dv


class TorchFlashKernel(FlashKernel):
    """The flash operations that torch carries, without any package. They know no softcap."""

    name = "torch's flash attention"

    def __init__(self, operations: Any = torch.ops.aten) -> None:
        super().__init__(operations)
        self._plain = PlainKernel()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> Output:
        if rule.softcap:
            return self._plain.forward(q, k, v, block, rule)
        return super().forward(q, k, v, block, rule)

    def backward(self, grad: Tensor, given: Attended, block: Block, rule: Rule) -> Gradients:
        if rule.softcap:
            return self._plain.backward(grad, given, block, rule)
        return super().backward(grad, given, block, rule)

    def _forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        return self._interface._flash_attention_forward(
            q, k, v, *lengths, 0.0, block.causal, False, scale=rule.scale, **self._window(block)
        )

    def _backward(
        self, grad: Tensor, given: Attended, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        no_dropout = torch.empty(2, dtype=torch.uint64, device=grad.device)
        return self._interface._flash_attention_backward(
            grad, *given, *lengths, 0.0, block.causal, no_dropout, no_dropout,
            scale=rule.scale, **self._window(block),
        )  # fmt: skip

    @staticmethod
    def _window(block: Block) -> dict[str, int]:
        return {} if block.reach is None else _window(block)


class FlashAttention2Kernel(FlashKernel):
    """FlashAttention-2 (package flash-attn >= 2.7)."""

    name = "flash-attn 2"

    def _forward(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        return self._interface._flash_attn_varlen_forward(
            q, k, v, *lengths, dropout_p=0.0, softmax_scale=rule.scale, causal=block.causal,
            softcap=rule.softcap, **_window(block),
        )  # fmt: skip

    def _backward(
        self, grad: Tensor, given: Attended, lengths: Lengths, block: Block, rule: Rule
    ) -> tuple[Any, ...]:
        dq, dk, dv = map(torch.empty_like, given[:3])
        self._interface._flash_attn_varlen_backward(
            grad, *given, dq, dk, dv, *lengths,
            dropout_p=0.0, softmax_scale=rule.scale, causal=block.causal,
            softcap=rule.softcap, **_window(block), alibi_slopes=None, deterministic=False,
        )  # fmt: skip
        return dq, dk, dv


PACKAGES: dict[str, tuple[Callable[[Any], BlockKernel], tuple[int, int], tuple[int, int]]] = {
    "flash_attn_interface": (FlashAttention3Kernel, (9, 0), (9, 0)),
    "flash_attn.cute.interface": (FlashAttention4Kernel, (9, 0), (99, 0)),
    "flash_attn.flash_attn_interface": (FlashAttention2Kernel, (8, 0), (99, 0)),
}
"""Modules of packages, the fastest first: the kernel, the least and the highest compute capability that it
knows."""


def gpu_kernels(capability: tuple[int, int]) -> Iterator[BlockKernel]:
    """The kernels that are there for GPUs of a compute capability, the fastest first, torch's own last."""
    for module, (kernel, least, most) in PACKAGES.items():
        if least <= capability <= most:
            try:
                yield kernel(importlib.import_module(module))
            except ImportError:
                continue
    yield TorchFlashKernel()


@cache
def block_kernel(device: torch.device, dtype: torch.dtype) -> BlockKernel:
    """The best kernel that there is for a device and a dtype; flash kernels for GPUs have 16 bits alone."""
    if device.type == "cpu":
        kernel: BlockKernel = TorchCpuKernel()
    elif dtype in (torch.bfloat16, torch.float16):
        kernel = next(gpu_kernels(torch.cuda.get_device_capability(device)))
    else:
        kernel = PlainKernel()
    log.info("attention in %s by %s", dtype, kernel.name)
    return kernel
