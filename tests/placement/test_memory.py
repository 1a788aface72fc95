"""What a device holds, by formula and as measured."""

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from selflong.placement.layout import Parallelism
from selflong.placement.machines import GB
from selflong.placement.memory import (
    Memory,
    Offloaded,
    kept_bytes,
    layer_bytes,
    loss_bytes,
    memory,
    offloaded,
    roomy_loss_rows,
)
from selflong.placement.shapes import KNOWN, Architecture
from selflong.training.loss import chunked_cross_entropy

LLAMA_8B = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
SMALL = Architecture(2, 256, 4, 2, 64, 896, 1000, tied=True)


def config(shape: Architecture) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        vocab_size=shape.vocabulary,
        attn_implementation="sdpa",
    )


def test_what_a_layer_keeps_is_what_autograd_saves() -> None:
    """Bytes of the distinct tensors that one real layer saves for its backward pass, weights left out."""
    layer = LlamaDecoderLayer(config(SMALL), layer_idx=0).to(torch.bfloat16)
    weights = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    tokens = 512
    hidden = torch.randn(1, tokens, SMALL.hidden, dtype=torch.bfloat16, requires_grad=True)
    positions = torch.arange(tokens)[None]
    angles = LlamaRotaryEmbedding(config(SMALL))(hidden, positions)
    skipped = weights | {tensor.untyped_storage().data_ptr() for tensor in (hidden, *angles)}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skipped:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(hidden, position_embeddings=angles, position_ids=positions)
    measured = sum(storage.nbytes() for storage in saved.values())
    assert layer_bytes(SMALL, tokens) == pytest.approx(measured, rel=0.25)


def test_the_loss_holds_what_is_counted() -> None:
    """The peak of what PyTorch allocates for a bf16 head's loss and gradients, chunk by chunk."""
    shape = Architecture(1, 64, 1, 1, 64, 64, 30_000, tied=True)
    tokens, rows = 1024, 35
    hidden = torch.randn(tokens, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
    head = torch.randn(shape.vocabulary, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(shape.vocabulary, (tokens,))
    counted = loss_bytes(shape, tokens, rows)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        chunked_cross_entropy(hidden, head, labels, rows=rows)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    assert max(accumulate(sizes)) == pytest.approx(counted, rel=0.1)


def test_memory_falls_with_ranks_and_offloading() -> None:
    length = 2**20
    totals = [memory(LLAMA_8B, length, Parallelism(n, n)).total for n in (8, 16, 32)]
    assert totals == sorted(totals, reverse=True)
    plain = memory(LLAMA_8B, length, Parallelism(8, 8))
    lean = memory(
        LLAMA_8B, length, Parallelism(8, 8, offload_optimizer=True, offload_activations=True)
    )
    assert lean.total < plain.total
    kept = memory(LLAMA_8B, length, Parallelism(8, 8, activation_checkpointing=False))
    assert kept.layer > 20 * plain.layer
    assert lean.optimizer == 0


def test_zero_stages_share_out_what_they_say() -> None:
    parts = [memory(LLAMA_8B, 4096, Parallelism(8, 1, zero_stage=stage)) for stage in (1, 2, 3)]
    count = LLAMA_8B.parameters
    assert [part.optimizer for part in parts] == [12 * LLAMA_8B.parameters / 8] * 3
    # Sums in float32; under ZeRO 1 the bf16 gradients of all parameters beside them.
    assert [part.gradients for part in parts] == [2 * count + count / 2, count / 2, count / 2]
    assert [part.parameters for part in parts] == [2 * count, 2 * count, count / 4]


def test_what_is_tiled_or_offloaded_or_held_twice_is_counted() -> None:
    def parts(**settings: Any) -> Memory:
        return memory(LLAMA_8B, 2**20, Parallelism(16, 16, **settings))

    plain, weights = parts(), 2 * LLAMA_8B.parameters
    tiled = parts(mlp_tiles=8)
    assert plain.layer - tiled.layer > 0.8 * layer_bytes(LLAMA_8B, 2**16, mlp_tiles=8)
    lean = parts(offload_optimizer=True, offload_parameters=True)
    assert (lean.parameters, lean.optimizer) == (0, 0)
    twice = parts(zero_hpz_partition_size=8)
    assert twice.parameters == pytest.approx(weights / 16 + weights / 8)
    assert parts(loss_rows=4096).loss > plain.loss


def test_what_a_disk_takes_leaves_the_memory_of_the_node() -> None:
    share = LLAMA_8B.parameters / 16

    def left(**settings: Any) -> Offloaded:
        return offloaded(LLAMA_8B, 2**20, Parallelism(16, 16, **settings))

    assert left() == left(offload_nvme=True) == Offloaded(0, 0)
    host = left(offload_optimizer=True)
    # Sums of gradients, gradients as the optimizer takes them, float32 weights and two moments.
    assert host == Offloaded(20 * share, 0)
    disk = left(offload_optimizer=True, offload_nvme=True)
    assert disk.disk == 16 * share
    assert 4 * share < disk.memory < host.memory / 2
    weights = left(offload_optimizer=True, offload_nvme=True, offload_parameters=True)
    assert weights.memory - disk.memory == 2 * share
    activations = left(offload_activations=True)
    assert activations.memory == 30 * kept_bytes(LLAMA_8B, 2**16, Parallelism(16, 16))
    assert left(offload_activations=True, resident_layers=30) == Offloaded(0, 0)


def test_the_loss_takes_what_memory_is_left() -> None:
    rows = [roomy_loss_rows(LLAMA_8B, spare) for spare in (-GB, 0, GB, 2 * GB, 100 * GB)]
    assert rows == sorted(rows) and rows[0] == rows[1] < rows[2] < rows[3] < rows[4]
    held = [loss_bytes(LLAMA_8B, 2**17, count) for count in rows]
    assert held[2] - held[1] <= GB and held[3] - held[1] <= 2 * GB
