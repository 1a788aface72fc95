"""The check of a node."""

import subprocess
import sys
from pathlib import Path

import pytest

from selflong.node_check import Finding, check_node, screen
from selflong.recipe.site import JOB_KINDS

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
