"""What a device holds, by formula and as measured."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from benchmarks.memory import compare
from selflong.placement.layout import Parallelism
from selflong.placement.machines import GB
from selflong.placement.memory import (
    SUB_GROUP,
    Memory,
    Offloaded,
    backward_bytes,
    kept_bytes,
    layer_bytes,
    loss_bytes,
    memory,
    offloaded,
    roomy_loss_rows,
)
from selflong.placement.shapes import KNOWN, Architecture
from selflong.training.attention import ATTENTION_NAME, PackedSequence
from selflong.training.layout import single_process
from selflong.training.loss import chunked_cross_entropy
from selflong.training.model import tile_mlps

LLAMA_8B = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
LLAMA_1B = KNOWN["meta-llama/Llama-3.2-1B-Instruct"]
# As the 8B, with as many key-value heads, and with attention wider than the hidden state.
SHAPES = (
    Architecture(2, 256, 4, 1, 64, 896, 1000, tied=True),
    Architecture(2, 256, 4, 4, 64, 512, 1000, tied=True),
    Architecture(2, 128, 4, 2, 64, 256, 1000, tied=True),
)


def config(shape: Architecture) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        vocab_size=shape.vocabulary,
        attn_implementation=ATTENTION_NAME,
    )


def _layer(shape: Architecture, tokens: int, tiles: int = 1) -> tuple[nn.Module, dict[str, Any]]:
    """A real layer as training runs it, whose gradients go at once, and what it is called with."""
    layer = LlamaDecoderLayer(config(shape), layer_idx=0).to(torch.bfloat16)
    for parameter in layer.parameters():
        parameter.register_post_accumulate_grad_hook(lambda it: setattr(it, "grad", None))
    if tiles > 1:
        tile_mlps(nn.ModuleList([layer]), tiles)
    positions = torch.arange(tokens)[None]
    hidden = torch.randn(1, tokens, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
    return layer, {
        "hidden_states": hidden,
        "position_embeddings": LlamaRotaryEmbedding(config(shape))(hidden, positions),
        "position_ids": positions,
        "packed_sequence": PackedSequence((0, tokens), single_process()),
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_a_layer_keeps_is_what_autograd_saves(shape: Architecture) -> None:
    """Bytes of the distinct tensors that one real layer saves for its backward pass, weights left out."""
    tokens = 512
    layer, given = _layer(shape, tokens)
    others = (*layer.parameters(), given["hidden_states"], *given["position_embeddings"])
    skipped = {tensor.untyped_storage().data_ptr() for tensor in others}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skipped:
            saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(**given)
    assert layer_bytes(shape, tokens) == sum(storage.nbytes() for storage in saved.values())


def _allocated(run: Callable[[], None]) -> list[int]:
    """Bytes that torch holds after each of its allocations and releases, above those before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    return list(accumulate(event.nbytes() for event in events if event.name() == "[memory]"))


@pytest.mark.parametrize("tiles", [1, 8])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_that_is_differentiated_holds_no_more_than_is_counted(
    shape: Architecture, tiles: int
) -> None:
    tokens = 1024
    layer, given = _layer(shape, tokens, tiles)
    grad = torch.ones_like(given["hidden_states"])

    def run() -> None:
        torch.autograd.backward(checkpoint(layer, **given, use_reentrant=False), grad)

    layout = Parallelism(1, 1, mlp_tiles=tiles)
    counted = layer_bytes(shape, tokens, tiles) + backward_bytes(shape, tokens, layout)
    # The gradient that comes in is as large as the output, which in a model nobody holds any more.
    held = max(_allocated(run))
    largest = max(parameter.nbytes for parameter in layer.parameters())
    assert held - largest <= counted <= 1.2 * held


def test_ranks_hold_what_is_planned() -> None:
    """What two ranks of a ring allocate in a step, part by part."""
    shape = Architecture(3, 128, 4, 2, 32, 512, 4096, tied=True)
    parts = compare(shape, 4096, 256)
    for name in ("parameters", "gradients", "optimizer", "gathered", "step"):
        assert parts[name][0] == pytest.approx(parts[name][1], rel=0.01), name
    for name in ("checkpoints", "layer", "loss"):
        planned, measured = parts[name]
        assert measured <= planned <= 1.1 * measured, name


def test_the_loss_holds_what_is_counted() -> None:
    """The peak of what PyTorch allocates for a bf16 head's loss and gradients, chunk by chunk."""
    shape = Architecture(1, 64, 1, 1, 64, 64, 30_000, tied=True)
    tokens, rows = 1024, 35
    hidden = torch.randn(tokens, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
    head = torch.randn(shape.vocabulary, shape.hidden, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.randint(shape.vocabulary, (tokens,))
    counted = loss_bytes(shape, tokens, rows)
    sizes = _allocated(lambda: chunked_cross_entropy(hidden, head, labels, rows=rows).detach_())
    assert max(sizes) <= counted <= 1.1 * max(sizes)


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
    assert kept.checkpoints > 10 * plain.checkpoints and kept.layer < plain.layer
    assert lean.optimizer == 0


def test_the_peak_is_that_of_whatever_is_computed() -> None:
    long, short = (memory(LLAMA_1B, length, Parallelism(1, 1)) for length in (2**17, 2**9))
    assert long.total == long.held + max(long.layer, long.loss)
    # Gradients are there twice as the optimizer steps, when no activation is any more.
    assert short.total == short.held - short.checkpoints + 4 * SUB_GROUP


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
