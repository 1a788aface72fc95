"""Sequence-parallel attention against plain attention: errors over layouts, memory of a rank.

    python benchmarks/attention.py

Prints one JSON line: the worst relative errors of loss and gradients over all layouts (a small Llama with
grouped heads over packed documents, against transformers' own attention on each document alone), and
peak memory of a rank x ranks / peak of one process for ring attention at 32,768 tokens.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.on_cpu import expect_no_gpu
from selflong.placement.ring import split
from selflong.training.attention import ATTENTION_NAME, PackedSequence, packed_attention
from selflong.training.batches import MicroBatch
from selflong.training.kernels import Rule
from selflong.training.layout import Groups, Layout, local_tokens, make_groups
from selflong.training.loss import IGNORE
from selflong.training.model import LossModel
from selflong.training.ranks import on_ranks

LAYOUTS = (
    Layout(),
    Layout(ring=2),
    Layout(ulysses=2),
    Layout(ring=4),
    Layout(ulysses=4),
    Layout(ring=2, ulysses=2),
    Layout(ring=8),
    Layout(ulysses=8),
    Layout(ring=2, ulysses=4),
)
# No length divides evenly; documents are shorter than a chunk, longer, and one token long.
DOCUMENTS = ((61,), (5, 40, 1, 30), (17, 3, 90, 27, 6), (128,))
VOCABULARY = 97
EXTREME = 300.0
"""Factor on the queries that takes attention logits into the thousands."""


def model(dtype: torch.dtype, attention: str, extreme: bool) -> LlamaForCausalLM:
    """A Llama with 8 query and 2 key-value heads, the same for every rank."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(7)
    llama = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, parameter in llama.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) * 0.2)
            if extreme and "q_proj" in name:
                parameter.mul_(EXTREME)
    return torch.nn.Module.to(llama, dtype)


def tokens_and_labels(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens; each predicts the next of its document."""
    generator = torch.Generator().manual_seed(sum(lengths))
    tokens = torch.randint(VOCABULARY, (sum(lengths),), generator=generator)
    labels = torch.full_like(tokens, IGNORE)
    for start, stop in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        labels[start : stop - 1] = tokens[start + 1 : stop]
    return tokens, labels


def reference(
    dtype: torch.dtype, lengths: tuple[int, ...], extreme: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of each document alone, by transformers' attention and torch's loss."""
    llama = model(dtype, "sdpa", extreme)
    tokens, labels = tokens_and_labels(lengths)
    loss = torch.zeros((), dtype=dtype)
    for start, stop in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        logits = llama(tokens[None, start:stop]).logits[0]
        loss = loss + F.cross_entropy(
            logits, labels[start:stop], ignore_index=IGNORE, reduction="sum"
        )
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in llama.named_parameters() if p.grad is not None}


def local_batch(
    lengths: tuple[int, ...], groups: Groups, tokens: torch.Tensor, labels: torch.Tensor
) -> tuple[MicroBatch, PackedSequence]:
    """A rank's slice of a packed sequence, padded as in training."""
    bounds = (0, *itertools.accumulate(lengths))
    held = local_tokens(split(bounds, groups.layout.ring), groups.layout, groups.place)
    positions = torch.cat([torch.arange(length) for length in lengths])

    def cut(values: torch.Tensor, fill: int) -> torch.Tensor:
        return F.pad(values, (0, len(held)), value=fill)[held]

    batch = MicroBatch(cut(tokens, 0), cut(labels, IGNORE), cut(positions, 0), bounds, 0)
    return batch, PackedSequence(bounds, groups)


def layout_errors(layout: Layout, dtype: torch.dtype) -> dict[str, float]:
    """The worst relative errors of one layout; runs on each of its ranks."""
    groups = make_groups(layout)
    worst = {"loss": 0.0, "gradient": 0.0}
    # Logits in the thousands leave float32 no digit to compare.
    for lengths, extreme in itertools.product(DOCUMENTS, (False, dtype == torch.float64)):
        expected_loss, expected = reference(dtype, lengths, extreme)
        llama = LossModel(model(dtype, ATTENTION_NAME, extreme))
        batch, sequence = local_batch(lengths, groups, *tokens_and_labels(lengths))
        loss = llama(batch, sequence, torch.device("cpu"))
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        worst["loss"] = max(worst["loss"], float((total - expected_loss).abs() / expected_loss))
        for name, parameter in llama.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            dist.all_reduce(gradient)
            error = (gradient - expected[name]).abs().max() / expected[name].abs().max()
            worst["gradient"] = max(worst["gradient"], float(error))
    return worst


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def ring_peak(tokens: int, ring: int) -> int:
    """Bytes that forward and backward of ring attention add on this rank, its inputs included."""
    groups = make_groups(Layout(ring=ring))
    _attend(64 * ring, ring, groups)  # what libraries allocate once is no part of it
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    _attend(tokens, ring, groups)
    return _status("VmHWM") - before


def _attend(tokens: int, ring: int, groups: Groups) -> None:
    shape = (tokens // ring, 64)
    q, k, v = (torch.randn(heads, *shape, requires_grad=True) for heads in (4, 1, 1))
    out = packed_attention(q, k, v, PackedSequence((0, tokens), groups), Rule(0.125))
    out.backward(torch.ones_like(out))


def main() -> None:
    expect_no_gpu()
    # Freed memory goes back at once, so that the peak is that of live tensors (mallopt(3)).
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    result: dict[str, Any] = {}
    errors = {
        dtype: [
            error
            for layout in LAYOUTS
            for error in on_ranks(layout.world, layout_errors, layout, dtype)
        ]
        for dtype in (torch.float64, torch.float32)
    }
    result["loss_error_float64"] = max(e["loss"] for e in errors[torch.float64])
    result["gradient_error_float64"] = max(e["gradient"] for e in errors[torch.float64])
    result["loss_error_float32"] = max(e["loss"] for e in errors[torch.float32])
    result["gradient_error_float32"] = max(e["gradient"] for e in errors[torch.float32])
    peaks = {ring: max(on_ranks(ring, ring_peak, 32_768, ring)) for ring in (1, 2, 4)}
    for ring in (2, 4):
        result[f"memory_share_{ring}"] = peaks[ring] * ring / peaks[1]
    result["peak_gb"] = {str(ring): peak / 1e9 for ring, peak in peaks.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
