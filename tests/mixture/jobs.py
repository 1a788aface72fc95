"""Small real mixtures: a recipe with given entries, files with rows, a build and what must hold of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from selflong.formats import (
    ACCOUNTING,
    SAMPLES,
    SEQUENCES,
    PackedFiles,
    read_parquet,
    table,
    write_parquet,
)
from selflong.mixture.build import build_mixture
from selflong.recipe.loading import parse
from selflong.recipe.recipe import Recipe
from selflong.tokens import Tokenizer
from selflong.training.batches import PackedData
from selflong.training.loss import target_mask

RECIPES = Path(__file__).parents[2] / "recipes"
FOLDER = {"kind": "folder", "path": "unused", "files": "*.jsonl"}
LONG = {"kind": "synthesised", "generator": "smollm2", "samples": "long_input"}


def recipe_with(entries: dict[str, Any], **settings: Any) -> Recipe:
    content = yaml.safe_load((RECIPES / "laptop.yaml").read_text())
    content["mixtures"]["full"] |= {"entries": entries, **settings}
    for stage, length in zip(content["models"]["full"]["stages"], (1024, 2048, 4096), strict=True):
        stage |= {
            "name": f"{length // 1024}k", "length": length, "tokens": length,
            "global_batch_tokens": length,
        }  # fmt: skip
    return parse(Recipe, content, "laptop.yaml")


def message_of(role: str, *parts: tuple[str, str]) -> dict[str, Any]:
    return {"role": role, "parts": [{"kind": kind, "text": text} for kind, text in parts]}


def random_words(rng: np.random.Generator, count: int) -> str:
    return " ".join(f"w{number}" for number in rng.integers(0, 5000, count))


def write_samples(path: Path, kind: str, count: int, words: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        question = random_words(rng, 12)
        messages = [
            message_of("user", ("prompt", question), ("document", random_words(rng, words))),
            message_of("assistant", ("response", random_words(rng, 20))),
        ]
        rows.append({"sample_id": f"{kind}-{number}", "kind": kind, "messages": messages})
    write_parquet(table(rows, SAMPLES), path, SAMPLES)
    return path


def write_chats(path: Path, count: int, seed: int, column: str = "messages") -> Path:
    rng = np.random.default_rng(seed)
    role, text = ("role", "content") if column == "messages" else ("from", "value")
    rows = [
        {
            column: [
                {role: "user", text: random_words(rng, int(rng.integers(5, 40)))},
                {role: "assistant" if column == "messages" else "gpt", text: random_words(rng, 30)},
            ]
        }
        for _ in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build(
    recipe: Recipe,
    files: dict[str, list[Path]],
    tokenizer: Tokenizer,
    evaluation: Path | None,
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


def check_packed(folder: Path, accounts: pl.DataFrame, length: int) -> None:
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
