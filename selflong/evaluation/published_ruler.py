"""RULER's prompts as SelfLong published them (self-long/RULER-llama3-1M), and its stored predictions.

Layout: `<task>_<length>/validation-*.parquet` for 13 tasks and the lengths 4k ... 1M, with the columns
`index`, `input` (chat template written out, no BOS), `answers`, `length` and `predictions` (a struct of one
text for each model name).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerBase

from selflong.evaluation.generate import Prompt
from selflong.evaluation.ruler import metrics
from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.recipe import RULER_TASKS
from selflong.scores import length_name

ANSWER_TOKENS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50, "qa": 32}
"""Of RULER's tasks by family (its scripts/data/synthetic/constants.py)."""

COLUMNS: dict[str, Any] = {
    "index": pl.Int64,
    "input": pl.String,
    "answers": pl.List(pl.String),
}


def prompts(
    folder: Path, lengths: Sequence[int], pretrained: PreTrainedTokenizerBase
) -> Iterator[Prompt]:
    """Every published prompt of `lengths`. Control tokens that the input writes out become control tokens."""
    for task, length, rows in _sets(folder, lengths):
        for row in rows.iter_rows(named=True):
            ids = pretrained.encode(row["input"], add_special_tokens=False)
            bos = pretrained.bos_token_id
            if bos is not None and ids[:1] != [bos]:
                ids = [bos, *ids]
            yield Prompt(
                task=task,
                length=length,
                index=row["index"],
                ids=ids,
                text=row["input"],
                answers=tuple(row["answers"]),
                answer_tokens=ANSWER_TOKENS[task.partition("_")[0]],
            )


def stored_predictions(suite: str, folder: Path, lengths: Sequence[int]) -> pl.DataFrame:
    """formats.PREDICTIONS of the predictions that the sets carry, scored again; one model for each name."""
    rows: list[dict[str, object]] = []
    for task, length, frame in _sets(folder, lengths):
        if "predictions" not in frame.columns:
            continue
        for row in frame.iter_rows(named=True):
            for model, prediction in _texts(row["predictions"]):
                rows.append(
                    {
                        "suite": suite,
                        "model": model,
                        "task": task,
                        "length": length,
                        "index": row["index"],
                        "prompt": row["input"],
                        "answers": row["answers"],
                        "prediction": prediction,
                        "score": metrics.score(task, prediction, row["answers"]),
                    }
                )
    return table(rows, PREDICTIONS)


def _texts(predictions: Mapping[str, str | None] | None) -> Iterator[tuple[str, str]]:
    for model, prediction in (predictions or {}).items():
        if prediction is not None:
            yield model, prediction


def _sets(folder: Path, lengths: Sequence[int]) -> Iterator[tuple[str, int, pl.DataFrame]]:
    for length in lengths:
        for task in RULER_TASKS:
            name = f"{task}_{length_name(length)}"
            paths = sorted((folder / name).glob("validation-*.parquet"))
            if not paths:
                raise UserError(f"{folder / name} holds no validation-*.parquet: download it again")
            frame = pl.concat([pl.read_parquet(path) for path in paths])
            missing = [column for column in COLUMNS if column not in frame.columns]
            if missing:
                raise UserError(f"{paths[0]}: column {missing[0]!r} is missing")
            yield (
                task,
                length,
                frame.with_columns(pl.col(name).cast(kind) for name, kind in COLUMNS.items()),
            )
