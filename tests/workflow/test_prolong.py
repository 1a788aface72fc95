"""ProLong's workflow: documents of packages in MDS shards, two stages, responses alone, and the tables."""

import json
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from selflong.formats import ACCOUNTING, TokenRole, read_parquet
from selflong.sources.conversations.package import PackageConversations
from selflong.sources.conversations.rows import Conversation
from selflong.sources.documents.packages import READERS
from selflong.tokens import Tokenizer
from selflong.training.batches import PackedData
from tests.mds import packed_rows, write_mds
from tests.workflow.workspace import REPOSITORY, Workspace

RECIPES = REPOSITORY / "tests" / "workflow" / "recipes"
LENGTHS = (512, 1024)


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
    outcome = workspace.run("--", str(workspace.results.relative_to(workspace.folder) / "tables"))
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-6000:]
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
