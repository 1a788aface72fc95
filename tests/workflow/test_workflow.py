"""From a clone to tables and figures; after a kill; after a change; after a mistake."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file

from selflong.formats import PREDICTIONS, SAMPLES, read_parquet
from tests.workflow.workspace import REPOSITORY, Workspace, wait_until_none_lives

RECIPE = REPOSITORY / "tests" / "workflow" / "recipes" / "small.yaml"


def rules_to_run(workspace: Workspace, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    outcome = workspace.run("--dry-run", *arguments)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    lines = re.findall(r"^(\w+) +(\d+)$", outcome.stdout + outcome.stderr, flags=re.MULTILINE)
    return {rule: int(jobs) for rule, jobs in lines if rule not in ("total", "all")}


def test_one_command_makes_tables_figures_and_report(finished: Workspace) -> None:
    results = finished.results
    page = (results / "report" / "report.html").read_text()
    assert "http-equiv" not in page or "refresh" not in page
    assert not re.search(r'<(?:script|img|link)[^>]+(?:src|href)="https?://', page)
    for suffix in ("md", "csv", "tex"):
        assert (results / "tables" / f"ruler_by_length.{suffix}").stat().st_size > 0
    for suffix in ("png", "pdf", "svg"):
        assert list((results / "figures").glob(f"*.{suffix}"))
    assert list((results / "report" / "workflow").glob("*.png"))
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["recipe"]["name"] == "small"


def test_a_finished_run_has_nothing_to_do(finished: Workspace) -> None:
    outcome = finished.run()
    assert outcome.returncode == 0
    assert "Nothing to be done" in outcome.stdout + outcome.stderr


def test_no_process_is_left(finished: Workspace) -> None:
    assert finished.living_jobs() == []


def test_every_row_carries_its_provenance(finished: Workspace) -> None:
    samples = pl.concat(
        [
            read_parquet(path, SAMPLES)
            for kind in ("long_input", "long_output")
            for path in sorted((finished.results / "synthesis/smollm2" / kind).glob("*.parquet"))
        ]
    )
    assert not samples.is_empty()
    provenance = samples.unnest("provenance")
    for column in ("recipe_digest", "prompt", "prompt_sha256", "model", "server", "seed"):
        assert provenance[column].null_count() == 0
    assert (provenance["request_keys"].list.len() > 0).all()
    assert (samples["document_ids"].list.len() > 0).all()
    assert (samples["tokens"] > 0).all()


def test_every_number_is_recomputed_from_the_predictions(finished: Workspace) -> None:
    outcome = subprocess.run(
        [
            sys.executable,
            str(REPOSITORY / "scripts" / "write_tables.py"),
            "--check",
            *("--recipe", str(RECIPE), "--site", "config.yaml"),
        ],
        cwd=finished.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "cells recomputed, all equal" in outcome.stdout


def test_checkpoints_carry_their_own_rope_base_and_length(finished: Workspace) -> None:
    def rope(checkpoint: str) -> tuple[float, int]:
        config = json.loads((finished.results / "models" / checkpoint / "config.json").read_text())
        return config["rope_parameters"]["rope_theta"], config["max_position_embeddings"]

    assert rope("base/initial") == (1.0e5, 8192)
    assert rope("full/half") == (4.0e5, 8192)
    assert rope("full/1k") == (1.6e6, 8192)
    assert rope("rope_only/1k") == (1.6e6, 8192)


def changed(finished: Workspace, folder: Path, change: str, value: object) -> None:
    """Point the site at a copy of the recipe with one setting changed, named by its path."""
    recipe = yaml.safe_load(RECIPE.read_text())
    *place, last = change.split(".")
    part = recipe
    for step in place:
        part = part[int(step)] if isinstance(part, list) else part[step]
    part[last] = value
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    finished.write_site(folder)


@pytest.mark.parametrize(
    ("change", "value", "expected"),
    [
        ("suites.needle_grid.seed", 8, {"evaluate": 2, "score": 1}),
        ("models.full.stages.1.tokens", 3072, {"train_stage": 1, "evaluate": 2}),
        ("models.full.label", "another label", {"tables": 1, "figures": 1}),
    ],
)
def test_a_change_runs_again_only_what_depends_on_it(
    finished: Workspace, tmp_path: Path, change: str, value: object, expected: dict[str, int]
) -> None:
    changed(finished, tmp_path, change, value)
    try:
        rerun = rules_to_run(finished)
    finally:
        finished.write_site(RECIPE.parent)
    assert expected.items() <= rerun.items()
    allowed = {"train_stage", "evaluate", "score", "tables", "figures", "report", "manifest"}
    assert set(rerun) <= allowed


def test_killed_in_each_stage_it_goes_on_and_ends_the_same(
    finished: Workspace, tmp_path: Path
) -> None:
    """With the same request cache, data and tables are those of an unbroken run, weights within 1e-5."""
    workspace = Workspace(tmp_path)
    workspace.write_site(RECIPE.parent)
    shutil.copytree(
        finished.folder / "work" / "small" / "synthesis", tmp_path / "work/small/synthesis"
    )
    logs = workspace.results / "logs"
    stages = [
        (logs / "corpus/documents/scan/0.log", ""),
        (logs / "retrieval/minilm/documents/embed/0.log", ""),
        (logs / "synthesis/smollm2/long_input/0.log", ""),
        (logs / "training/full/half.log", "step 1"),
        (logs / "evaluation/ruler/full/1k/all.log", ""),
    ]
    for log, marker in stages:
        assert workspace.run_and_kill(log, marker, timeout=400)
        wait_until_none_lives(workspace)
        assert not list(workspace.results.rglob("*.partial")) or log.exists()
    outcome = workspace.run()
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-6000:]
    wait_until_none_lives(workspace)
    assert_same_data(finished.results, workspace.results)
    assert_same_weights(finished.results, workspace.results)


def assert_same_data(first: Path, second: Path) -> None:
    folders = ("corpus", "synthesis", "mixtures")
    for path in sorted(p for folder in folders for p in (first / folder).rglob("*.parquet")):
        twin = second / path.relative_to(first)
        assert path.read_bytes() == twin.read_bytes(), path
    for name in ("ruler", "needle_grid"):
        for path in (first / "evaluation" / name).rglob("all.parquet"):
            twin = second / path.relative_to(first)
            columns = ["task", "length", "index", "prompt", "answers"]
            here, there = read_parquet(path, PREDICTIONS), read_parquet(twin, PREDICTIONS)
            assert here.select(columns).equals(there.select(columns))


def assert_same_weights(first: Path, second: Path) -> None:
    for checkpoint in ("full/half", "full/1k"):
        here = load_weights(first / "models" / checkpoint)
        there = load_weights(second / "models" / checkpoint)
        assert here.keys() == there.keys()
        for name, weight in here.items():
            np.testing.assert_allclose(there[name], weight, rtol=0, atol=1e-5, err_msg=name)


def load_weights(folder: Path) -> dict[str, np.ndarray]:
    weights: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= {name: np.asarray(w, dtype=np.float32) for name, w in load_file(path).items()}
    return weights


def test_a_second_run_in_the_same_folder_is_refused(finished: Workspace) -> None:
    from selflong.job import sole_owner

    with sole_owner(finished.results):
        outcome = finished.run("--forcerun", "report")
    assert outcome.returncode != 0
    assert "is in use by process" in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("length: 512", "lenght: 512", "did you mean 'length'?"),
        ("shards: 2", "shards: two", "corpora.documents.shards"),
        ("mixture: full", "mixture: fall", "'fall' does not exist; there are full"),
        ("seed: 5", "seed: 5\nseed: 6", "stands twice"),
        ("tasks: [niah_single_1, fwe]", "tasks: [niah_single_9]", "suites.ruler"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "small.yaml").write_text(RECIPE.read_text().replace(old, new, 1))
    workspace.write_site(tmp_path)
    outcome = workspace.run("--dry-run")
    printed = outcome.stdout + outcome.stderr
    assert outcome.returncode != 0
    assert sentence in printed
    assert "small.yaml" in printed
    assert "Traceback" not in printed


def test_the_papers_recipe_plans_without_a_download() -> None:
    workspace = Workspace(REPOSITORY)
    jobs = rules_to_run(workspace, "--config", "recipe=selflong", "--forceall")
    assert jobs["train_stage"] >= 9
    assert sum(jobs.values()) < 3000
