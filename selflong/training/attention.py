"""Exact sequence-parallel attention over packed documents: zigzag ring, Ulysses, and both together.

Registered with transformers under ``ATTENTION_NAME``; a model takes it by
``attn_implementation=ATTENTION_NAME`` and gets the documents through the keyword ``packed_sequence`` of
its forward call. Attention is causal and never crosses a document.

Ring attention (Liu et al. 2023, https://arxiv.org/abs/2310.01889) merges blocks by their log-sum-exp;
Ulysses (Jacobs et al. 2023, https://arxiv.org/abs/2309.14509) trades sequence slices for heads. Under
both, Ulysses gathers what its ring index holds and the ring runs on a share of the heads.
"""

import itertools
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from selflong.job import UserError
from selflong.placement.ring import RingSplit, split
from selflong.training.kernels import (
    Attended,
    Block,
    Gradients,
    Output,
    Rule,
    accumulator_dtype,
    block_kernel,
)
from selflong.training.layout import Groups

ATTENTION_NAME = "packed_sequence_parallel"

# What models hand to their attention beside what it computes with: positions are in the queries and keys
# already, and the rest speaks of caches, of masks that are not made here, or of what is given back.
_WITHOUT_EFFECT = frozenset(
    {
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "past_key_values",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)


@dataclass(frozen=True)
class Piece:
    """One rectangle of attention: rows of the local queries, of the keys at hand, and what is inside."""

    queries: slice
    keys: slice
    block: Block

    @property
    def diagonal(self) -> bool:
        """Whether queries and keys are the same tokens."""
        return self.block.causal


class KeptAttention:
    """Attention's output and log-sum-exp of each layer, from the forward pass until the backward pass.

    Activation checkpointing computes a layer again; attention, by far the dearest part of a long sequence,
    is then taken from here. ``offload`` holds it in pinned host memory meanwhile, but for the layers
    ``resident``.
    """

    def __init__(self, offload: bool = False, resident: Container[int] = ()) -> None:
        self._offload = offload
        self._resident = resident
        self._held: dict[int, list[tuple[Tensor, Tensor, torch.device]]] = {}

    def __call__(self, layer: int, compute: Callable[[], Output]) -> Output:
        """What a layer's attention gives: computed in the forward pass, taken in the backward pass."""
        if _in_backward():
            # The last first: modules that several layers share are computed again in reverse.
            out, lse, device = self._held[layer].pop()
            return out.to(device, non_blocking=True), lse.to(device, non_blocking=True)
        out, lse = compute()
        held = out, lse
        if self._offload and layer not in self._resident:
            held = self._on_host(out), self._on_host(lse)
        self._held.setdefault(layer, []).append((*held, out.device))
        return out, lse

    @staticmethod
    def _on_host(value: Tensor) -> Tensor:
        held = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
        return held.copy_(value, non_blocking=True)


def _in_backward() -> bool:
    """Whether autograd is computing gradients in this thread: what runs then is computed again."""
    return torch._C._current_graph_task_id() != -1


@dataclass(frozen=True)
class PackedSequence:
    """What attention must know about the sequence that the ranks share.

    ``bounds`` are the cumulative token bounds of its documents, from 0, without the padding of the ranks'
    shares. One object serves a micro-batch: what its layers share is made once.
    ``kept``, where layers are computed again, saves them attention.
    """

    bounds: tuple[int, ...]
    groups: Groups
    kept: KeptAttention | None = field(default=None, compare=False)
    _turns: dict[int | None, list[tuple[int, list[Piece]]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def split(self) -> RingSplit:
        """Where the tokens lie."""
        return split(self.bounds, self.groups.layout.ring)

    def turns(self, window: int | None) -> list[tuple[int, list[Piece]]]:
        """The ring steps that any rank needs, each with this rank's pieces, diagonal ones first.

        At step s a rank holds the keys of the rank s places before it. All ranks know all bounds, so that
        they leave out the same steps.
        """
        if window not in self._turns:
            self._turns[window] = list(self._needed(window))
        return self._turns[window]

    def whole(self, window: int | None) -> Block:
        """All documents as one block: what a rank holds that shares no ring."""
        [(_, [piece])] = self.turns(window)
        return piece.block

    def _needed(self, window: int | None) -> Iterator[tuple[int, list[Piece]]]:
        ring, own = self.split.ring, self.groups.place.ring
        padded = self.groups.layout.padded(self.split)
        for step in range(ring):
            if step == 0 or _any_pieces(self.split, step, window):
                yield step, ring_pieces(self.split, padded, own, (own - step) % ring, window)


def ring_pieces(
    split: RingSplit, padded: int, query_index: int, key_index: int, window: int | None = None
) -> list[Piece]:
    """All pieces between the ``padded`` queries of one ring index and the keys of another.

    Where both are the same, the first is the diagonal: every document, or part of one, with itself.
    """
    pieces: list[Piece] = []
    if query_index == key_index:
        inside = split.bounds(query_index)
        if inside[-1] < padded:
            inside.append(padded)
        every = slice(0, padded)
        reach = None if window is None else window - 1
        pieces.append(Piece(every, every, Block(tuple(inside), tuple(inside), True, reach)))
    for part, earlier in split.crossings(query_index, key_index):
        queries = split.bounds_of(query_index, part)
        keys = split.bounds_of(key_index, earlier)
        if window is not None:
            pieces += _windowed(split, part, earlier, queries, keys, window)
        elif len(queries) > 1:
            pieces.append(
                Piece(
                    slice(queries[0], queries[-1]),
                    slice(keys[0], keys[-1]),
                    Block(_from_zero(queries), _from_zero(keys), False),
                )
            )
    return pieces


def _from_zero(bounds: list[int]) -> tuple[int, ...]:
    return tuple(bound - bounds[0] for bound in bounds)


def _windowed(
    split: RingSplit, part: int, earlier: int, queries: list[int], keys: list[int], window: int
) -> Iterator[Piece]:
    """A piece for each document whose window reaches from one part back to an earlier one.

    How far the parts are from each other is each document's own. Each piece is a rectangle of which the
    window leaves the corner of late keys and early queries.
    """
    for document in _reached(split, part, earlier, window).nonzero()[0].tolist():
        first, last = int(split.starts[part, document]), int(split.stops[part, document])
        begin, end = int(split.starts[earlier, document]), int(split.stops[earlier, document])
        start, stop = max(begin, first - window + 1), min(last, end + window - 1)
        at, key_at = queries[document], keys[document]
        yield Piece(
            slice(at, at + stop - first),
            slice(key_at + start - begin, key_at + end - begin),
            Block((0, stop - first), (0, end - start), False, window - 1 - (stop - end)),
        )


def _reached(split: RingSplit, part: int, earlier: int, window: int | None) -> NDArray[np.bool_]:
    """Of which cut documents a part's first query sees the last key of an earlier part."""
    first, end = split.starts[part], split.stops[earlier]
    return np.ones(len(first), dtype=np.bool_) if window is None else first - window + 1 < end


def _any_pieces(split: RingSplit, step: int, window: int | None) -> bool:
    """Whether any rank needs the keys that come at a step beyond the first."""
    return any(
        _reached(split, part, earlier, window).any()
        for index in range(split.ring)
        for part, earlier in split.crossings(index, (index - step) % split.ring)
    )


def _pass_on(
    tensor: Tensor, group: dist.ProcessGroup | None, places: int
) -> tuple[Tensor, list[dist.Work]]:
    """Start sending to the ring index so many places on, and receiving from the one as far before."""
    assert group is not None
    size, index = dist.get_world_size(group), dist.get_rank(group)
    received = torch.empty_like(tensor)
    to = dist.get_global_rank(group, (index + places) % size)
    source = dist.get_global_rank(group, (index - places) % size)
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
    """Zigzag ring attention. q [heads, local tokens, head_dim]; k, v [key-value heads, ...].

    ``sinks`` ([heads], or None) are scores of a key without a value, which every query sees; ``layer`` names
    the layer to what the sequence keeps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sinks: Tensor | None,
        sequence: PackedSequence,
        rule: Rule,
        layer: int,
    ) -> Tensor:
        def compute() -> Output:
            return _attend(q, k, v, sinks, sequence, rule)

        result, lse = compute() if sequence.kept is None else sequence.kept(layer, compute)
        ctx.save_for_backward(q, k, v, sinks, result, lse)
        ctx.sequence, ctx.rule = sequence, rule
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks, out, lse = ctx.saved_tensors
        attended = Attended(q, k, v, out, lse)
        grad = grads[0]
        sinks_grad = None
        if sinks is not None:
            moved = (grad.to(lse.dtype) * out.to(lse.dtype)).sum(-1)
            shares = (sinks.to(lse.dtype)[:, None] - lse).exp()
            sinks_grad = -(shares * moved).sum(1).to(sinks.dtype)
        dq, dk, dv = _ring_backward(grad, attended, ctx.sequence, ctx.rule)
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), sinks_grad, None, None, None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, sequence: PackedSequence, rule: Rule
) -> Output:
    """Output in the dtype of the queries, and its log-sum-exp, wide, with the sinks' share."""
    out, lse = _ring_forward(q, k, v, sequence, rule)
    if sinks is not None:
        with_sink = torch.logaddexp(lse, sinks.to(lse.dtype)[:, None])
        out = out * (lse - with_sink).exp()[..., None]
        lse = with_sink
    return out.to(q.dtype), lse


def _shifts(
    k: Tensor, v: Tensor, sequence: PackedSequence, window: int | None
) -> Iterator[tuple[list[Piece], Tensor, int]]:
    """Each ring step's pieces, its keys and values [2, ...], and how many places on these go after it.

    The next ones come meanwhile; after the last step, the places lead home.
    """
    held = torch.stack([k, v])
    turns = sequence.turns(window)
    for (step, pieces), following in itertools.zip_longest(turns, turns[1:]):
        coming: Tensor = held
        works: list[dist.Work] = []
        places = (sequence.split.ring if following is None else following[0]) - step
        if following is not None:
            coming, works = _pass_on(held, sequence.groups.ring, places)
        yield pieces, held, places
        _wait(works)
        held = coming


def _ring_forward(q: Tensor, k: Tensor, v: Tensor, sequence: PackedSequence, rule: Rule) -> Output:
    """Output and log-sum-exp of this rank's queries, both wide where blocks are merged."""
    kernel = block_kernel(q.device, q.dtype)
    wide = accumulator_dtype(q.dtype)
    if sequence.groups.layout.ring == 1:
        return kernel.forward(q, k, v, sequence.whole(rule.window), rule)
    out = torch.zeros(q.shape, dtype=wide, device=q.device)
    lse = torch.full(q.shape[:2], -torch.inf, dtype=wide, device=q.device)
    for pieces, held, _ in _shifts(k, v, sequence, rule.window):
        for piece in pieces:
            rows = piece.queries
            part, part_lse = kernel.forward(
                q[:, rows], held[0][:, piece.keys], held[1][:, piece.keys], piece.block, rule
            )
            if piece.diagonal:
                # The diagonal comes first: these rows hold nothing yet.
                out[:, rows], lse[:, rows] = part, part_lse
                continue
            # Both exponents are <= 0, so that no merge can overflow.
            merged = torch.logaddexp(lse[:, rows], part_lse.to(wide))
            out[:, rows] *= (lse[:, rows] - merged).exp()[..., None]
            out[:, rows] += part * (part_lse - merged).exp()[..., None]
            lse[:, rows] = merged
    return out, lse


def _ring_backward(
    grad: Tensor, attended: Attended, sequence: PackedSequence, rule: Rule
) -> Gradients:
    """Gradients of q, k, v, wide where those of blocks are added up."""
    q, k, v, out, lse = attended
    groups, ring = sequence.groups, sequence.groups.layout.ring
    kernel = block_kernel(q.device, q.dtype)
    if ring == 1:
        return kernel.backward(grad, attended, sequence.whole(rule.window), rule)
    wide = accumulator_dtype(q.dtype)
    dq = torch.zeros(q.shape, dtype=wide, device=q.device)
    # The gradients of keys and values travel behind them, on a group of their own, and are home after a
    # full turn: those of a step are computed while those of the steps before are on their way.
    travelling: Tensor | None = None
    grad_works: list[dist.Work] = []
    for pieces, held, places in _shifts(k, v, sequence, rule.window):
        held_grad = torch.zeros(held.shape, dtype=wide, device=q.device)
        for piece in pieces:
            rows, keys = piece.queries, piece.keys
            seen = Attended(
                q[:, rows], held[0][:, keys], held[1][:, keys], out[:, rows], lse[:, rows]
            )
            part = kernel.backward(grad[:, rows], seen, piece.block, rule)
            dq[:, rows] += part[0]
            held_grad[0][:, keys] += part[1]
            held_grad[1][:, keys] += part[2]
        _wait(grad_works)
        if travelling is not None:
            held_grad += travelling
        if places % ring:
            travelling, grad_works = _pass_on(held_grad, groups.ring_gradients, places)
        else:
            travelling, grad_works = held_grad, []
    _wait(grad_works)
    assert travelling is not None
    return dq, travelling[0], travelling[1]


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


def _own_heads(sinks: Tensor | None, group: dist.ProcessGroup) -> Tensor | None:
    """The share of the heads that this Ulysses rank computes."""
    if sinks is None:
        return None
    return sinks.chunk(dist.get_world_size(group))[dist.get_rank(group)]


def packed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sequence: PackedSequence,
    rule: Rule,
    sinks: Tensor | None = None,
    layer: int = 0,
) -> Tensor:
    """Causal attention within documents over the whole sequence, on this rank's slice of it.

    q is [heads, local tokens, head_dim], k and v [key-value heads, local tokens, head_dim]; the result
    has q's shape, but for v's head_dim. ``sinks`` is [heads]; ``layer`` names the layer to what the sequence
    keeps.
    """
    width = v.shape[-1]
    if width < q.shape[-1]:
        v = F.pad(v, (0, q.shape[-1] - width))
    group = sequence.groups.ulysses
    if group is None:
        return RingAttention.apply(q, k, v, sinks, sequence, rule, layer)[..., :width]
    q, k, v = (_gather_tokens(x, group) for x in (q, k, v))
    out = RingAttention.apply(q, k, v, _own_heads(sinks, group), sequence, rule, layer)
    return _gather_heads(out, group)[..., :width]


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    packed_sequence: PackedSequence,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The signature that transformers calls; the batch dimension is 1.

    Raises UserError where the model asks for what is not computed here: it would be trained otherwise than
    it is served.
    """
    _refuse(module, attention_mask, dropout, kwargs)
    rule = Rule(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window or None,
        softcap=softcap or 0.0,
    )
    out = packed_attention(query[0], key[0], value[0], packed_sequence, rule, s_aux, id(module))
    return out.transpose(0, 1)[None].contiguous(), None


def _refuse(
    module: nn.Module, attention_mask: Tensor | None, dropout: float, kwargs: dict[str, Any]
) -> None:
    asked = [name for name, value in kwargs.items() if value is not None]
    unknown = sorted(set(asked) - _WITHOUT_EFFECT)
    if attention_mask is not None:
        unknown.append("attention_mask")
    if dropout:
        unknown.append("dropout")
    if not kwargs.get("is_causal", getattr(module, "is_causal", True)):
        unknown.append("is_causal=False")
    if unknown:
        raise UserError(
            f"{type(module).__name__} asks attention for {', '.join(unknown)}, which training does not "
            "compute: choose another model"
        )


def _no_mask_tensor(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(ATTENTION_NAME, attention_forward)
AttentionMaskInterface.register(ATTENTION_NAME, _no_mask_tensor)
