"""MLPs that compute their tokens in parts give what they give at once."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig

from benchmarks.families import settings
from selflong.job import UserError
from selflong.training.attention import ATTENTION_NAME, PackedSequence
from selflong.training.families import sample, tiny, twin
from selflong.training.layout import single_process
from selflong.training.model import LossModel, tile_mlps


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
