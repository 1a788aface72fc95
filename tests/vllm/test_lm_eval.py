"""lm-evaluation-harness asks through vLLM's build for CPUs: `make test-vllm`."""

from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from selflong.recipe.site import Serving
from selflong.suites.lm_eval import harness
from selflong.suites.lm_eval.section import LmEval
from tests.suites.jobs import SERVING as LOOPBACK
from tests.suites.jobs import job_of
from tests.suites.lm_eval.test_harness import suite_of, tasks
from tests.vllm.test_vllm import SERVING as VLLM

__all__ = ["tasks"]  # a fixture

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]


def asked(
    suite: LmEval, model: Path, serving: Serving, work: Path, patch: pytest.MonkeyPatch
) -> pl.DataFrame:
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_DATASETS_CACHE", str(work / "datasets"))
    work.mkdir()
    return harness.run(suite, job_of("sums", suite, model, work, serving=serving), work)


def test_the_harness_says_the_same_of_vllm_and_of_transformers(
    model: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(
        tasks={"Sums": {"name": "sums", "shots": 1}},
        lengths=[512],
        task_files=tasks,
        system_prompt="Add.",
    )
    found = asked(suite, model, VLLM, tmp_path / "vllm", monkeypatch)
    other = asked(suite, model, LOOPBACK, tmp_path / "transformers", monkeypatch)
    assert found.height == 8
    said = ["task", "index", "prompt", "answers", "prediction", "score"]
    assert found.select(said).equals(other.select(said))
