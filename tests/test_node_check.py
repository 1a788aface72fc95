"""The check of a node."""

import subprocess
import sys
from pathlib import Path

import pytest

from selflong.node_check import Finding, check_node, check_offload, screen
from selflong.recipe.site import JOB_KINDS, TrainingSite
from selflong.training.ranks import on_ranks

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", JOB_KINDS)
def test_every_kind_of_job_is_checked(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    findings = list(check_node(kind, 0, tmp_path / "not" / "yet", "HF_TOKEN"))  # type: ignore[arg-type]
    subjects = [finding.subject for finding in findings]
    assert {"node", "python", "disk", "shared memory", "hub token"} <= set(subjects)
    assert all(finding.text for finding in findings)
    assert "hf_secret" not in screen(findings)


def test_what_is_missing_stands_last() -> None:
    rows = [Finding("GPUs", "missing", "0 of 8"), Finding("python", "ok", "3.11")]
    assert screen(rows).splitlines()[-1].startswith("missing GPUs")


def test_a_node_without_what_config_asks_for_fails(tmp_path: Path) -> None:
    site = tmp_path / "config.yaml"
    text = (ROOT / "config.yaml").read_text()
    site.write_text(text + "\nresources: {training: {gpus: 64}}\n")
    command = [sys.executable, "-m", "selflong.node_check", "training", "--site", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stderr


def _offload(linked: bool, section: TrainingSite) -> list[Finding]:
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from torch.utils import cpp_extension

    AsyncIOBuilder.has_function = lambda *_, **__: linked
    cpp_extension.CUDA_HOME = None
    return list(check_offload(section))


def test_a_node_that_cannot_hold_state_on_its_disk_is_named(tmp_path: Path) -> None:
    section = TrainingSite(ranks_per_node=1, offload_nvme=tmp_path)
    [[library, disk]] = on_ranks(1, _offload, False, section)
    assert library.verdict == "missing" and "install libaio-dev" in library.text
    assert "\n" not in library.text
    assert disk.verdict == "ok" and "GB free" in disk.text
    assert not list(tmp_path.iterdir())

    elsewhere = section.model_copy(update={"offload_nvme": tmp_path / "not", "device": "cuda"})
    [[library, disk]] = on_ranks(1, _offload, True, elsewhere)
    assert disk.verdict == "missing" and f"{tmp_path / 'not'} is no folder of node" in disk.text
    assert library.verdict == "missing" and "there is no CUDA toolkit" in library.text
    assert not list(check_offload(TrainingSite(ranks_per_node=1)))
