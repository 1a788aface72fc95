"""Next-token loss over packed documents: which tokens count, and how the logits are never whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from selflong.formats import TokenRole
from selflong.placement.memory import loss_rows

IGNORE = -100
STRIP_ROWS = 2**14
"""Rows of the weight whose gradient is added up at once."""

_RESPONSE_ROLES = (int(TokenRole.RESPONSE), int(TokenRole.END))


def target_mask(
    roles: NDArray[np.uint8],
    start: int,
    bounds: Sequence[int],
    kinds: Sequence[str],
    mask_prompt: bool,
) -> NDArray[np.bool_]:
    """Which tokens are targets, for the tokens ``start`` ... ``start + len(roles)`` of a sequence.

    Long samples train on all tokens (the paper's finding), short ones on their responses; with
    ``mask_prompt``, its ablation, long ones do as well. Text is no conversation: a prompt in it is what its
    source masks. The first token of a document never is a target: nothing in its document predicts it.
    """
    responses = np.isin(roles, _RESPONSE_ROLES)
    mask = np.zeros(len(roles), dtype=bool)
    for first, stop, kind in zip(bounds, bounds[1:], kinds, strict=False):
        low, high = max(first - start, 0), min(stop - start, len(roles))
        if low >= high:
            continue
        if kind == "pretraining":
            mask[low:high] = roles[low:high] != TokenRole.PROMPT
        elif kind in ("long_input", "long_output") and not mask_prompt:
            mask[low:high] = True
        else:
            mask[low:high] = responses[low:high]
        if first >= start:
            mask[low] = False
    return mask


@dataclass(frozen=True)
class LogitRule:
    """What a model does with its logits: a factor (Granite, Cohere), then a cap (Gemma)."""

    scale: float = 1.0
    softcap: float = 0.0
    """Logits become ``softcap * tanh(logits / softcap)``; 0 leaves them as they are."""

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "LogitRule":
        """The rule that transformers applies for a configuration."""
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        return cls(scale, float(getattr(config, "final_logit_softcapping", None) or 0.0))


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of ``hidden @ weight.T + bias``, a chunk of tokens at a time.

    The gradients of each chunk are computed while its logits are at hand, so that the logits are
    neither kept nor computed twice. Sums are float32, or float64 for float64 inputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        rule: LogitRule,
        rows_at_once: int,
    ) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=wide, device=hidden.device)
        learn = any(ctx.needs_input_grad)
        hidden_grad = torch.zeros_like(hidden) if learn else None
        weight_grad = torch.zeros(weight.shape, dtype=wide, device=weight.device) if learn else None
        bias_grad = None if bias is None else torch.zeros_like(bias, dtype=wide)
        valid = (labels != IGNORE).nonzero().squeeze(1)
        for rows in valid.split(rows_at_once):
            chunk, targets = hidden[rows], labels[rows, None]
            logits = F.linear(chunk, weight, bias).to(wide).mul_(rule.scale)
            slope = None
            if rule.softcap:
                logits = logits.div_(rule.softcap).tanh_()
                slope = 1 - logits.square()
                logits.mul_(rule.softcap)
            target_logits = logits.gather(1, targets)
            highest = logits.amax(1, keepdim=True)
            probabilities = logits.sub_(highest).exp_()
            normaliser = probabilities.sum(1, keepdim=True)
            total += (normaliser.log() + highest - target_logits).sum()
            if hidden_grad is None or weight_grad is None:
                continue
            probabilities.div_(normaliser)
            probabilities.scatter_add_(1, targets, probabilities.new_full(targets.shape, -1.0))
            if slope is not None:
                probabilities.mul_(slope)
            logits_grad = probabilities.mul_(rule.scale).to(hidden.dtype)
            if bias_grad is not None:
                bias_grad += probabilities.sum(0)
            del logits, probabilities, slope
            hidden_grad[rows] = logits_grad @ weight
            # In strips: a product of the weight's own size would double its gradient's memory.
            for strip, part in zip(
                weight_grad.split(STRIP_ROWS), logits_grad.split(STRIP_ROWS, 1), strict=True
            ):
                strip.add_(part.T @ chunk)
        if hidden_grad is not None and weight_grad is not None:
            if bias is not None and bias_grad is not None:
                bias_grad = bias_grad.to(bias.dtype)
            ctx.save_for_backward(hidden_grad, weight_grad.to(weight.dtype), bias_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad, bias_grad = ctx.saved_tensors
        scale = grads[0]
        if bias_grad is not None:
            bias_grad = bias_grad * scale
        return hidden_grad.mul_(scale), weight_grad.mul_(scale), bias_grad, None, None, None


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None = None,
    rule: LogitRule = LogitRule(),
    rows: int | None = None,
) -> Tensor:
    """Summed cross-entropy of the rows whose label is not IGNORE; 0 where there is none.

    hidden [tokens, width], weight [vocabulary, width], bias [vocabulary], labels [tokens]; each row
    predicts its own label (the caller shifts). Memory above the inputs and the weight's gradient: the
    weight's gradient in float32 and the logits of ``rows`` tokens (None: as many as make 0.3 GB).
    Differentiable once.
    """
    return _ChunkedCrossEntropy.apply(
        hidden, weight, bias, labels, rule, rows or loss_rows(weight.shape[0])
    )


class LossHead(nn.Linear):
    """An output layer that returns the summed loss instead of logits.

    The loss is computed inside the layer's own forward call, where ZeRO-3 has gathered its weight.
    """

    rule: LogitRule
    rows: int | None

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return chunked_cross_entropy(hidden, self.weight, labels, self.bias, self.rule, self.rows)

    @classmethod
    def of(
        cls, head: nn.Linear, rule: LogitRule = LogitRule(), rows: int | None = None
    ) -> "LossHead":
        """Turn an output layer into a LossHead that shares its weight."""
        head.__class__ = cls
        assert isinstance(head, cls)
        head.rule, head.rows = rule, rows
        return head
