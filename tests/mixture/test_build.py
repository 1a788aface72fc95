"""The whole mixture: accounting, stages, contamination, resuming, processes, the paper's shares."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from selflong.formats import (
    CONTAMINATION,
    EVALUATION_TEXTS,
    SEQUENCES,
    PackedFiles,
    TokenRole,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer
from selflong.training.batches import PackedData
from tests.mixture.jobs import (
    FOLDER,
    LONG,
    RECIPES,
    build,
    check_packed,
    message_of,
    recipe_with,
    write_chats,
    write_samples,
)

MDS = Path(__file__).parents[1] / "sources" / "conversations" / "mds"
QUESTION = "In what country is Normandy located, and who gave their name to it long ago? France"


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.parquet"
    rows = [
        {"suite": "ruler", "name": "qa_1/question", "text": QUESTION},
        {
            "suite": "needle_grid",
            "name": "needle",
            "text": "another suite that is not named here at all",
        },
    ]
    write_parquet(table(rows, EVALUATION_TEXTS), path, EVALUATION_TEXTS)
    return path


def test_every_source_is_accounted_for(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = recipe_with(
        {
            "long": {"source": LONG, "epochs": 1},
            "chats": {"source": FOLDER, "epochs": 2, "minimum_turns": 1},
            "packaged": {
                "source": {"kind": "package", "reader": "chatterbot", "licence": "BSD-3-Clause"},
                "tokens": 3000,
            },
            "books": {
                "source": {
                    "kind": "mds", "repository": "a/b", "revision": "main", "files": "book-1024/**",
                    "tokenizer": "base", "rows": 24, "tokens": 5000,
                },
                "epochs": 1,
            },
        }
    )  # fmt: skip
    chats = write_chats(tmp_path / "chats.jsonl", 30, seed=1)
    lines = chats.read_text().splitlines()
    spoilt = [
        {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "user", "content": "no answer"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "b"}]},
        json.loads(lines[0].upper().replace("MESSAGES", "messages").replace("ROLE", "role")
                   .replace("CONTENT", "content").replace("USER", "user").replace("ASSISTANT", "assistant")),
    ]  # fmt: skip
    chats.write_text("\n".join([*lines, *map(json.dumps, spoilt)]) + "\n")
    long = write_samples(tmp_path / "long.parquet", "long_input", 12, 400, seed=2)
    files = {"long": [long], "chats": [chats], "packaged": [], "books": [MDS]}
    accounts = build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "out")
    rows = {row["source"]: row for row in accounts.iter_rows(named=True)}
    for row in rows.values():
        assert row["rows_in"] == row["kept"] + sum(drop["rows"] for drop in row["dropped"])
        assert sum(entry["samples"] for entry in row["lengths"]) == row["samples"]
    dropped = {drop["reason"]: drop["rows"] for drop in rows["chats"]["dropped"]}
    assert dropped == {
        "contaminated": 1, "no_response": 1, "unknown_role": 1, "empty_message": 1, "duplicate": 1,
    }  # fmt: skip
    assert rows["chats"]["samples"] == 2 * rows["chats"]["kept"] == 60
    assert rows["long"]["kept"] == 12
    assert rows["books"]["kept"] + sum(d["rows"] for d in rows["books"]["dropped"]) == 48
    assert abs(rows["packaged"]["tokens"] - 3000) < 200
    assert accounts["share"].sum() == pytest.approx(1)
    check_packed(tmp_path / "out" / "packed", accounts, 4096)
    hits = read_parquet(tmp_path / "out" / "contamination.parquet", CONTAMINATION)
    hit = hits.filter(pl.col("source") == "chats").row(0, named=True)
    assert (hit["suite"], hit["name"], hit["removed"]) == ("ruler", "qa_1/question", True)
    assert "normandy" in hit["excerpt"]


def test_packed_tokens_are_those_of_the_conversation(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = recipe_with({"chats": {"source": FOLDER, "epochs": 1}})
    chats = write_chats(tmp_path / "chats.jsonl", 20, seed=4)
    build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "out")
    data = PackedData(tmp_path / "out" / "packed")
    seen = set()
    records = [json.loads(line)["messages"] for line in chats.read_text().splitlines()]
    for number in range(len(data)):
        for position, sample_id in enumerate(data.sample_ids[number]):
            start, end = data.bounds[number][position : position + 2]
            span = slice(data.offsets[number] + start, data.offsets[number] + end)
            turns = records[int(sample_id.rpartition(":")[2])]
            rendered = smollm2_tokenizer.render(
                [
                    message_of(
                        t["role"], ("prompt" if t["role"] == "user" else "response", t["content"])
                    )
                    for t in turns
                ]
            )
            assert data.input_ids[span].tolist() == rendered.ids.tolist()
            assert data.roles[span].tolist() == rendered.roles.tolist()
            assert data.roles[span].tolist().count(TokenRole.END) == 1
            seen.add(sample_id)
    assert len(seen) == 20


def test_one_stage_trains_each_sample_once(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = recipe_with({"chats": {"source": FOLDER, "epochs": 1}}, assignment="one_stage")
    chats = write_chats(tmp_path / "chats.jsonl", 90, seed=5)
    seen: list[str] = []
    for stage in ("1k", "2k", "4k"):
        out = tmp_path / stage
        build(
            recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, out, stage, tmp_path / "work"
        )
        own = read_parquet(out / "packed" / PackedFiles.SEQUENCES, SEQUENCES)
        ids = own["sample_ids"].explode().to_list()
        assert 15 <= len(ids) <= 45
        seen += ids
    assert len(seen) == len(set(seen)) == 90


def test_stages_that_are_built_at_once_share_what_they_prepare(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = recipe_with({"chats": {"source": FOLDER, "epochs": 1}})
    chats = write_chats(tmp_path / "chats.jsonl", 300, seed=5)

    def build_stage(stage: str) -> int:
        out, work = tmp_path / stage, tmp_path / "work"
        accounts = build(
            recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, out, stage, work
        )
        return int(accounts["samples"].sum())

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(build_stage, ("1k", "2k", "4k"))) == [300] * 3


def test_longer_than_stage_is_counted_or_refused_never_cut(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    entries = {"long": {"source": LONG, "epochs": 1}}
    short = write_samples(tmp_path / "short.parquet", "long_input", 3, 100, seed=6)
    long = write_samples(tmp_path / "long.parquet", "long_input", 2, 900, seed=7)
    files = {"long": [short, long]}
    accounts = build(
        recipe_with(entries), files, smollm2_tokenizer, evaluation, tmp_path / "a", "1k"
    )
    (drop,) = accounts["dropped"].to_list()[0]
    assert (drop["reason"], drop["rows"], accounts["kept"].item()) == ("longer_than_stage", 2, 3)
    with pytest.raises(UserError, match="2 samples are longer"):
        refusing = recipe_with(entries, longer_than_stage="refuse")
        build(refusing, files, smollm2_tokenizer, evaluation, tmp_path / "b", "1k")
    with pytest.raises(UserError, match=r"leaves no sample.*longer_than_stage"):
        build(
            recipe_with(entries),
            {"long": [long]},
            smollm2_tokenizer,
            evaluation,
            tmp_path / "c",
            "1k",
        )


def test_the_source_named_first_keeps_its_row(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    first = write_chats(tmp_path / "first.jsonl", 40, seed=8)
    second = tmp_path / "second.jsonl"
    near = first.read_text().replace("w1 ", "other ")
    second.write_text(near + write_chats(tmp_path / "more.jsonl", 10, seed=9).read_text())
    files = {"first": [first], "second": [second]}
    entry = {"source": FOLDER, "epochs": 1}
    recipe = recipe_with({"first": entry, "second": entry})
    accounts = build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "out")
    assert accounts["kept"].to_list() == [40, 10]


def _same(first: Path, second: Path) -> bool:
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    return all(filecmp.cmp(first / name, second / name, shallow=False) for name in names)


@pytest.fixture
def many(tmp_path: Path) -> tuple[Recipe, dict[str, list[Path]]]:
    entry = {"source": FOLDER, "epochs": 1}
    files = {
        "first": [write_chats(tmp_path / "a.jsonl", 3000, seed=20)],
        "second": [write_chats(tmp_path / "b.jsonl", 3000, seed=21)],
    }
    return recipe_with({"first": entry, "second": entry}), files


def test_same_bytes_for_any_number_of_processes_and_after_a_kill(
    smollm2_tokenizer: Tokenizer,
    smollm2_tokenizer_folder: Path,
    evaluation: Path,
    tmp_path: Path,
    many: tuple[Recipe, dict[str, list[Path]]],
) -> None:
    recipe, files = many
    build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "one")
    build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "two", processes=2)
    shutil.rmtree(tmp_path / "two" / "work")
    shutil.move(tmp_path / "one" / "work", tmp_path / "work_of_one")
    assert _same(tmp_path / "one", tmp_path / "two")

    out = tmp_path / "killed"
    recipe_file = tmp_path / "recipe.json"
    recipe_file.write_text(recipe.model_dump_json())
    code = f"""
import json, pathlib
from selflong.mixture.build import build_mixture
from selflong.recipe.recipe import Recipe
from selflong.tokens import load_tokenizer
P = pathlib.Path
recipe = Recipe.model_validate_json(P({str(recipe_file)!r}).read_text())
files = {{k: [P(p) for p in v] for k, v in { ({k: list(map(str, v)) for k, v in files.items()})!r}.items()}}
out = P({str(out)!r})
build_mixture(
    recipe=recipe, mixture_name="full", stage_name="4k", sample_files=files,
    tokenizer=load_tokenizer(P({str(smollm2_tokenizer_folder)!r})),
    evaluation_texts=P({str(evaluation)!r}), output=out / "packed",
    accounting=out / "accounting.parquet", contamination=out / "contamination.parquet",
    work=out / "work",
)
"""
    environment = os.environ | {"PYTHONPATH": str(RECIPES.parent)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("work/*/0/rows.parquet")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (out / "packed").exists()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("work/*/*/rows.parquet")}
    build(recipe, files, smollm2_tokenizer, evaluation, out)
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    shutil.rmtree(out / "work")
    assert _same(tmp_path / "one", out)


def test_the_papers_shares_at_one_hundredth(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    """Sources with a hundredth of the published rows; the weights of tokens are met within half a percent."""
    weights = {"tulu": 120_000, "infinity": 300_000}
    entries: dict[str, Any] = {"long": {"source": LONG, "epochs": 1}}
    files = {"long": [write_samples(tmp_path / "l.parquet", "long_input", 690, 180, seed=30)]}
    for name, rows in (("tulu", 3261), ("infinity", 8000)):
        column = "conversations" if name == "infinity" else "messages"
        entries[name] = {"source": FOLDER | {"column": column}, "tokens": weights[name]}
        files[name] = [write_chats(tmp_path / f"{name}.jsonl", rows, len(name), column)]
    accounts = build(recipe_with(entries), files, smollm2_tokenizer, evaluation, tmp_path / "out")
    tokens = dict(zip(accounts["source"], accounts["tokens"], strict=True))
    total = tokens["long"] + sum(weights.values())
    for name, wanted in weights.items():
        assert abs(tokens[name] - wanted) <= 0.005 * wanted
        share = accounts.filter(pl.col("source") == name)["share"].item()
        assert abs(share - wanted / total) < 0.005
    check_packed(tmp_path / "out" / "packed", accounts, 4096)


def test_mistakes_are_sentences(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = recipe_with({"chats": {"source": FOLDER, "epochs": 1}})
    chats = write_chats(tmp_path / "chats.jsonl", 3, seed=5)
    with pytest.raises(UserError, match="no stage 9k"):
        build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o", "9k")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file matches"):
        empty = {"chats": [tmp_path / "empty"]}
        build(recipe, empty, smollm2_tokenizer, evaluation, tmp_path / "o")
    wrong = recipe_with({"chats": {"source": FOLDER | {"column": "conversations"}, "epochs": 1}})
    with pytest.raises(UserError, match="'conversations' is missing"):
        build(wrong, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o")
    chats.write_text('{"messages": ')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o")
