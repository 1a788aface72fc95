"""Every kernel gives what attention in float64 gives, through calls that its package would accept.

The packages for GPUs do not run here: a strict stand-in of each takes the arguments that its source
declares, refuses what its kernels refuse, and computes in float64.
"""

import importlib.util
import inspect
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from selflong.training.kernels import (
    Attended,
    Block,
    BlockKernel,
    FlashAttention2Kernel,
    FlashAttention3Kernel,
    FlashAttention4Kernel,
    PlainKernel,
    Rule,
    TorchCpuKernel,
    TorchFlashKernel,
    block_kernel,
    gpu_kernels,
)

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
BLOCKS = {
    "documents": Block((0, 5, 6, 20), (0, 5, 6, 20), True),
    "windowed documents": Block((0, 5, 6, 20), (0, 5, 6, 20), True, 3),
    "rectangle": Block((0, 7), (0, 11), False),
    "windowed rectangle": Block((0, 7), (0, 11), False, 2),
}


def exact(q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> tuple[Tensor, Tensor]:
    """Attention in float64, [heads, tokens, ...], by its definition."""
    group = q.shape[0] // k.shape[0]
    q, k, v = (
        q.double(),
        k.double().repeat_interleave(group, 0),
        v.double().repeat_interleave(group, 0),
    )
    out, lse = [], []
    for rows, keys in block.documents():
        scores = q[:, rows] @ k[:, keys].transpose(1, 2) * rule.scale
        if rule.softcap:
            scores = rule.softcap * torch.tanh(scores / rule.softcap)
        height, width = scores.shape[1:]
        own = torch.arange(height)[:, None] + width - height
        columns = torch.arange(width)[None]
        hidden = (columns > own) if block.causal else torch.zeros(height, width, dtype=torch.bool)
        if block.reach is not None:
            hidden = hidden | (columns < own - block.reach)
        scores = scores.masked_fill(hidden, -torch.inf)
        lse.append(scores.logsumexp(-1))
        out.append(scores.softmax(-1) @ v[:, keys])
    return torch.cat(out, 1), torch.cat(lse, 1)


def _block(
    q_bounds: Tensor, k_bounds: Tensor, longest: tuple[int, int], causal: bool, left: int | None
) -> Block:
    for bounds, most in zip((q_bounds, k_bounds), longest, strict=True):
        assert bounds.dtype == torch.int32 and bounds.is_contiguous()
        assert most == max(b - a for a, b in itertools.pairwise(bounds.tolist()))
    return Block(tuple(q_bounds.tolist()), tuple(k_bounds.tolist()), causal, left)


def _heads_first(*tensors: Tensor) -> list[Tensor]:
    """What a flash kernel demands of tensors that are [tokens, heads, head_dim]."""
    for tensor in tensors:
        assert tensor.dtype == torch.bfloat16 and tensor.is_contiguous() and tensor.ndim == 3
    return [x.transpose(0, 1) for x in tensors]


def _compute(q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule) -> tuple[Tensor, Tensor]:
    out, lse = exact(*_heads_first(q, k, v), block, rule)
    return out.transpose(0, 1).contiguous().bfloat16(), lse.float()


def _differentiate(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    block: Block,
    rule: Rule,
) -> list[Tensor]:
    assert lse.dtype == torch.float32 and lse.shape == (q.shape[1], q.shape[0])
    assert lse.is_contiguous()
    grad, q, k, v, out = _heads_first(grad, q, k, v, out)
    given = Attended(*(x.double() for x in (q, k, v, out, lse)))
    parts = PlainKernel().backward(grad.double(), given, block, rule)
    return [x.transpose(0, 1).contiguous().bfloat16() for x in parts]


def _fa4_forward(
    q, k, v, qv=None, cu_seqlens_q=None, cu_seqlens_k=None, seqused_q=None, seqused_k=None,
    max_seqlen_q=None, max_seqlen_k=None, min_seqlen_k=None, page_table=None, softmax_scale=None,
    causal=False, softcap=None, window_size_left=None, window_size_right=None, learnable_sink=None,
    *, return_lse=False,
):  # type: ignore[no-untyped-def]  # fmt: skip
    assert return_lse and qv is None
    block = _block(
        cu_seqlens_q, cu_seqlens_k, (max_seqlen_q, max_seqlen_k), causal, window_size_left
    )
    return *_compute(q, k, v, block, Rule(softmax_scale, None, softcap)), None, None, None


def _fa4_backward(
    q, k, v, out, dout, lse, softmax_scale=None, causal=False, softcap=0.0, window_size_left=None,
    window_size_right=None, *, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None,
    max_seqlen_k=None,
):  # type: ignore[no-untyped-def]  # fmt: skip
    block = _block(
        cu_seqlens_q, cu_seqlens_k, (max_seqlen_q, max_seqlen_k), causal, window_size_left
    )
    rule = Rule(softmax_scale, None, softcap)
    return tuple(_differentiate(dout, q, k, v, out, lse, block, rule))


def _fa3_forward(
    q, k, v, k_new=None, v_new=None, qv=None, out_=None, cu_seqlens_q=None, cu_seqlens_k=None,
    cu_seqlens_k_new=None, seqused_q=None, seqused_k=None, max_seqlen_q=None, max_seqlen_k=None,
    page_table=None, kv_batch_idx=None, leftpad_k=None, rotary_cos=None, rotary_sin=None,
    seqlens_rotary=None, q_descale=None, k_descale=None, v_descale=None, softmax_scale=None,
    causal=False, window_size_left=-1, window_size_right=-1, attention_chunk=0, softcap=0.0,
    rotary_interleaved=True, scheduler_metadata=None, num_splits=1, pack_gqa=None, sm_margin=0,
):  # type: ignore[no-untyped-def]  # fmt: skip
    block = _block(
        cu_seqlens_q, cu_seqlens_k, (max_seqlen_q, max_seqlen_k), causal, _reach(window_size_left)
    )
    assert window_size_right == (0 if causal else -1) and softcap >= 0
    return *_compute(q, k, v, block, Rule(softmax_scale, None, softcap)), None, None


def _fa3_backward(
    dout, q, k, v, out, softmax_lse, cu_seqlens_q=None, cu_seqlens_k=None, sequed_q=None,
    sequed_k=None, max_seqlen_q=None, max_seqlen_k=None, dq=None, dk=None, dv=None,
    softmax_scale=None, is_causal=False, window_size_left=-1, window_size_right=-1, softcap=0.0,
    deterministic=False, sm_margin=0,
):  # type: ignore[no-untyped-def]  # fmt: skip
    lengths = (max_seqlen_q, max_seqlen_k)
    block = _block(cu_seqlens_q, cu_seqlens_k, lengths, is_causal, _reach(window_size_left))
    assert window_size_right == (0 if is_causal else -1)
    rule = Rule(softmax_scale, None, softcap)
    parts = _differentiate(dout, q, k, v, out, softmax_lse, block, rule)
    for given, part in zip((dq, dk, dv), parts, strict=True):
        assert given.is_contiguous() and given.shape == part.shape
        given.copy_(part)


def _aten_forward(
    query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, return_debug_mask,
    *, scale=None, window_size_left=None, window_size_right=None,
):  # type: ignore[no-untyped-def]  # fmt: skip
    assert dropout_p == 0.0 and not return_debug_mask
    block = _block(cum_seq_q, cum_seq_k, (max_q, max_k), is_causal, window_size_left)
    return *_compute(query, key, value, block, Rule(scale)), None, None, None


def _aten_backward(
    grad_out, query, key, value, out, logsumexp, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p,
    is_causal, rng_state, unused, *, scale=None, window_size_left=None, window_size_right=None,
):  # type: ignore[no-untyped-def]  # fmt: skip
    assert dropout_p == 0.0
    block = _block(cum_seq_q, cum_seq_k, (max_q, max_k), is_causal, window_size_left)
    return _differentiate(grad_out, query, key, value, out, logsumexp, block, Rule(scale))


def _reach(left: int) -> int | None:
    return None if left < 0 else left


def _fa2_forward(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p, softmax_scale,
    causal, window_size_left=-1, window_size_right=-1, softcap=0.0,
):  # type: ignore[no-untyped-def]  # fmt: skip
    lengths = (max_seqlen_q, max_seqlen_k)
    block = _block(cu_seqlens_q, cu_seqlens_k, lengths, causal, _reach(window_size_left))
    return *_compute(q, k, v, block, Rule(softmax_scale, None, softcap)), None, None


def _fa2_backward(
    dout, q, k, v, out, softmax_lse, dq, dk, dv, cu_seqlens_q, cu_seqlens_k, max_seqlen_q,
    max_seqlen_k, dropout_p, softmax_scale, causal, window_size_left, window_size_right, softcap,
    alibi_slopes, deterministic,
):  # type: ignore[no-untyped-def]  # fmt: skip
    lengths = (max_seqlen_q, max_seqlen_k)
    block = _block(cu_seqlens_q, cu_seqlens_k, lengths, causal, _reach(window_size_left))
    rule = Rule(softmax_scale, None, softcap)
    parts = _differentiate(dout, q, k, v, out, softmax_lse, block, rule)
    for given, part in zip((dq, dk, dv), parts, strict=True):
        given.copy_(part)


KERNELS: dict[str, BlockKernel] = {
    "plain": PlainKernel(),
    "cpu": TorchCpuKernel(),
    "flash-attn 4": FlashAttention4Kernel(
        SimpleNamespace(_flash_attn_fwd=_fa4_forward, _flash_attn_bwd=_fa4_backward)
    ),
    "flash-attn 3": FlashAttention3Kernel(
        SimpleNamespace(_flash_attn_forward=_fa3_forward, _flash_attn_backward=_fa3_backward)
    ),
    "torch": TorchFlashKernel(
        SimpleNamespace(
            _flash_attention_forward=_aten_forward, _flash_attention_backward=_aten_backward
        )
    ),
    "flash-attn 2": FlashAttention2Kernel(
        SimpleNamespace(
            _flash_attn_varlen_forward=_fa2_forward, _flash_attn_varlen_backward=_fa2_backward
        )
    ),
}


@pytest.mark.parametrize("softcap", [0.0, 0.7])
@pytest.mark.parametrize("shape", BLOCKS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_attention(name: str, shape: str, softcap: float) -> None:
    kernel, block = KERNELS[name], BLOCKS[shape]
    rule = Rule(0.3, None, softcap)
    dtype = torch.float64 if name in ("plain", "cpu") else torch.bfloat16
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 0.03, "atol": 0.03}
    )
    generator = torch.Generator().manual_seed(4)

    def random(heads: int, tokens: int) -> Tensor:
        return torch.randn(heads, tokens, WIDTH, generator=generator).to(dtype)

    rows, columns = block.query_bounds[-1], block.key_bounds[-1]
    q, k, v = random(HEADS, rows), random(KEY_HEADS, columns), random(KEY_HEADS, columns)
    wanted = [x.double().requires_grad_() for x in (q, k, v)]
    expected, expected_lse = exact(*wanted, block, rule)
    out, lse = kernel.forward(q, k, v, block, rule)
    torch.testing.assert_close(out.double(), expected, **tolerance)
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-5, atol=1e-5)
    assert lse.shape == (HEADS, rows)
    grad = random(HEADS, rows)
    expected.backward(grad.double())
    for given, plain in zip(
        kernel.backward(grad, Attended(q, k, v, out, lse), block, rule), wanted, strict=True
    ):
        assert plain.grad is not None
        torch.testing.assert_close(given.double(), plain.grad, **tolerance)


@pytest.mark.parametrize(
    ("installed", "capability", "taken"),
    [
        ({"flash_attn_interface", "flash_attn.cute.interface"}, (9, 0), "flash-attn 3"),
        ({"flash_attn_interface", "flash_attn.cute.interface"}, (10, 0), "flash-attn 4"),
        ({"flash_attn.cute.interface", "flash_attn.flash_attn_interface"}, (9, 0), "flash-attn 4"),
        ({"flash_attn_interface", "flash_attn.flash_attn_interface"}, (8, 0), "flash-attn 2"),
        (set(), (9, 0), "torch's flash attention"),
    ],
)
def test_the_fastest_kernel_that_knows_the_device_is_taken(
    installed: set[str], capability: tuple[int, int], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(module: str) -> SimpleNamespace:
        if module not in installed:
            raise ImportError(module)
        return SimpleNamespace()

    monkeypatch.setattr("selflong.training.kernels.importlib.import_module", find)
    assert next(gpu_kernels(capability)).name == taken


def test_float32_on_a_gpu_needs_no_flash_kernel() -> None:
    assert block_kernel(torch.device("cuda"), torch.float32).name == "torch's matrix products"


def _declares(function: Any, stand_in: Any) -> bool:
    """Whether a function takes what its stand-in takes, positional arguments in the same order."""
    declared = list(inspect.signature(function).parameters)
    parameters = inspect.signature(stand_in).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    return set(parameters) <= set(declared) and declared[: len(positional)] == positional


def test_stand_ins_declare_what_torch_declares() -> None:
    for stand_in in (_aten_forward, _aten_backward):
        name = (
            "_flash_attention_forward" if stand_in is _aten_forward else "_flash_attention_backward"
        )
        schema = getattr(torch.ops.aten, name).default._schema
        declared = [argument.name for argument in schema.arguments]
        parameters = list(inspect.signature(stand_in).parameters)
        assert [argument for argument in declared if argument in parameters] == parameters


def test_stand_ins_declare_what_flash_attn_declares() -> None:
    names = ("flash_attn", "flash_attn_interface")
    if not any(map(importlib.util.find_spec, names)):
        pytest.skip("no flash-attn is installed")
    if importlib.util.find_spec("flash_attn_interface") is not None:
        import flash_attn_interface as flash_attention_3

        assert _declares(flash_attention_3._flash_attn_forward, _fa3_forward)
        assert _declares(flash_attention_3._flash_attn_backward, _fa3_backward)
    if importlib.util.find_spec("flash_attn") is None:
        return
    if importlib.util.find_spec("flash_attn.cute") is not None:
        from flash_attn.cute import interface

        assert _declares(interface._flash_attn_fwd, _fa4_forward)
        assert _declares(interface._flash_attn_bwd, _fa4_backward)
    if importlib.util.find_spec("flash_attn.flash_attn_interface") is not None:
        from flash_attn import flash_attn_interface

        assert _declares(flash_attn_interface._flash_attn_varlen_forward, _fa2_forward)
        assert _declares(flash_attn_interface._flash_attn_varlen_backward, _fa2_backward)
