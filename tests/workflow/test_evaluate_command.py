"""`selflong evaluate`: from a folder with a model to its scores, and one model more."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl

from tests.workflow.workspace import REPOSITORY

CATALOGUE = """\
name: small
description: One small suite.
seed: 1
models:
  m: {label: m, weights: {kind: folder, path: /none}}
suites:
  needle_grid:
    {kind: needle_grid, models: [m], lengths: [300, 512, 4096], depths: 2, seed: 7, job_per_length: true}
"""
SITE = """\
evaluation: {kind: transformers, threads: 1, precision: float32}
training: {ranks_per_node: 1}
"""


def evaluate(folder: Path, model: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selflong.cli", "evaluate", str(model)]
    command += ["--suites", "needle_grid", "--catalogue", "small.yaml", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def jobs(outcome: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Rule -> jobs of a dry run."""
    rows = re.findall(r"^(\w+) +(\d+)$", outcome.stdout + outcome.stderr, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows}


def test_one_command_and_one_model_more(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"recipe: none\n{SITE}")
    (tmp_path / "small.yaml").write_text(CATALOGUE)
    profile = ("--workflow-profile", str(REPOSITORY / "profiles" / "local"), "--cores", "2")

    planned = evaluate(tmp_path, checkpoint, "--lengths", "300", "--plan")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.startswith("needle_grid of model: 2 prompts of 536 tokens together")
    assert not (tmp_path / "evaluations").exists()
    too_long = evaluate(tmp_path, checkpoint, "--lengths", "4k")
    assert too_long.returncode == 2
    assert (
        too_long.stderr
        == "Error: --lengths: the model reads 2,048 tokens, not 4,096; ask for fewer\n"
    )

    scores = tmp_path / "results/evaluation/evaluation/needle_grid/scores.parquet"
    target = str(scores.relative_to(tmp_path))
    done = evaluate(tmp_path, checkpoint, "--lengths", "300,512", *profile, "--", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(pl.read_parquet(scores)["length"]) == {300, 512}

    second = tmp_path / "second"
    shutil.copytree(checkpoint, second)
    more = evaluate(tmp_path, second, "--lengths", "512", *profile, "--dry-run", "--", target)
    assert more.returncode == 0, more.stdout + more.stderr
    assert jobs(more) == {"load_model": 1, "evaluate": 1, "score": 1, "total": 3}
