"""On one GPU, in minutes and without the network: kernels, a stage, its speed and memory, a stop.

`make test-gpu` runs it. It prints one JSON line, which goes to results/gpu.json, and writes tables to
results/gpu.md; it says what it left out. Without a GPU all of it is skipped.
"""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selflong.placement.shapes import Architecture
from selflong.training.kernels import PACKAGES, gpu_kernels
from tests.gpu import measure

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
RESULTS = Path("results")
SMALL = Architecture(4, 256, 4, 2, 64, 768, 1024, tied=True)
WIDE = Architecture(8, 2048, 16, 8, 128, 8192, 32_000, tied=True)
"""Heads of 128 as the 8B's, and small enough for 128k tokens and a whole optimizer on 80 GB."""
STEPS = 6


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    """What the tests measure; written down when they have ended, whatever their end."""
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "kernel_errors": {},
        "speed": [],
        "skipped": [name for name in PACKAGES if not _is_installed(name)],
    }
    yield result
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    kernels = [{"kernel": name} | errors for name, errors in result["kernel_errors"].items()]
    tables = [measure.markdown(kernels), measure.markdown(result["speed"])]
    head = f"{result['device']}, torch {result['torch']}\n"
    (RESULTS / "gpu.md").write_text("\n".join([head, *tables]), encoding="utf-8")
    print(json.dumps(result), file=sys.__stdout__)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def test_every_kernel_that_is_installed_is_attention(found: dict[str, Any]) -> None:
    for kernel in gpu_kernels(torch.cuda.get_device_capability()):
        errors = measure.kernel_errors(kernel, "cuda", torch.bfloat16, 2048)
        found["kernel_errors"][kernel.name] = errors
    for name, errors in found["kernel_errors"].items():
        assert max(errors.values()) < 0.03, name


def test_a_stage_in_bfloat16_is_that_of_a_cpu_in_float32(
    found: dict[str, Any], tmp_path: Path
) -> None:
    measure.write_model(tmp_path / "initial", SMALL, 512)
    measure.write_packed(tmp_path / "packed", SMALL.vocabulary, [[200, 1, 311], [512]] * 3)
    gpu, cpu = (
        [row["loss"] for row in measure.trained(job)]
        for job in (
            measure.stage_job(tmp_path, "gpu", 512, STEPS, "cuda"),
            measure.stage_job(tmp_path, "cpu", 512, STEPS, "cpu", precision="float32"),
        )
    )
    found["loss_difference"] = max(abs(a - b) for a, b in zip(gpu, cpu, strict=True))
    assert found["loss_difference"] < 0.05
    again = measure.stopped_and_resumed(
        measure.stage_job(tmp_path, "stopped", 512, STEPS, "cuda"), after=3
    )
    resumed = [row["loss"] for row in again]
    found["resume_difference"] = max(abs(a - b) for a, b in zip(gpu, resumed, strict=True))
    np.testing.assert_allclose(resumed, gpu, rtol=0, atol=0.01)


@pytest.mark.parametrize("length", [2**15, 2**16, 2**17])
def test_speed_and_memory(found: dict[str, Any], tmp_path: Path, length: int) -> None:
    row = measure.speed_and_memory(tmp_path, WIDE, length, "cuda")
    found["speed"].append(row)
    assert row["memory_gb"] < 1.15 * row["planned_memory_gb"]
