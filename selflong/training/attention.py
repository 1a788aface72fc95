"""Exact sequence-parallel attention over packed documents: zigzag ring, Ulysses, and both together.

Registered with transformers under ``ATTENTION_NAME``; a model takes it by
``attn_implementation=ATTENTION_NAME`` and gets the documents through the keyword ``packed_sequence`` of
its forward call. Attention is causal and never crosses a document.

Ring attention (Liu et al. 2023, https://arxiv.org/abs/2310.01889) merges blocks by their log-sum-exp;
Ulysses (Jacobs et al. 2023, https://arxiv.org/abs/2309.14509) trades sequence slices for heads. Under
both, Ulysses gathers the two zigzag chunks of its ring index and the ring runs on a share of the heads.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from selflong.training.layout import Groups, ring_chunks

ATTENTION_NAME = "packed_sequence_parallel"


@dataclass(frozen=True)
class PackedSequence:
    """What attention must know about the sequence that the ranks share.

    ``bounds`` are the cumulative token bounds of its documents (the padding, if any, is one more),
    from 0 to the padded length.
    """

    bounds: tuple[int, ...]
    groups: Groups

    @property
    def length(self) -> int:
        return self.bounds[-1]


@dataclass(frozen=True)
class Piece:
    """One rectangle of attention in local token positions.

    ``bounds`` are the documents of a diagonal chunk relative to ``queries.start``, each causal in
    itself; empty for a rectangle in which every query sees every key.
    """

    queries: slice
    keys: slice
    bounds: tuple[int, ...]


def chunk_pieces(
    queries: range, keys: range, query_offset: int, key_offset: int, bounds: tuple[int, ...]
) -> Iterator[Piece]:
    """Pieces between two chunks, given as global ranges that are equal or disjoint.

    Documents are contiguous, so a chunk shares at most one document with an earlier chunk: what lies
    off the diagonal is one rectangle.
    """
    if queries == keys:
        inside = [b - queries.start for b in bounds if queries.start < b < queries.stop]
        local = slice(query_offset, query_offset + len(queries))
        keys_local = slice(key_offset, key_offset + len(keys))
        yield Piece(local, keys_local, (0, *inside, len(queries)))
        return
    if keys.start > queries.start:
        return
    for start, stop in itertools.pairwise(bounds):
        if start <= queries.start < stop and start < keys.stop:
            count = min(stop, queries.stop) - queries.start
            first = max(start, keys.start) - keys.start
            yield Piece(
                slice(query_offset, query_offset + count),
                slice(key_offset + first, key_offset + len(keys)),
                (),
            )


def ring_pieces(
    length: int, ring: int, query_index: int, key_index: int, bounds: tuple[int, ...]
) -> list[Piece]:
    """All pieces between the queries of one ring index and the keys of another, diagonal ones first."""
    pieces: list[Piece] = []
    query_offset = 0
    for queries in ring_chunks(length, ring, query_index):
        key_offset = 0
        for keys in ring_chunks(length, ring, key_index):
            pieces += chunk_pieces(queries, keys, query_offset, key_offset, bounds)
            key_offset += len(keys)
        query_offset += len(queries)
    return sorted(pieces, key=lambda piece: not piece.bounds)


class BlockKernel(Protocol):
    """Attention of one piece. Tensors are [heads, tokens, head_dim]; the log-sum-exp [heads, tokens].

    Keys and values may have fewer heads than the queries by a whole factor.
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bounds: tuple[int, ...], scale: float
    ) -> tuple[Tensor, Tensor]:
        """Return the output and its log-sum-exp."""

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        bounds: tuple[int, ...],
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of q, k, v, given the output and log-sum-exp of the whole row."""


def _accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class TorchCpuKernel:
    """torch's own flash attention for CPUs; float64, float32 and bfloat16."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bounds: tuple[int, ...], scale: float
    ) -> tuple[Tensor, Tensor]:
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        if len(bounds) <= 2:
            out, lse = run(q[None], k[None], v[None], 0.0, bool(bounds), scale=scale)
            return out[0], lse[0]
        out = torch.empty_like(q)
        lse = torch.empty(q.shape[:2], dtype=_accumulator_dtype(q.dtype))
        for start, stop in itertools.pairwise(bounds):
            rows = slice(start, stop)
            parts = run(
                q[None, :, rows], k[None, :, rows], v[None, :, rows], 0.0, True, scale=scale
            )
            out[:, rows], lse[:, rows] = parts[0][0], parts[1][0]
        return out, lse

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        bounds: tuple[int, ...],
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        run = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        given = [x[None] for x in (grad, q, k, v, out, lse)]
        if len(bounds) <= 2:
            dq, dk, dv = run(*given, 0.0, bool(bounds), scale=scale)
            return dq[0], dk[0], dv[0]
        gradients = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for start, stop in itertools.pairwise(bounds):
            parts = run(*(x[:, :, start:stop] for x in given), 0.0, True, scale=scale)
            for gradient, part in zip(gradients, parts, strict=True):
                gradient[:, start:stop] = part[0]
        return gradients


class FlashAttentionKernel:
    """FlashAttention-2's variable-length kernels (package flash_attn >= 2.7) for GPUs."""

    def __init__(self) -> None:
        from flash_attn import flash_attn_interface

        self._interface = flash_attn_interface

    @staticmethod
    def _lengths(bounds: tuple[int, ...], tokens: int, device: torch.device) -> tuple[Tensor, int]:
        bounds = bounds or (0, tokens)
        longest = max(b - a for a, b in itertools.pairwise(bounds))
        return torch.tensor(bounds, dtype=torch.int32, device=device), longest

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, bounds: tuple[int, ...], scale: float
    ) -> tuple[Tensor, Tensor]:
        q_bounds, q_longest = self._lengths(bounds, q.shape[1], q.device)
        k_bounds, k_longest = self._lengths(bounds, k.shape[1], q.device)
        out, lse, *_ = self._interface._flash_attn_varlen_forward(
            *(x.transpose(0, 1).contiguous() for x in (q, k, v)),
            q_bounds, k_bounds, q_longest, k_longest,
            dropout_p=0.0, softmax_scale=scale, causal=bool(bounds),
        )  # fmt: skip
        return out.transpose(0, 1), lse

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        bounds: tuple[int, ...],
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        q_bounds, q_longest = self._lengths(bounds, q.shape[1], q.device)
        k_bounds, k_longest = self._lengths(bounds, k.shape[1], q.device)
        grad, q, k, v, out = (x.transpose(0, 1).contiguous() for x in (grad, q, k, v, out))
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        self._interface._flash_attn_varlen_backward(
            grad, q, k, v, out, lse.contiguous(), dq, dk, dv,
            q_bounds, k_bounds, q_longest, k_longest,
            dropout_p=0.0, softmax_scale=scale, causal=bool(bounds),
            window_size_left=-1, window_size_right=-1, softcap=0.0, alibi_slopes=None,
            deterministic=False,
        )  # fmt: skip
        return dq.transpose(0, 1), dk.transpose(0, 1), dv.transpose(0, 1)


def block_kernel(device: torch.device) -> BlockKernel:
    """The block kernel of a device."""
    return TorchCpuKernel() if device.type == "cpu" else FlashAttentionKernel()


def _pass_on(tensor: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, list[dist.Work]]:
    """Start sending to the next ring index and receiving from the one before."""
    assert group is not None
    size, index = dist.get_world_size(group), dist.get_rank(group)
    received = torch.empty_like(tensor)
    to = dist.get_global_rank(group, (index + 1) % size)
    source = dist.get_global_rank(group, (index - 1) % size)
    works = dist.batch_isend_irecv(
        [
            dist.P2POp(dist.isend, tensor, to, group),
            dist.P2POp(dist.irecv, received, source, group),
        ]
    )
    return received, works


def _wait(works: list[dist.Work]) -> None:
    for work in works:
        work.wait()


class RingAttention(torch.autograd.Function):
    """Zigzag ring attention. q [heads, local tokens, head_dim]; k, v [key-value heads, ...]."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sequence: PackedSequence, scale: float
    ) -> Tensor:
        layout, place = sequence.groups.layout, sequence.groups.place
        kernel = block_kernel(q.device)
        wide = _accumulator_dtype(q.dtype)
        out = torch.zeros(q.shape, dtype=wide, device=q.device)
        lse = torch.full(q.shape[:2], -torch.inf, dtype=wide, device=q.device)
        held = torch.stack([k, v])
        for step in range(layout.ring):
            last = step == layout.ring - 1
            coming, works = (held, []) if last else _pass_on(held, sequence.groups.ring)
            source = (place.ring - step) % layout.ring
            for piece in ring_pieces(
                sequence.length, layout.ring, place.ring, source, sequence.bounds
            ):
                rows = piece.queries
                part, part_lse = kernel.forward(
                    q[:, rows], held[0][:, piece.keys], held[1][:, piece.keys], piece.bounds, scale
                )
                if source == place.ring and piece.bounds:
                    # The diagonal comes first: these rows hold nothing yet.
                    out[:, rows], lse[:, rows] = part, part_lse
                    continue
                # Both exponents are <= 0, so that no merge can overflow.
                merged = torch.logaddexp(lse[:, rows], part_lse.to(wide))
                out[:, rows] *= (lse[:, rows] - merged).exp()[..., None]
                out[:, rows] += part * (part_lse - merged).exp()[..., None]
                lse[:, rows] = merged
            _wait(works)
            held = coming
        result = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, result, lse)
        ctx.sequence, ctx.scale = sequence, scale
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        sequence: PackedSequence = ctx.sequence
        layout, place, group = (
            sequence.groups.layout,
            sequence.groups.place,
            sequence.groups.ring,
        )
        kernel = block_kernel(q.device)
        wide = _accumulator_dtype(q.dtype)
        grad = grads[0].contiguous()
        dq = torch.zeros(q.shape, dtype=wide, device=q.device)
        held = torch.stack([k, v])
        # The gradients of keys and values travel with them and are home after a full turn.
        held_grad = torch.zeros(held.shape, dtype=wide, device=q.device)
        for step in range(layout.ring):
            last = step == layout.ring - 1
            coming, works = (held, []) if last else _pass_on(held, group)
            source = (place.ring - step) % layout.ring
            for piece in ring_pieces(
                sequence.length, layout.ring, place.ring, source, sequence.bounds
            ):
                rows, keys = piece.queries, piece.keys
                part = kernel.backward(
                    grad[:, rows], q[:, rows], held[0][:, keys], held[1][:, keys],
                    out[:, rows], lse[:, rows], piece.bounds, ctx.scale,
                )  # fmt: skip
                dq[:, rows] += part[0]
                held_grad[0][:, keys] += part[1]
                held_grad[1][:, keys] += part[2]
            if layout.ring > 1:
                held_grad, grad_works = _pass_on(held_grad, group)
                _wait(grad_works)
            _wait(works)
            held = coming
        return dq.to(q.dtype), held_grad[0].to(k.dtype), held_grad[1].to(v.dtype), None, None


def _exchange(blocks: Tensor, group: dist.ProcessGroup) -> Tensor:
    received = torch.empty_like(blocks, memory_format=torch.contiguous_format)
    dist.all_to_all_single(received, blocks.contiguous(), group=group)
    return received


class _AllToAll(torch.autograd.Function):
    """Exchange equal blocks along dimension 0; its gradient is the same exchange."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _exchange(blocks, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _exchange(grads[0], ctx.group), None


def _gather_tokens(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[heads, slice of tokens, d] -> [share of heads, tokens, d]."""
    size = dist.get_world_size(group)
    heads, tokens, dim = x.shape
    if heads < size:
        x = x.repeat_interleave(size // heads, 0)
        heads = size
    blocks = _AllToAll.apply(x.reshape(size, heads // size, tokens, dim), group)
    return blocks.transpose(0, 1).reshape(heads // size, size * tokens, dim)


def _gather_heads(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[share of heads, tokens, d] -> [heads, slice of tokens, d]."""
    size = dist.get_world_size(group)
    heads, tokens, dim = x.shape
    blocks = x.reshape(heads, size, tokens // size, dim).transpose(0, 1)
    return _AllToAll.apply(blocks, group).reshape(size * heads, tokens // size, dim)


def packed_attention(
    q: Tensor, k: Tensor, v: Tensor, sequence: PackedSequence, scale: float
) -> Tensor:
    """Causal attention within documents over the whole sequence, on this rank's slice of it.

    q is [heads, local tokens, head_dim], k and v [key-value heads, local tokens, head_dim]; the result
    has q's shape.
    """
    group = sequence.groups.ulysses
    if group is None:
        return RingAttention.apply(q, k, v, sequence, scale)
    q, k, v = (_gather_tokens(x, group) for x in (q, k, v))
    return _gather_heads(RingAttention.apply(q, k, v, sequence, scale), group)


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed_sequence: PackedSequence,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The signature that transformers calls; the batch dimension is 1."""
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask tensor nor dropout")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = packed_attention(query[0], key[0], value[0], packed_sequence, scale)
    return out.transpose(0, 1)[None].contiguous(), None


def _no_mask_tensor(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(ATTENTION_NAME, _attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, _no_mask_tensor)
