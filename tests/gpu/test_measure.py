"""The measurements of `make test-gpu` on a CPU, at sizes that mean nothing: they run and find mistakes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from selflong.placement.shapes import Architecture
from selflong.training.kernels import Block, PlainKernel, Rule, TorchCpuKernel
from tests.gpu.measure import kernel_errors, markdown, speed_and_memory

TINY = Architecture(2, 32, 4, 2, 8, 48, 64, tied=True)


class _Leaking(PlainKernel):
    """A kernel that forgets its window."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, block: Block, rule: Rule
    ) -> tuple[Tensor, Tensor]:
        forgetful = Block(block.query_bounds, block.key_bounds, block.causal)
        return super().forward(q, k, v, forgetful, rule)


def test_a_right_kernel_passes_and_a_wrong_one_does_not() -> None:
    assert max(kernel_errors(TorchCpuKernel(), "cpu", torch.bfloat16, 96, 16).values()) < 0.03
    errors = kernel_errors(_Leaking(), "cpu", torch.float32, 96, 16)
    assert errors["documents"] < 1e-5
    assert errors["windowed documents"] > 0.1


def test_a_stage_is_measured(tmp_path: Path) -> None:
    row = speed_and_memory(tmp_path, TINY, 256, "cpu", steps=2)
    assert row["length"] == 256 and row["seconds"] > 0
    assert 0 < row["model_flops_utilisation"] < 1
    assert 0 < row["planned_memory_gb"] < row["memory_gb"]  # of a process, its libraries included
    head, line, cells = markdown([row]).splitlines()
    assert head.count("|") == line.count("|") == cells.count("|") == len(row) + 1


def test_without_a_gpu_the_tests_that_need_one_say_that_they_are_skipped() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    from tests.gpu import test_gpu

    assert test_gpu.pytestmark[1].args[0] is True
