"""Sequence-parallel attention is plain attention: every pair once, the same numbers, no leak."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.attention import (
    DOCUMENTS,
    LAYOUTS,
    layout_errors,
    local_batch,
    model,
    tokens_and_labels,
)
from selflong.placement.ring import split
from selflong.training.attention import (
    ATTENTION_NAME,
    KeptAttention,
    PackedSequence,
    Piece,
    packed_attention,
    ring_pieces,
)
from selflong.training.kernels import Rule, TorchCpuKernel
from selflong.training.layout import (
    Groups,
    Layout,
    Place,
    local_tokens,
    make_groups,
    single_process,
)
from selflong.training.model import LossModel, last_layers
from selflong.training.ranks import on_ranks


@st.composite
def packed_lengths(draw: st.DrawFn) -> tuple[int, tuple[int, ...], int | None]:
    """Ring size, document bounds, window."""
    ring = draw(st.sampled_from([1, 2, 3, 4]))
    length = draw(st.integers(1, 64))
    cuts = draw(st.sets(st.integers(1, length - 1), max_size=12)) if length > 1 else set()
    window = draw(st.none() | st.integers(1, length + 1))
    return ring, (0, *sorted(cuts), length), window


def _seen(piece: Piece) -> torch.Tensor:
    """Which query of a piece sees which key, as flash-attention defines causality and windows."""
    rows, columns = piece.block.query_bounds[-1], piece.block.key_bounds[-1]
    seen = torch.zeros(rows, columns, dtype=torch.int64)
    for queries, keys in piece.block.documents():
        for row in range(queries.start, queries.stop):
            own = keys.stop - queries.stop + row
            low = keys.start
            if piece.block.reach is not None:
                assert piece.block.reach >= 0  # flash-attention takes a negative one for no window
                low = max(low, own - piece.block.reach)
            high = min(keys.stop, own + 1) if piece.block.causal else keys.stop
            seen[row, low:high] = 1
    return seen


@given(packed_lengths(), st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_pieces_cover_each_pair_of_a_document_exactly_once(
    packed: tuple[int, tuple[int, ...], int | None], ulysses: int
) -> None:
    ring, bounds, window = packed
    layout, shared, length = Layout(ring, ulysses), split(bounds, ring), bounds[-1]
    padded = layout.padded(shared)
    # Padding is one more document of its ring index, which sees itself alone.
    held = [
        np.concatenate([local_tokens(shared, layout, Place(0, index, u)) for u in range(ulysses)])
        for index in range(ring)
    ]
    assert sorted(t for tokens in held for t in tokens if t < length) == list(range(length))
    seen = torch.zeros(length + padded, length + padded, dtype=torch.int64)
    for query_index, key_index in itertools.product(range(ring), repeat=2):
        rows, columns = torch.from_numpy(held[query_index]), torch.from_numpy(held[key_index])
        for piece in ring_pieces(shared, padded, query_index, key_index, window):
            seen[rows[piece.queries][:, None], columns[piece.keys][None]] += _seen(piece)
    seen = seen[:length, :length]
    document = torch.bucketize(torch.arange(length), torch.tensor(bounds[1:]), right=True)
    expected = (document[:, None] == document[None]).tril()
    if window is not None:
        expected = expected.triu(1 - window)
    assert torch.equal(seen, expected.long())


@given(packed_lengths())
@settings(max_examples=100, deadline=None)
def test_steps_that_no_rank_needs_are_left_out_by_all(
    packed: tuple[int, tuple[int, ...], int | None],
) -> None:
    ring, bounds, window = packed
    sequences = [
        PackedSequence(bounds, Groups(Layout(ring), Place(0, index, 0), None, None, None))
        for index in range(ring)
    ]
    turns = [dict(sequence.turns(window)) for sequence in sequences]
    assert len({tuple(of_one) for of_one in turns}) == 1
    for step in list(turns[0])[1:]:
        assert any(of_one[step] for of_one in turns)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_loss_and_gradients_are_those_of_plain_attention(layout: Layout) -> None:
    for errors in on_ranks(layout.world, layout_errors, layout, torch.float64):
        assert errors["loss"] < 1e-10
        assert errors["gradient"] < 1e-8
    for errors in on_ranks(layout.world, layout_errors, layout, torch.float32):
        assert errors["loss"] < 1e-5
        assert errors["gradient"] < 1e-5


def _hidden_states_with_another_token(layout: Layout, position: int) -> list[torch.Tensor]:
    """Local hidden states, and those with one token of the sequence changed; and token documents."""
    groups = make_groups(layout)
    llama = model(torch.float32, ATTENTION_NAME, False).model
    tokens, labels = tokens_and_labels(DOCUMENTS[2])
    states = []
    for _ in range(2):
        batch, sequence = local_batch(DOCUMENTS[2], groups, tokens, labels)
        with torch.no_grad():
            hidden = llama(
                input_ids=batch.input_ids[None],
                position_ids=batch.positions[None],
                packed_sequence=sequence,
                use_cache=False,
            ).last_hidden_state[0]
        states.append(hidden)
        tokens[position] = (tokens[position] + 1) % 97
    ids = torch.arange(len(tokens))
    places, _ = local_batch(DOCUMENTS[2], groups, ids, labels)
    return [*states, places.input_ids]


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=str)
def test_a_changed_token_moves_no_other_document(layout: Layout) -> None:
    starts = [0, *itertools.accumulate(DOCUMENTS[2])]
    document = 2
    position = starts[document] + 4
    moved = set()
    for before, after, places in on_ranks(
        layout.world, _hidden_states_with_another_token, layout, position
    ):
        changed = (before != after).any(-1)
        moved |= set(places[changed].tolist())
    assert moved == set(range(position, starts[document + 1]))


def _kept_and_not(layout: Layout) -> list[tuple[int, float, dict[str, torch.Tensor]]]:
    """Calls of the kernel's forward pass, loss and gradients: layers computed again without attention's
    output at hand, with it, and with a copy of it."""
    groups = make_groups(layout)
    results = []
    llama = model(torch.float32, ATTENTION_NAME, False)
    resident = {id(part) for layer in last_layers(llama, 1) for part in layer.modules()}
    for kept in (
        None, KeptAttention(), KeptAttention(offload=True), KeptAttention(True, resident),
    ):  # fmt: skip
        llama.zero_grad()
        llama.train().activation_checkpointing_enable({"use_reentrant": False})
        counted, calls = TorchCpuKernel.forward, 0

        def counting(*args: Any, forward: Any = counted) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal calls
            calls += 1
            return forward(*args)

        batch, sequence = local_batch(DOCUMENTS[2], groups, *tokens_and_labels(DOCUMENTS[2]))
        whole = LossModel(llama)
        TorchCpuKernel.forward = counting  # type: ignore[assignment]
        loss = whole(batch, replace(sequence, kept=kept), torch.device("cpu"))
        loss.backward()
        TorchCpuKernel.forward = counted  # type: ignore[method-assign]
        gradients = {n: p.grad for n, p in whole.named_parameters() if p.grad is not None}
        results.append((calls, float(loss.detach()), gradients))
    return results


@pytest.mark.parametrize("layout", [Layout(), Layout(ring=2), Layout(ulysses=2)], ids=str)
def test_what_a_layer_keeps_of_its_attention_is_not_computed_again(layout: Layout) -> None:
    for again, *others in on_ranks(layout.world, _kept_and_not, layout):
        for other in others:
            assert again[0] == 2 * other[0] > 0
            assert other[1] == again[1] and other[2].keys() == again[2].keys()
            for name, gradient in other[2].items():
                assert torch.equal(gradient, again[2][name]), name


def test_extreme_logits_stay_finite_in_low_precision() -> None:
    groups = single_process()
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v = (torch.randn(h, 32, 8).mul(1e3).to(dtype).requires_grad_() for h in (4, 2, 2))
        out = packed_attention(q, k, v, PackedSequence((0, 5, 32), groups), Rule(1.0))
        out.float().sum().backward()
        for tensor in (out, q.grad, k.grad, v.grad):
            assert tensor is not None and torch.isfinite(tensor).all()
