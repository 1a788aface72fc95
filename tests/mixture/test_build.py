"""The whole mixture: accounting, stages, contamination, resuming, processes, the paper's shares."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from selflong.formats import (
    ACCOUNTING,
    CONTAMINATION,
    EVALUATION_TEXTS,
    SAMPLES,
    SEQUENCES,
    PackedFiles,
    TokenRole,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.mixture.build import build_mixture
from selflong.recipe.loading import parse
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer
from selflong.training.batches import PackedData
from selflong.training.loss import target_mask

RECIPES = Path(__file__).parents[2] / "recipes"
MDS = Path(__file__).parents[1] / "sources" / "conversations" / "mds"
QUESTION = "In what country is Normandy located, and who gave their name to it long ago? France"


def _recipe(entries: dict[str, Any], **settings: Any) -> Recipe:
    content = yaml.safe_load((RECIPES / "laptop.yaml").read_text())
    content["mixtures"]["full"] |= {"entries": entries, **settings}
    for stage, length in zip(content["models"]["full"]["stages"], (1024, 2048, 4096), strict=True):
        stage |= {
            "name": f"{length // 1024}k", "length": length, "tokens": length,
            "global_batch_tokens": length,
        }  # fmt: skip
    return parse(Recipe, content, "laptop.yaml")


def _message(role: str, *parts: tuple[str, str]) -> dict[str, Any]:
    return {"role": role, "parts": [{"kind": kind, "text": text} for kind, text in parts]}


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(f"w{number}" for number in rng.integers(0, 5000, count))


def _write_samples(path: Path, kind: str, count: int, words: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        question = _words(rng, 12)
        messages = [
            _message("user", ("prompt", question), ("document", _words(rng, words))),
            _message("assistant", ("response", _words(rng, 20))),
        ]
        rows.append({"sample_id": f"{kind}-{number}", "kind": kind, "messages": messages})
    write_parquet(table(rows, SAMPLES), path, SAMPLES)
    return path


def _write_chats(path: Path, count: int, seed: int, column: str = "messages") -> Path:
    rng = np.random.default_rng(seed)
    role, text = ("role", "content") if column == "messages" else ("from", "value")
    rows = [
        {
            column: [
                {role: "user", text: _words(rng, int(rng.integers(5, 40)))},
                {role: "assistant" if column == "messages" else "gpt", text: _words(rng, 30)},
            ]
        }
        for _ in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FOLDER = {"kind": "folder", "path": "unused", "files": "*.jsonl"}
LONG = {"kind": "synthesised", "generator": "smollm2", "samples": "long_input"}


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


def _build(
    recipe: Recipe,
    files: dict[str, list[Path]],
    tokenizer: Tokenizer,
    evaluation: Path,
    out: Path,
    stage: str = "4k",
    work: Path | None = None,
    processes: int = 1,
) -> pl.DataFrame:
    build_mixture(
        recipe=recipe,
        mixture_name="full",
        stage_name=stage,
        sample_files=files,
        tokenizer=tokenizer,
        evaluation_texts=evaluation,
        output=out / "packed",
        accounting=out / "accounting.parquet",
        contamination=out / "contamination.parquet",
        work=work or out / "work",
        processes=processes,
    )
    return read_parquet(out / "accounting.parquet", ACCOUNTING)


def _check_packed(folder: Path, accounts: pl.DataFrame, length: int) -> None:
    """Counts of the table equal what the trainer reads, for every kind."""
    sequences = read_parquet(folder / PackedFiles.SEQUENCES, SEQUENCES)
    assert (sequences["tokens"] <= length).all()
    data = PackedData(folder)
    assert len(data.input_ids) == accounts["tokens"].sum() == sum(data.tokens)
    targets: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for number in range(len(data)):
        span = slice(data.offsets[number], data.offsets[number] + data.tokens[number])
        bounds, kinds = data.bounds[number], data.kinds[number]
        mask = target_mask(data.roles[span], 0, bounds, kinds, mask_prompt=False)
        for start, end, kind in zip(bounds[:-1], bounds[1:], kinds, strict=True):
            targets[kind] = targets.get(kind, 0) + int(mask[start:end].sum())
            tokens[kind] = tokens.get(kind, 0) + end - start
    by_kind = accounts.filter(pl.col("samples") > 0).group_by("kind").agg(
        pl.col("tokens").sum(), pl.col("loss_tokens").sum()
    )  # fmt: skip
    assert {kind: (count, loss) for kind, count, loss in by_kind.iter_rows()} == {
        kind: (tokens[kind], targets[kind]) for kind in tokens
    }


def test_every_source_is_accounted_for(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = _recipe(
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
    chats = _write_chats(tmp_path / "chats.jsonl", 30, seed=1)
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
    long = _write_samples(tmp_path / "long.parquet", "long_input", 12, 400, seed=2)
    files = {"long": [long], "chats": [chats], "packaged": [], "books": [MDS]}
    accounts = _build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "out")
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
    _check_packed(tmp_path / "out" / "packed", accounts, 4096)
    hits = read_parquet(tmp_path / "out" / "contamination.parquet", CONTAMINATION)
    hit = hits.filter(pl.col("source") == "chats").row(0, named=True)
    assert (hit["suite"], hit["name"], hit["removed"]) == ("ruler", "qa_1/question", True)
    assert "normandy" in hit["excerpt"]


def test_packed_tokens_are_those_of_the_conversation(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = _recipe({"chats": {"source": FOLDER, "epochs": 1}})
    chats = _write_chats(tmp_path / "chats.jsonl", 20, seed=4)
    _build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "out")
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
                    _message(
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
    recipe = _recipe({"chats": {"source": FOLDER, "epochs": 1}}, assignment="one_stage")
    chats = _write_chats(tmp_path / "chats.jsonl", 90, seed=5)
    seen: list[str] = []
    for stage in ("1k", "2k", "4k"):
        out = tmp_path / stage
        _build(
            recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, out, stage, tmp_path / "work"
        )
        own = read_parquet(out / "packed" / PackedFiles.SEQUENCES, SEQUENCES)
        ids = own["sample_ids"].explode().to_list()
        assert 15 <= len(ids) <= 45
        seen += ids
    assert len(seen) == len(set(seen)) == 90


def test_longer_than_stage_is_counted_or_refused_never_cut(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    entries = {"long": {"source": LONG, "epochs": 1}}
    short = _write_samples(tmp_path / "short.parquet", "long_input", 3, 100, seed=6)
    long = _write_samples(tmp_path / "long.parquet", "long_input", 2, 900, seed=7)
    files = {"long": [short, long]}
    accounts = _build(_recipe(entries), files, smollm2_tokenizer, evaluation, tmp_path / "a", "1k")
    (drop,) = accounts["dropped"].to_list()[0]
    assert (drop["reason"], drop["rows"], accounts["kept"].item()) == ("longer_than_stage", 2, 3)
    with pytest.raises(UserError, match="2 samples are longer"):
        refusing = _recipe(entries, longer_than_stage="refuse")
        _build(refusing, files, smollm2_tokenizer, evaluation, tmp_path / "b", "1k")
    with pytest.raises(UserError, match=r"leaves no sample.*longer_than_stage"):
        _build(
            _recipe(entries), {"long": [long]}, smollm2_tokenizer, evaluation, tmp_path / "c", "1k"
        )


def test_the_source_named_first_keeps_its_row(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    first = _write_chats(tmp_path / "first.jsonl", 40, seed=8)
    second = tmp_path / "second.jsonl"
    near = first.read_text().replace("w1 ", "other ")
    second.write_text(near + _write_chats(tmp_path / "more.jsonl", 10, seed=9).read_text())
    files = {"first": [first], "second": [second]}
    entry = {"source": FOLDER, "epochs": 1}
    recipe = _recipe({"first": entry, "second": entry})
    accounts = _build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "out")
    assert accounts["kept"].to_list() == [40, 10]


def _same(first: Path, second: Path) -> bool:
    names = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    return all(filecmp.cmp(first / name, second / name, shallow=False) for name in names)


@pytest.fixture
def many(tmp_path: Path) -> tuple[Recipe, dict[str, list[Path]]]:
    entry = {"source": FOLDER, "epochs": 1}
    files = {
        "first": [_write_chats(tmp_path / "a.jsonl", 3000, seed=20)],
        "second": [_write_chats(tmp_path / "b.jsonl", 3000, seed=21)],
    }
    return _recipe({"first": entry, "second": entry}), files


def test_same_bytes_for_any_number_of_processes_and_after_a_kill(
    smollm2_tokenizer: Tokenizer,
    smollm2_tokenizer_folder: Path,
    evaluation: Path,
    tmp_path: Path,
    many: tuple[Recipe, dict[str, list[Path]]],
) -> None:
    recipe, files = many
    _build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "one")
    _build(recipe, files, smollm2_tokenizer, evaluation, tmp_path / "two", processes=2)
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
    _build(recipe, files, smollm2_tokenizer, evaluation, out)
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    shutil.rmtree(out / "work")
    assert _same(tmp_path / "one", out)


def test_the_papers_shares_at_one_hundredth(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    """Sources with a hundredth of the published rows; the weights of tokens are met within half a percent."""
    weights = {"tulu": 120_000, "infinity": 300_000}
    entries: dict[str, Any] = {"long": {"source": LONG, "epochs": 1}}
    files = {"long": [_write_samples(tmp_path / "l.parquet", "long_input", 690, 180, seed=30)]}
    for name, rows in (("tulu", 3261), ("infinity", 8000)):
        column = "conversations" if name == "infinity" else "messages"
        entries[name] = {"source": FOLDER | {"column": column}, "tokens": weights[name]}
        files[name] = [_write_chats(tmp_path / f"{name}.jsonl", rows, len(name), column)]
    accounts = _build(_recipe(entries), files, smollm2_tokenizer, evaluation, tmp_path / "out")
    tokens = dict(zip(accounts["source"], accounts["tokens"], strict=True))
    total = tokens["long"] + sum(weights.values())
    for name, wanted in weights.items():
        assert abs(tokens[name] - wanted) <= 0.005 * wanted
        share = accounts.filter(pl.col("source") == name)["share"].item()
        assert abs(share - wanted / total) < 0.005
    _check_packed(tmp_path / "out" / "packed", accounts, 4096)


def test_mistakes_are_sentences(
    smollm2_tokenizer: Tokenizer, evaluation: Path, tmp_path: Path
) -> None:
    recipe = _recipe({"chats": {"source": FOLDER, "epochs": 1}})
    chats = _write_chats(tmp_path / "chats.jsonl", 3, seed=5)
    with pytest.raises(UserError, match="no stage 9k"):
        _build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o", "9k")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file matches"):
        empty = {"chats": [tmp_path / "empty"]}
        _build(recipe, empty, smollm2_tokenizer, evaluation, tmp_path / "o")
    wrong = _recipe({"chats": {"source": FOLDER | {"column": "conversations"}, "epochs": 1}})
    with pytest.raises(UserError, match="'conversations' is missing"):
        _build(wrong, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o")
    chats.write_text('{"messages": ')
    with pytest.raises(UserError, match="line 1 is not JSON"):
        _build(recipe, {"chats": [chats]}, smollm2_tokenizer, evaluation, tmp_path / "o")
