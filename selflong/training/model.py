"""A causal language model of transformers as a module that returns its loss."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from selflong.job import UserError
from selflong.training.attention import PackedSequence
from selflong.training.batches import MicroBatch
from selflong.training.loss import LogitRule, LossHead


class LossModel(nn.Module):
    """A causal language model that returns the summed loss of a slice of a packed sequence.

    Its parameters keep the names that they have in the Hugging Face model. Raises UserError where the model
    is more than a base model and an output layer. ``loss_rows`` are the tokens whose logits are held at once.
    """

    def __init__(self, model: PreTrainedModel, loss_rows: int | None = None) -> None:
        super().__init__()
        self.prefix = model.base_model_prefix
        head = model.get_output_embeddings()
        parts = dict(model.named_children())
        self.head_name = next((name for name, part in parts.items() if part is head), "")
        if not isinstance(head, nn.Linear) or set(parts) != {self.prefix, self.head_name}:
            raise UserError(
                f"{type(model).__name__} is more than a base model and one output layer "
                f"({', '.join(parts)}): choose another model"
            )
        self.add_module(self.prefix, model.base_model)
        self.add_module(self.head_name, LossHead.of(head, LogitRule.of(model.config), loss_rows))

    def loss(
        self, input_ids: Tensor, positions: Tensor, labels: Tensor, sequence: PackedSequence
    ) -> Tensor:
        """Summed loss; all tensors are [local tokens]."""
        hidden = self.get_submodule(self.prefix)(
            input_ids=input_ids[None],
            position_ids=positions[None],
            use_cache=False,
            packed_sequence=sequence,
        ).last_hidden_state
        return self.get_submodule(self.head_name)(hidden[0], labels)

    def forward(self, batch: MicroBatch, sequence: PackedSequence, device: torch.device) -> Tensor:
        return self.loss(
            batch.input_ids.to(device),
            batch.positions.to(device),
            batch.labels.to(device),
            sequence,
        )


def last_layers(model: nn.Module, count: int) -> list[GradientCheckpointingLayer]:
    """The last of the layers that are computed again in the backward pass."""
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    return layers[max(0, len(layers) - count) :]


def compute_again(model: PreTrainedModel, offload: bool, resident_layers: int) -> None:
    """Let each layer keep its input alone, and be computed again in the backward pass.

    ``offload``: in the node's memory, but for the last ``resident_layers``.
    """
    model.activation_checkpointing_enable({"use_reentrant": False}, offload=offload)
    if offload:
        for layer in last_layers(model, resident_layers):
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]


def tile_mlps(model: nn.Module, tiles: int) -> None:
    """Let each layer's MLP compute its tokens in parts (arXiv 2506.13996).

    Of a layer's widest activations one part is then held at a time, computed once more in the backward pass.
    An MLP sees each token alone, so its output is the same. Raises UserError where no layer has a module
    named mlp.
    """
    mlps = [module for name, module in model.named_modules() if name.endswith(".mlp")]
    if not mlps:
        raise UserError(
            f"mlp_tiles is {tiles}, but no layer of {type(model).__name__} has a module named mlp: leave "
            "mlp_tiles out"
        )
    for mlp in mlps:
        mlp.forward = partial(_in_tiles, mlp.forward, tiles)


def _in_tiles(forward: Callable[[Tensor], Tensor], tiles: int, hidden: Tensor) -> Tensor:
    """``forward`` of hidden states [batch, tokens, width], always in so many parts: ZeRO-3 counts on it that
    modules run in the same order in each micro-batch."""
    parts = hidden.tensor_split(tiles, dim=1)
    return torch.cat([checkpoint(forward, part, use_reentrant=False) for part in parts], dim=1)
