"""The chunked loss against the naive one: memory at 32,768 tokens x 128,000 vocabulary, and time.

    python benchmarks/loss.py

Prints one JSON line: peak_gb, what forward and backward in bfloat16 at hidden width 1024 add above the
inputs and the weight's gradient; time_ratio, chunked / naive at a size where both fit; and the relative
error of the chunked loss and its gradients there, against the naive ones in float32.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from selflong.training.loss import chunked_cross_entropy
from selflong.training.ranks import on_ranks

WIDTH = 1024
VOCABULARY = 128_000


def _inputs(tokens: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(tokens, WIDTH, generator=generator).bfloat16().requires_grad_()
    weight = (torch.randn(vocabulary, WIDTH, generator=generator) * 0.05).bfloat16()
    labels = torch.randint(vocabulary, (tokens,), generator=generator)
    return hidden, weight.requires_grad_(), labels


def naive(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """All logits at once, the loss in float32, as transformers computes it."""
    return F.cross_entropy((hidden @ weight.T).float(), labels, reduction="sum")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def peak_bytes(tokens: int) -> int:
    """What the chunked loss holds at most above its inputs and the weight's gradient."""
    torch.set_num_threads(2)
    hidden, weight, labels = _inputs(tokens, VOCABULARY)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    chunked_cross_entropy(hidden, weight, labels).backward()
    return _status("VmHWM") - before - weight.numel() * weight.element_size()


def _seconds(loss: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    loss(*inputs).backward()
    return time.perf_counter() - start


def time_ratio(tokens: int, vocabulary: int, repeats: int) -> float:
    """Median seconds of the chunked over the naive loss, measured in turns."""
    torch.set_num_threads(1)
    inputs = _inputs(tokens, vocabulary)
    rounds = [
        (_seconds(chunked_cross_entropy, inputs), _seconds(naive, inputs)) for _ in range(repeats)
    ]
    chunked, whole = zip(*rounds[1:], strict=True)
    return statistics.median(chunked) / statistics.median(whole)


def errors(tokens: int, vocabulary: int) -> dict[str, float]:
    """Relative errors in bfloat16 against the naive loss in float32."""
    hidden, weight, labels = _inputs(tokens, vocabulary)
    loss = chunked_cross_entropy(hidden, weight, labels)
    loss.backward()
    exact = tuple(x.detach().float().requires_grad_() for x in (hidden, weight))
    expected = naive(exact[0], exact[1], labels)
    expected.backward()
    result = {"loss_error": float(((loss - expected) / expected).detach().abs())}
    for name, given, wanted in zip(("hidden", "weight"), (hidden, weight), exact, strict=True):
        assert given.grad is not None and wanted.grad is not None
        error = (given.grad.float() - wanted.grad).norm() / wanted.grad.norm()
        result[f"{name}_gradient_error"] = float(error)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32_768)
    tokens = parser.parse_args().tokens
    # Freed memory goes back at once, so that the peak is that of live tensors (mallopt(3)).
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    result = {"peak_gb": on_ranks(1, peak_bytes, tokens)[0] / 1e9}
    del os.environ["MALLOC_MMAP_THRESHOLD_"]
    result["time_ratio"] = time_ratio(2048, 32_000, 6)
    result |= errors(512, 8192)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
