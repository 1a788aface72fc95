"""A causal language model of transformers as a module that returns its loss."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from selflong.job import UserError
from selflong.training.attention import PackedSequence
from selflong.training.batches import MicroBatch
from selflong.training.loss import LogitRule, LossHead


class LossModel(nn.Module):
    """A causal language model that returns the summed loss of a slice of a packed sequence.

    Its parameters keep the names that they have in the Hugging Face model. Raises UserError where the model
    is more than a base model and an output layer.
    """

    def __init__(self, model: PreTrainedModel) -> None:
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
        self.add_module(self.head_name, LossHead.of(head, LogitRule.of(model.config)))

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
