"""From a clone to tables and figures; after a kill; after a change; after a mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from selflong.formats import SAMPLES, read_parquet
from tests.workflow.workspace import REPOSITORY, Workspace, rules_to_run

RECIPE = REPOSITORY / "tests" / "workflow" / "recipes" / "small.yaml"


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


@pytest.mark.parametrize("folder", ["results", "work"])
def test_a_second_run_in_the_same_folder_is_refused(finished: Workspace, folder: str) -> None:
    from selflong.job import sole_owner

    with sole_owner(finished.folder / folder / finished.recipe):
        outcome = finished.run("--forcerun", "report")
    assert outcome.returncode != 0
    said = outcome.stdout + outcome.stderr
    assert f"Error: {folder}/{finished.recipe} is in use by process" in said


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("length: 512", "lenght: 512", "did you mean 'length'?"),
        ("shards: 2", "shards: two", "corpora.documents.shards"),
        ("mixture: full", "mixture: fall", "'fall' does not exist; did you mean 'full'?"),
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


def test_a_key_that_is_not_set_is_said_before_the_first_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKFLOW_TEST_KEY", raising=False)
    workspace = Workspace(tmp_path)
    workspace.write_site(RECIPE.parent)
    site = yaml.safe_load((tmp_path / "config.yaml").read_text())
    remote = {"kind": "remote", "url": "https://h.example", "api_key_variable": "WORKFLOW_TEST_KEY"}
    site["generators"] = {"smollm2": remote}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(site))
    sentence = "config.yaml: generators.smollm2.api_key_variable: the environment variable"
    outcome = workspace.run()
    printed = outcome.stdout + outcome.stderr
    assert outcome.returncode != 0
    assert sentence in printed
    assert "Traceback" not in printed
    assert not list(workspace.folder.glob("results/small/*/"))


@pytest.mark.parametrize(("recipe", "stages"), [("selflong", 21), ("prolong", 69)])
def test_a_papers_recipe_plans_without_a_download(recipe: str, stages: int) -> None:
    workspace = Workspace(REPOSITORY)
    jobs = rules_to_run(workspace, "--config", f"recipe={recipe}", "--forceall")
    assert jobs["train_stage"] == stages
    assert sum(jobs.values()) < 3000
