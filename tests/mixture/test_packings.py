"""Rows as their source packed them, ProLong's own packing, weights as shares, and what the loss counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer
from selflong.training.attention import ATTENTION_NAME, PackedSequence
from selflong.training.batches import PackedData
from selflong.training.families import relative_error
from selflong.training.layout import Layout, Place, single_process
from selflong.training.loss import IGNORE
from selflong.training.model import LossModel
from tests.mds import packed_rows, write_mds
from tests.mixture.jobs import FOLDER, build, check_packed, recipe_with, write_chats

LENGTH = 1024  # of the stage 1k


def mds(folder: Path, document_tokens: int = 1) -> dict[str, Any]:
    return {
        "kind": "mds_folder", "path": str(folder), "tokenizer": "base", "rows": 10,
        "tokens": 10 * LENGTH, "document_tokens": document_tokens,
    }  # fmt: skip


def documents(seed: int, count: int, longest: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(2, longest, count)
    return [random.integers(10, 40_000, size).tolist() for size in sizes]


def plain(entries: dict[str, Any], **settings: Any) -> Any:
    """A recipe as ProLong's: nothing is compared with anything."""
    given = {"deduplication": None, "contamination": {"suites": [], "ngram": 13}} | settings
    return recipe_with(entries, **given)


def test_rows_train_as_they_were_packed(smollm2_tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = packed_rows(documents(1, 60, 400), LENGTH)
    folder = write_mds(tmp_path / "mds" / "books", [*rows, rows[0]])
    entry = {"source": mds(tmp_path / "mds"), "epochs": 1, "packing": "as_given"}
    out = tmp_path / "out"
    files = {"books": [folder.parent]}
    accounts = build(plain({"books": entry}), files, smollm2_tokenizer, None, out, "1k")
    check_packed(out / "packed", accounts, LENGTH)
    data = PackedData(out / "packed")
    # Each row once, the one that repeats another too, with the documents that it came with.
    assert len(data) == len(rows) + 1
    for number, row in enumerate([*rows, rows[0]]):
        span = slice(data.offsets[number], data.offsets[number] + data.tokens[number])
        assert data.input_ids[span].tolist() == row["input_ids"].tolist()
        kept = row["indices"][np.diff(row["indices"].astype(int), axis=1).ravel() > 1]
        assert data.bounds[number][1:] == kept[:, 1].tolist()
        assert set(data.sample_ids[number]) == {f"books/books:{number}"}


def test_mixtures_that_weigh_a_source_otherwise_share_its_chunks(
    smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder = write_mds(tmp_path / "mds" / "books", packed_rows(documents(1, 60, 400), LENGTH))
    files = {"books": [folder.parent]}
    kept: set[tuple[Path, int]] = set()
    weights: tuple[dict[str, Any], ...] = ({"epochs": 1}, {"share": 1.0}, {"tokens": 3 * LENGTH})
    for number, weight in enumerate(weights):
        entry = {"source": mds(tmp_path / "mds"), "packing": "as_given", **weight}
        out, work = tmp_path / str(number), tmp_path / "work"
        build(plain({"books": entry}), files, smollm2_tokenizer, None, out, "1k", work)
        made = {(path, path.stat().st_mtime_ns) for path in work.glob("*/*/rows.parquet")}
        assert made == kept or not kept
        kept = made
    entry = {"source": mds(tmp_path / "mds"), "epochs": 1}
    build(plain({"books": entry}), files, smollm2_tokenizer, None, tmp_path / "again", "1k", work)
    assert kept < {(path, path.stat().st_mtime_ns) for path in work.glob("*/*/rows.parquet")}


def test_the_same_rows_are_packed_again_without_that_setting(
    smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    given = documents(2, 40, 300)
    folder = write_mds(tmp_path / "mds" / "books", packed_rows(given, LENGTH))
    entry = {"source": mds(tmp_path / "mds"), "epochs": 1}
    out = tmp_path / "out"
    accounts = build(
        plain({"books": entry}), {"books": [folder.parent]}, smollm2_tokenizer, None, out, "1k"
    )
    check_packed(out / "packed", accounts, LENGTH)
    first = next(
        ids
        for ids, row in zip(PackedData(out / "packed").sample_ids, range(99), strict=False)
        if row == 0
    )
    assert all(name.count(":") == 2 for name in first)


@pytest.mark.parametrize("packing", ["concatenated", "concatenated_dropping", "single_document"])
def test_cut_samples_are_counted_as_the_trainer_reads_them(
    smollm2_tokenizer: Tokenizer, tmp_path: Path, packing: str
) -> None:
    texts = [" ".join(f"w{n}" for n in range(size)) for size in (30, 2000, 700, 90, 1500, 4)]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts)
    )
    chats = write_chats(tmp_path / "chats.jsonl", 60, seed=3)
    source = {"kind": "text_folder", "path": str(tmp_path / "texts"), "files": "*.jsonl"}
    entries: dict[str, Any] = {"texts": {"source": source, "epochs": 1, "packing": packing}}
    files = {"texts": [tmp_path / "texts"]}
    if packing != "single_document":
        entries["chats"] = {"source": FOLDER, "epochs": 2, "packing": packing}
        files["chats"] = [chats]
    accounts = build(plain(entries), files, smollm2_tokenizer, None, tmp_path / "out", "1k")
    check_packed(tmp_path / "out" / "packed", accounts, LENGTH)
    tokens = [len(smollm2_tokenizer.encode(text)) + 2 for text in texts]
    of_texts = accounts.filter(pl.col("source") == "texts").row(0, named=True)
    if packing == "single_document":
        (drop,) = of_texts["dropped"]
        assert drop["reason"] == "shorter_than_stage"
        assert of_texts["tokens"] == sum(size // LENGTH * LENGTH for size in tokens)
    elif packing == "concatenated":
        assert of_texts["tokens"] == sum(tokens)
    else:
        assert of_texts["tokens"] < sum(tokens)


def test_without_masks_a_sequence_is_one_document(
    smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    rows = packed_rows(documents(1, 60, 400), LENGTH)
    write_mds(tmp_path / "mds" / "books", rows)
    chats = write_chats(tmp_path / "chats.jsonl", 60, seed=3)
    entries = {
        "books": {"source": mds(tmp_path / "mds"), "epochs": 1, "packing": "as_given"},
        "chats": {"source": FOLDER, "epochs": 1, "packing": "concatenated"},
    }
    files = {"books": [tmp_path / "mds"], "chats": [chats]}
    out = tmp_path / "out"
    accounts = build(
        plain(entries, document_masks=False), files, smollm2_tokenizer, None, out, "1k"
    )
    check_packed(out / "packed", accounts, LENGTH)
    data = PackedData(out / "packed")
    assert all(
        bounds == [0, tokens] for bounds, tokens in zip(data.bounds, data.tokens, strict=True)
    )
    assert accounts["loss_tokens"][0] == len(rows) * (LENGTH - 1)
    with pytest.raises(UserError, match="'chats' shares sequences with others"):
        plain(entries | {"chats": {"source": FOLDER, "epochs": 1}}, document_masks=False)


def test_what_cuts_is_no_sample_of_one_stage() -> None:
    entry = {"source": FOLDER, "epochs": 1, "packing": "concatenated"}
    with pytest.raises(UserError, match="take every_stage"):
        plain({"chats": entry}, assignment="one_stage")


@pytest.mark.parametrize(
    ("mixture", "rows_of_the_paper"), [("stage_64k", 320_000), ("stage_512k", 40_000)]
)
def test_prolongs_shares_are_met_at_one_hundredth(
    smollm2_tokenizer: Tokenizer,
    prolong: Recipe,
    tmp_path: Path,
    mixture: str,
    rows_of_the_paper: int,
) -> None:
    """By tokens, whatever the documents; rows of 64 tokens in place of 65,536 and 524,288."""
    length, sequences = 64, rows_of_the_paper // 100
    entries, files = {}, {}
    shares = {name: entry.share for name, entry in prolong.mixtures[mixture].entries.items()}
    for number, (name, share) in enumerate(shares.items()):
        rows = packed_rows(documents(number, 100, 90), length)
        write_mds(tmp_path / name / "a", rows)
        entries[name] = {"source": mds(tmp_path / name), "share": share, "packing": "as_given"}
        files[name] = [tmp_path / name]
    recipe = plain(entries)
    content = recipe.model_dump(mode="json")
    content["models"]["full"]["stages"][0] |= {
        "length": length, "tokens": sequences * length, "global_batch_tokens": length,
    }  # fmt: skip
    recipe = type(recipe).model_validate(content)
    accounts = build(recipe, files, smollm2_tokenizer, None, tmp_path / "out", "1k")
    for name, share in accounts.select("source", "share").rows():
        assert abs(share - (shares[name] or 0)) < 0.005, name
    assert accounts["tokens"].sum() == pytest.approx(sequences * length, rel=0.005)


def test_a_masked_row_trains_as_in_transformers(
    smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Two conversations in a row of 20 tokens, of which 4 of 10 and 3 of 10 are responses."""
    mask = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0], np.uint8)
    ids = np.random.default_rng(0).integers(10, 300, 20).astype(np.uint32)
    indices = np.array([[0, 10], [10, 20]], np.uint32)
    write_mds(tmp_path / "mds" / "a", [{"input_ids": ids, "indices": indices, "mask": mask}])
    entry = {"source": mds(tmp_path / "mds"), "epochs": 1, "packing": "as_given"}
    files = {"chat": [tmp_path / "mds"]}
    accounts = build(plain({"chat": entry}), files, smollm2_tokenizer, None, tmp_path / "out", "1k")
    assert accounts["loss_tokens"].to_list() == [7]

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    LlamaForCausalLM(config).double().save_pretrained(tmp_path / "model")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float64)
    labels = torch.where(torch.from_numpy(mask) > 0, torch.from_numpy(ids.astype(np.int64)), IGNORE)
    tokens = torch.from_numpy(ids.astype(np.int64))
    summed = torch.zeros((), dtype=torch.float64)
    for start, stop in indices.astype(int).tolist():
        part = labels[start:stop]
        found = reference(input_ids=tokens[None, start:stop], labels=part[None])
        summed = summed + found.loss * int((part[1:] != IGNORE).sum())
    (summed / 7).backward()

    data = PackedData(tmp_path / "out" / "packed")
    batch = data.micro_batch(0, Layout(), Place(0, 0, 0), mask_prompt=False)
    assert batch.targets == 7
    model = LossModel(AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float64, attn_implementation=ATTENTION_NAME
    ))  # fmt: skip
    loss = model(batch, PackedSequence(batch.bounds, single_process()), torch.device("cpu"))
    (loss / batch.targets).backward()
    # transformers computes its loss in float32, whatever the model's precision.
    assert float(loss.detach()) == pytest.approx(float(summed.detach()), rel=1e-6)
    ours = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    expected = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    assert relative_error((7.0, ours), (7.0, expected)) < 1e-6
