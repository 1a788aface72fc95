"""ProLong's workflow: documents of packages in MDS shards, two stages, responses alone, and the tables."""

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from selflong.formats import ACCOUNTING, PREDICTIONS, TokenRole, read_parquet, remove
from selflong.sources.conversations.package import PackageConversations
from selflong.sources.conversations.rows import Conversation
from selflong.sources.documents.packages import READERS
from selflong.tokens import Tokenizer
from selflong.training.batches import PackedData
from tests.mds import packed_rows, write_mds
from tests.suites.helmet.small_checkout import NEEDS_HELMET, small_site
from tests.workflow.workspace import REPOSITORY, Workspace, assert_same_weights, kill_and_go_on

RECIPES = REPOSITORY / "tests" / "workflow" / "recipes"
LENGTHS = (512, 1024)
ASKED = "evaluation/needle_grid/prolong/sft/all"
HELMET = {"Recall": "json_kv substring_exact_match", "ICL": "icl_trec_coarse exact_match"}


def conversations(tokenizer: Tokenizer) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of a package's conversations, and which of them are responses."""
    source = PackageConversations(kind="package", reader="chatterbot", licence="BSD-3-Clause")
    chunk = source.chunks(source.input_files([]))[0]
    rows = [row for row in source.read("chat", chunk) if isinstance(row, Conversation)]
    rendered = [tokenizer.render(row.messages) for row in rows]
    responses = (TokenRole.RESPONSE, TokenRole.END)
    return (
        [found.ids.tolist() for found in rendered],
        [np.isin(found.roles, responses).tolist() for found in rendered],
    )


def write_data(folder: Path, tokenizer: Tokenizer) -> None:
    """Packages' documents and conversations as ProLong's rows."""
    for name, count in (("documentation", 30), ("speeches", 6)):
        texts = [row["text"] for row in islice(READERS[name].read(), count)]
        documents = [tokenizer.encode(text)[:4000] for text in texts]
        for length in LENGTHS:
            write_mds(folder / f"{name}-{length}" / "0", packed_rows(documents, length))
    ids, masks = conversations(tokenizer)
    write_mds(folder / "chat-512" / "0", packed_rows(ids, LENGTHS[0], masks))


@pytest.fixture(scope="module")
def trained(
    smollm2_tokenizer: Tokenizer, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("prolong"), "prolong_small", ranks=1)
    write_data(workspace.folder / "data", smollm2_tokenizer)
    shutil.copytree(checkpoint, workspace.folder / "data" / "model")
    workspace.write_site(RECIPES)
    make_tables(workspace)
    return workspace


def test_every_stage_trains_on_its_rows(trained: Workspace) -> None:
    stages = {
        "first/512": (512, (0.4, 0.6)),
        "second/1k": (1024, (0.4, 0.6)),
        "chat/sft": (512, (1.0,)),
    }
    for place, (length, shares) in stages.items():
        folder = trained.results / "mixtures" / place
        data = PackedData(folder / "packed")
        assert set(data.tokens) == {length}
        accounts = read_parquet(folder / "accounting.parquet", ACCOUNTING)
        assert accounts["share"].to_list() == pytest.approx(shares, abs=0.15)
        counted = accounts["loss_tokens"].sum() / accounts["tokens"].sum()
        assert (counted < 0.9) == (place == "chat/sft")


def test_fine_tuning_counts_responses_alone(trained: Workspace) -> None:
    metrics = (trained.results / "models/prolong/sft/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in metrics]
    assert len(steps) == 4
    assert all(0 < step["targets"] < 0.9 * 1024 for step in steps)


def test_what_was_measured_stands_beside_what_is_printed(trained: Workspace) -> None:
    table = (trained.results / "tables" / "beside_prolong_table1.md").read_text()
    assert "published" in table and "100.0" in table
    outcome = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "scripts" / "write_tables.py"), "--check"),
            *("--recipe", str(RECIPES / "prolong_small.yaml"), "--site", "config.yaml"),
        ],
        cwd=trained.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert "cells recomputed, all equal" in outcome.stdout


def copy_of(workspace: Workspace, folder: Path) -> Workspace:
    """A run in a folder of its own, with what its jobs go on from."""
    shutil.copytree(workspace.folder, folder, symlinks=True)
    return Workspace(folder, workspace.recipe, workspace.ranks)


def make_tables(workspace: Workspace) -> str:
    """Make the tables; what Snakemake said."""
    outcome = workspace.run("--", str(workspace.results.relative_to(workspace.folder) / "tables"))
    said = outcome.stdout + outcome.stderr
    assert outcome.returncode == 0, said[-6000:]
    return said


def test_a_stage_that_carries_its_optimizer_on_is_killed_and_ends_alike(
    trained: Workspace, tmp_path: Path
) -> None:
    # What follows it is a function of its bytes: the tables are the same.
    twin = copy_of(trained, tmp_path / "run")
    shutil.rmtree(twin.folder / "work/prolong_small/training/prolong/1k")
    log = "training/prolong/1k.log"
    again = kill_and_go_on(twin, "models/prolong/1k", log, ": 1 of", "train_stage.py")
    assert_same_weights(trained.results / "models/prolong/1k", again, most=0)


@pytest.mark.long
def test_killed_in_each_of_its_jobs_the_run_ends_with_the_same_tables(
    trained: Workspace, tmp_path: Path
) -> None:
    twin = copy_of(trained, tmp_path / "run")
    for path in ("mixtures", "models/prolong", "evaluation", "tables"):
        remove(twin.results / path)
    remove(twin.folder / "work")
    for target, log, marker, job in (
        ("mixtures/first/512/packed", "mixture/first/512.log", "", None),
        ("models/prolong/512", "training/prolong/512.log", ": 1 of", "train_stage.py"),
        ("mixtures/second/1k/packed", "mixture/second/1k.log", "", None),
        ("models/prolong/1k", "training/prolong/1k.log", ": 1 of", "train_stage.py"),
        ("mixtures/chat/sft/packed", "mixture/chat/sft.log", "", None),
        ("models/prolong/sft", "training/prolong/sft.log", ": 1 of", "train_stage.py"),
        (f"{ASKED}.parquet", f"{ASKED}.log", "is served", None),
    ):
        kill_and_go_on(twin, target, log, marker, job)
    make_tables(twin)
    for path in sorted((trained.results / "tables").iterdir()):
        if path.name.startswith(("training", ".")):
            continue  # seconds, and digests of them
        assert path.read_bytes() == (twin.results / "tables" / path.name).read_bytes(), path.name


@pytest.fixture(scope="module")
def asked_by_helmet(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The run in a copy whose recipe also asks HELMET's recall and ICL."""
    folder = tmp_path_factory.mktemp("helmet")
    workspace = copy_of(trained, folder / "run")
    recipe = yaml.safe_load((RECIPES / "prolong_small.yaml").read_text())
    recipe["suites"]["helmet"] = {
        "kind": "helmet",
        "models": ["prolong"],
        "configs": ["configs/recall.yaml", "configs/icl.yaml"],
        "tasks": HELMET,
        "lengths": [LENGTHS[0]],
        "samples": 3,
    }
    recipe["report"]["printed"]["Table4"] = {
        "rows": {"Books/Repos 1:1": "prolong"},
        "columns": {
            title: {"suite": "helmet", "tasks": [title], "lengths": [LENGTHS[0]]}
            for title in HELMET
        },
    }
    (folder / "prolong_small.yaml").write_text(yaml.safe_dump(recipe))
    workspace.write_site(folder)
    helmet = small_site(folder / "checkout").model_dump(mode="json", exclude_defaults=True)
    with (workspace.folder / "config.yaml").open("a") as site:
        yaml.safe_dump({"helmet": helmet}, site)
    return workspace


@NEEDS_HELMET
def test_helmet_asks_what_was_trained_and_stands_beside_what_is_printed(
    asked_by_helmet: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = asked_by_helmet
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(workspace.folder / "datasets"))
    said = make_tables(workspace)
    assert "train_stage" not in said and "build_mixture" not in said
    place = "evaluation/helmet/prolong/sft/all"
    predictions = read_parquet(workspace.results / f"{place}.parquet", PREDICTIONS)
    table = (workspace.results / "tables" / "beside_prolong_table4.md").read_text()
    (row,) = (line for line in table.splitlines() if "measured" in line and "Books" in line)
    means = predictions.group_by("task", maintain_order=True).agg(pl.col("score").mean() * 100)
    assert dict(means.rows()).keys() == HELMET.keys()
    assert all(f" {mean:.1f} [" in row for mean in means["score"])
    written = [
        json.loads(path.read_text())
        for path in (workspace.folder / "work").rglob("helmet/prolong/sft/**/output/*.json")
    ]
    assert sorted(found["args"]["datasets"] for found in written) == [
        "icl_trec_coarse_12shot_balance", "json_kv",
    ]  # fmt: skip
    # Killed while HELMET works, it goes on from what HELMET finished.
    before = (workspace.results / "tables" / "helmet_by_task.md").read_bytes()
    remove(workspace.results / "evaluation/helmet/scores.parquet")
    shutil.rmtree(workspace.folder / "work/prolong_small/evaluation/helmet")
    again = kill_and_go_on(workspace, f"{place}.parquet", f"{place}.log", "HELMET runs")
    assert read_parquet(again, PREDICTIONS).equals(predictions)
    make_tables(workspace)
    assert (workspace.results / "tables" / "helmet_by_task.md").read_bytes() == before
