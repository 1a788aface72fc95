"""Which tokens count, and the chunked loss against the plain one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.formats import TokenRole
from selflong.training import loss as loss_module
from selflong.training.loss import IGNORE, LogitRule, LossHead, chunked_cross_entropy, target_mask

ROLES = np.array(
    [
        TokenRole.TEMPLATE, TokenRole.PROMPT, TokenRole.DOCUMENT, TokenRole.RESPONSE, TokenRole.END,
        TokenRole.TEMPLATE, TokenRole.SYSTEM, TokenRole.RESPONSE, TokenRole.RESPONSE, TokenRole.END,
    ],
    dtype=np.uint8,
)  # fmt: skip


def test_long_samples_train_on_all_tokens_and_short_ones_on_responses() -> None:
    mask = target_mask(ROLES, 0, [0, 5, 10], ["long_input", "short"], mask_prompt=False)
    assert mask.tolist() == [False, True, True, True, True, False, False, True, True, True]


def test_masked_prompt_trains_long_samples_on_responses_too() -> None:
    mask = target_mask(ROLES, 0, [0, 5, 10], ["long_output", "short"], mask_prompt=True)
    assert mask.tolist() == [False, False, False, True, True, False, False, True, True, True]


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_of_text_only_what_its_source_masks_is_left_out(mask_prompt: bool) -> None:
    mask = target_mask(ROLES, 0, [0, 10], ["pretraining"], mask_prompt)
    assert mask.tolist() == [False, False] + [True] * 8


@given(st.integers(0, 9), st.integers(1, 10), st.booleans())
def test_a_slice_has_the_mask_of_the_whole(start: int, count: int, mask_prompt: bool) -> None:
    bounds, kinds = [0, 3, 5, 10], ["short", "long_input", "short"]
    whole = target_mask(ROLES, 0, bounds, kinds, mask_prompt)
    part = target_mask(ROLES[start : start + count], start, bounds, kinds, mask_prompt)
    assert part.tolist() == whole[start : start + count].tolist()


def naive(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(hidden @ weight.T, labels, ignore_index=IGNORE, reduction="sum")


@given(st.integers(1, 40), st.integers(2, 30), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_chunked_loss_and_gradients_are_the_plain_ones(
    tokens: int, vocabulary: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 6, generator=generator, dtype=torch.float64) * 20
    weight = torch.randn(vocabulary, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    labels[torch.rand(tokens, generator=generator) < 0.3] = IGNORE
    given_tensors = [x.clone().requires_grad_() for x in (hidden, weight)]
    wanted = [x.clone().requires_grad_() for x in (hidden, weight)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "STRIP_ROWS", 7)  # several strips, and several chunks
        loss = chunked_cross_entropy(*given_tensors, labels, rows=3)
        (loss * 0.37).backward()
    expected = naive(*wanted, labels)
    (expected * 0.37).backward()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    for ours, plain in zip(given_tensors, wanted, strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-11, atol=1e-11)


def test_scaled_and_capped_logits_with_a_bias() -> None:
    generator = torch.Generator().manual_seed(3)
    given_tensors = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((12, 6), (9, 6), (9,))
    ]
    wanted = [x.detach().clone().requires_grad_() for x in given_tensors]
    labels = torch.randint(9, (12,), generator=generator)
    hidden, weight, bias = given_tensors
    loss = chunked_cross_entropy(hidden, weight, labels, bias, LogitRule(scale=0.7, softcap=1.3))
    (loss * 0.37).backward()
    logits = torch.tanh(0.7 * F.linear(*wanted) / 1.3) * 1.3
    (F.cross_entropy(logits, labels, reduction="sum") * 0.37).backward()
    for ours, plain in zip(given_tensors, wanted, strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-11, atol=1e-11)


def test_a_fully_masked_block_gives_zero() -> None:
    hidden = torch.randn(5, 4, requires_grad=True)
    weight = torch.randn(9, 4, requires_grad=True)
    loss = chunked_cross_entropy(hidden, weight, torch.full((5,), IGNORE))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert hidden.grad is not None and weight.grad is not None
    assert not hidden.grad.any() and not weight.grad.any()


def test_logits_too_large_for_an_exponential() -> None:
    hidden = torch.full((2, 4), 1e3, requires_grad=True)
    weight = torch.randn(9, 4).mul_(10).requires_grad_()
    loss = chunked_cross_entropy(hidden, weight, torch.tensor([1, 2]))
    loss.backward()
    assert torch.isfinite(loss) and hidden.grad is not None and torch.isfinite(hidden.grad).all()


def test_the_head_shares_the_weight_of_the_output_layer() -> None:
    layer = torch.nn.Linear(4, 9, bias=False)
    weight = layer.weight
    head = LossHead.of(layer)
    assert head.weight is weight
    labels = torch.tensor([3, IGNORE, 8])
    hidden = torch.randn(3, 4)
    torch.testing.assert_close(head(hidden, labels), naive(hidden, weight, labels))
