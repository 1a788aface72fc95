"""The rope base of each stage, and angles as precise as what serves the model computes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from selflong.job import UserError
from selflong.training.checkpoint import adjust_rope_only, stage_config
from selflong.training.layout import Layout
from selflong.training.ranks import on_ranks
from selflong.training.rope import (
    check_rotary_precision,
    rope_base,
    rotary_embeddings,
    rotary_size,
    set_rope,
    stage_rope_base,
)
from tests.training.jobs import make_job, write_model, write_packed

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


def config(**settings: Any) -> LlamaConfig:
    given = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 50}
    return LlamaConfig(**(given | {"intermediate_size": 64} | settings))


def test_base_rules() -> None:
    assert stage_rope_base(123.0, 5e5, 8, 128) == 123.0
    assert stage_rope_base("keep", 5e5, 8, 128) == 5e5
    assert stage_rope_base("x4_per_doubling", 5e5, 8, 128) == pytest.approx(64 * 5e5)
    assert stage_rope_base("x4_per_doubling", 5e5, 0.5, 128) == 5e5
    # One doubling at head size 128: x2.02, and the lowest frequency falls by exactly two.
    ntk = stage_rope_base("ntk", 5e5, 2, 128)
    assert ntk / 5e5 == pytest.approx(2.02, abs=0.005)
    assert (ntk / 5e5) ** (126 / 128) == pytest.approx(2)


def test_only_rope_parameters_reach_the_model() -> None:
    changed = config()
    set_rope(changed, 7e6, 1 << 20, "keep", 2048)
    frequencies = rotary_embeddings(LlamaForCausalLM(changed))[0].get_buffer("inv_freq")
    expected = 7e6 ** -(torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    torch.testing.assert_close(frequencies.double(), expected, rtol=1e-6, atol=0)
    assert changed.max_position_embeddings == 1 << 20


def test_llama3_scaling_is_kept_or_dropped() -> None:
    kept = config(rope_parameters=dict(LLAMA3), max_position_embeddings=131_072)
    dropped = config(rope_parameters=dict(LLAMA3), max_position_embeddings=131_072)
    set_rope(kept, 3.2e7, 262_144, "keep", 131_072)
    set_rope(dropped, 3.2e7, 262_144, "drop", 131_072)
    assert kept.rope_parameters == LLAMA3 | {"rope_theta": 3.2e7}
    assert dropped.rope_parameters == {"rope_type": "default", "rope_theta": 3.2e7}
    lowest = [LlamaRotaryEmbedding(c).get_buffer("inv_freq")[-1] for c in (kept, dropped)]
    assert float(lowest[1] / lowest[0]) == pytest.approx(8)  # the division stacks on the new base


def test_a_dropped_scaling_leaves_the_rest_of_the_block() -> None:
    dropped = config(rope_parameters=LLAMA3 | {"partial_rotary_factor": 0.5})
    set_rope(dropped, 3.2e7, 262_144, "drop", 131_072)
    assert dropped.rope_parameters == {
        "rope_type": "default", "rope_theta": 3.2e7, "partial_rotary_factor": 0.5,
    }  # fmt: skip
    assert rotary_size(dropped) == 8


@pytest.mark.parametrize("kind", ["yarn", "linear", "dynamic"])
def test_scaling_with_a_length_of_its_own_is_not_kept_beyond_it(kind: str) -> None:
    block = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0}
    if kind == "yarn":
        block["original_max_position_embeddings"] = 512
    with pytest.raises(UserError, match=f"{kind}.*from 2048 to 4096 tokens; set yarn"):
        set_rope(config(rope_parameters=dict(block)), 1e6, 4096, "keep", 2048)
    if kind != "dynamic":  # a further stage of the same length
        kept = config(rope_parameters=dict(block))
        set_rope(kept, 1e6, 2048, "keep", 2048)
        assert kept.rope_parameters == block | {"rope_theta": 1e6}


def test_linear_scaling_divides_every_frequency_by_the_growth() -> None:
    changed = config()
    set_rope(changed, 1e4, 8192, "linear", 2048)
    before = LlamaRotaryEmbedding(config()).get_buffer("inv_freq")
    torch.testing.assert_close(
        LlamaRotaryEmbedding(changed).get_buffer("inv_freq"), before / 4, rtol=1e-6, atol=0
    )
    set_rope(changed, 1e4, 16_384, "linear", 8192)
    assert changed.rope_parameters["factor"] == 8.0
    set_rope(changed, 1e4, 4096, "linear", 16_384)  # a shorter stage shrinks nothing
    assert changed.rope_parameters["factor"] == 8.0


def test_yarn_counts_from_the_length_before_any_extension() -> None:
    changed = config(rope_parameters=dict(LLAMA3))
    set_rope(changed, 1e4, 8192, "yarn", 2048)
    expected = {
        "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
        "original_max_position_embeddings": 2048,
    }  # fmt: skip
    assert changed.rope_parameters == expected
    set_rope(changed, 1e4, 32_768, "yarn", 8192)
    assert changed.rope_parameters == expected | {"factor": 16.0}
    rotary = LlamaRotaryEmbedding(changed)
    # arXiv 2309.00071, equation 22: the attention's temperature, on queries and on keys.
    assert rotary.attention_scaling == pytest.approx(0.1 * math.log(16) + 1)
    before = LlamaRotaryEmbedding(config()).get_buffer("inv_freq")
    frequencies = rotary.get_buffer("inv_freq")
    assert frequencies[0] == before[0]  # turns often within 2048 tokens
    assert frequencies[-1] == pytest.approx(before[-1] / 16)


def test_layers_with_a_window_keep_their_base() -> None:
    windowed = Gemma3TextConfig()
    local = dict(windowed.rope_parameters["sliding_attention"])
    set_rope(windowed, 8e6, 1 << 20, "keep", 131_072)
    assert rope_base(windowed) == 8e6
    assert windowed.rope_parameters["sliding_attention"] == local


def exact_angles(config: PreTrainedConfig, positions: Tensor) -> Tensor:
    """Angles [positions, rotary size / 2] in float64 of an unscaled rope."""
    dim = rotary_size(config)
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    return positions.double()[:, None] * rope_base(config) ** -exponents


@pytest.mark.parametrize("base", [5e5, 8e6, 1.28e8, 2.8e9])
@pytest.mark.parametrize("head", [64, 128])
def test_angles_err_by_no_more_than_float32_must(base: float, head: int) -> None:
    """cos and sin up to 4M: within position x 2^-23 of float64; bfloat16 frequencies are far off."""
    served = config(head_dim=head, rope_parameters={"rope_type": "default", "rope_theta": base})
    positions = torch.cat([torch.arange(0, 1 << 22, 1009), torch.arange((1 << 20) - 64, 1 << 20)])
    rotary = LlamaRotaryEmbedding(served)
    exact = exact_angles(served, positions)
    bound = positions.double()[:, None] * 2.0**-23
    for function, given in zip(
        (torch.cos, torch.sin), rotary(torch.zeros(1), positions[None]), strict=True
    ):
        error = (given[0, :, : head // 2].double() - function(exact)).abs()
        # One rounding of the result itself, besides the angle's.
        assert (error <= bound + 2.0**-23).all()
    ruined = LlamaRotaryEmbedding(served).bfloat16()
    cosine, _ = ruined(torch.zeros(1), positions[None])
    error = (cosine[0, :, : head // 2].double() - exact.cos()).abs()
    assert not (error <= bound + 2.0**-23).all()
    assert error.max() > 1.0


def test_a_model_cast_as_a_whole_is_caught() -> None:
    served = config()
    model = LlamaForCausalLM(served)
    check_rotary_precision(model, served)
    with pytest.raises(RuntimeError, match="rotary frequencies"):
        check_rotary_precision(model.bfloat16(), served)


def _angles_inside_an_engine(job: Any) -> torch.Tensor:
    from selflong.training.stage import StageRun, start_process_group

    run = StageRun(job, start_process_group("cpu"))
    run._step()
    (rotary,) = rotary_embeddings(run.engine.module)
    positions = torch.tensor([[0, 1, 1000, (1 << 20) - 1, (1 << 22) - 1]])
    return torch.stack(rotary(torch.zeros(1), positions))


def test_angles_survive_bfloat16_zero_3_and_reload(tmp_path: Path) -> None:
    write_model(tmp_path / "initial")
    write_packed(tmp_path / "packed", 64, 6)
    job = make_job(tmp_path, 2, Layout(ring=2), precision="bfloat16")
    adjust_rope_only(
        initial=tmp_path / "initial", output=tmp_path / "reloaded", rule=40_000.0, length=64
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "reloaded", dtype=torch.bfloat16)
    (rotary,) = rotary_embeddings(model)
    positions = torch.tensor([[0, 1, 1000, (1 << 20) - 1, (1 << 22) - 1]])
    served = torch.stack(rotary(torch.zeros(1), positions))
    for angles in on_ranks(2, _angles_inside_an_engine, job):
        assert torch.equal(angles, served)


def test_rope_only_changes_nothing_but_the_base(tmp_path: Path) -> None:
    initial = write_model(tmp_path / "initial")
    adjust_rope_only(
        initial=initial, output=tmp_path / "adjusted", rule="x4_per_doubling", length=512
    )
    before = AutoModelForCausalLM.from_pretrained(initial)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "adjusted")
    assert rope_base(after.config) == pytest.approx(160_000.0)  # 128 to 512: two doublings
    assert after.config.max_position_embeddings == 512
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name])
    # A further stage counts its doublings from this one's length.
    following = stage_config(tmp_path / "adjusted", "x4_per_doubling", 1024, "keep")
    assert rope_base(following) == pytest.approx(640_000.0)
