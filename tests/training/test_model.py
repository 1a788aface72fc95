"""MLPs that compute their tokens in parts give what they give at once; what layers keep and compute again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedConfig, modeling_utils

from benchmarks.families import settings
from selflong.estimate.training import computed_again
from selflong.job import UserError
from selflong.training.attention import ATTENTION_NAME, PackedSequence
from selflong.training.families import sample, tiny, twin
from selflong.training.layout import single_process
from selflong.training.loss import IGNORE
from selflong.training.model import LossModel, compute_again, last_layers, tile_mlps


def _trained(config: PreTrainedConfig, tiles: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    given, model = sample(), twin(config, ATTENTION_NAME)
    nn.Module.to(model, torch.float64)
    if tiles > 1:
        tile_mlps(model, tiles)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    loss = LossModel(model).loss(
        given.tokens, given.positions, given.labels, PackedSequence(given.bounds, single_process())
    )
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["llama", "phi3", "gemma2", "olmo2"])
def test_tiles_change_neither_loss_nor_gradients(family: str) -> None:
    config = tiny(settings(family))
    loss, gradients = _trained(config, 1)
    for tiles in (2, 5):
        in_tiles = _trained(config, tiles)
        torch.testing.assert_close(in_tiles[0], loss, rtol=1e-12, atol=0)
        assert in_tiles[1].keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(in_tiles[1][name], gradient, rtol=1e-9, atol=1e-9)


def test_layers_without_an_mlp_are_one_sentence() -> None:
    with pytest.raises(UserError, match="no layer of Linear has a module named mlp"):
        tile_mlps(nn.Linear(2, 2), 4)


@pytest.mark.parametrize("resident", [0, 1, 5])
def test_layers_beside_the_last_ones_are_offloaded(
    resident: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []

    @contextmanager
    def save_on_cpu(pin_memory: bool, device_type: str) -> Iterator[None]:
        held.append(device_type)
        yield

    monkeypatch.setattr(modeling_utils, "save_on_cpu", save_on_cpu)
    given, model = sample(), twin(tiny(settings("llama")), ATTENTION_NAME)
    layers = len(last_layers(model, 1000))
    compute_again(model.train(), offload=True, resident_layers=resident)
    loss = LossModel(model).loss(
        given.tokens, given.positions, given.labels, PackedSequence(given.bounds, single_process())
    )
    loss.backward()
    assert layers > 1 and len(held) == max(0, layers - resident)


@pytest.mark.parametrize("tiles", [1, 4])
def test_a_layer_is_computed_again_as_far_as_the_plan_counts(tiles: int) -> None:
    """Multiplications of matrices, but attention's: of three passes, and of what is computed again."""
    given, model = sample(), twin(tiny(settings("llama")), ATTENTION_NAME)
    if tiles > 1:
        tile_mlps(model, tiles)
    compute_again(model.train(), offload=False, resident_layers=0)
    counter = FlopCounterMode(display=False)
    with counter:
        LossModel(model).loss(
            given.tokens, given.positions, given.labels,
            PackedSequence(given.bounds, single_process()),
        ).backward()  # fmt: skip
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    tokens, targets = len(given.tokens), int((given.labels != IGNORE).sum())
    mlp = model.model.layers[0].mlp
    width, intermediate = mlp.down_proj.weight.shape
    layer = sum(p.numel() for p in model.model.layers[0].parameters() if p.ndim == 2)
    again = computed_again(layer, width * intermediate, True, tiles)
    of_layers = 2 * tokens * len(model.model.layers) * (3 * layer + again)
    of_head = 6 * targets * model.lm_head.weight.numel()
    # The last tile may be a token shorter than the others.
    within = 0 if tiles == 1 else 1 / tokens
    assert counts[torch.ops.aten.mm] == pytest.approx(of_layers + of_head, rel=within)
