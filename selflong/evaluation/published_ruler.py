"""RULER's prompts as SelfLong published them (self-long/RULER-llama3-1M), and its stored predictions.

Layout: `<task>_<length>/validation-*.parquet` for 13 tasks and the lengths 4k ... 1M, with the columns
`index`, `input` (chat template written out, no BOS), `answers`, `length` and `predictions` (a struct of one
text for each model name).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from selflong.evaluation.generate import Prompt
from selflong.evaluation.ruler import metrics
from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.recipe import RULER_TASKS
from selflong.scores import length_name

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER_TOKENS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50, "qa": 32}
"""Of RULER's tasks by family (its scripts/data/synthetic/constants.py)."""

PROMPTS: Mapping[Any, Any] = {
    "index": pl.Int64,
    "input": pl.String,
    "answers": pl.List(pl.String),
}
STORED = ("index", "answers", "predictions")


def prompts(
    folder: Path, lengths: Sequence[int], pretrained: "PreTrainedTokenizerBase"
) -> Iterator[Prompt]:
    """Every published prompt of `lengths`. Control tokens that the input writes out become control tokens."""
    for task, length, rows in _files(folder, lengths, list(PROMPTS)):
        for row in rows.cast(PROMPTS).iter_rows(named=True):
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


def stored_predictions(suite: str, folder: Path, lengths: Sequence[int]) -> Iterator[pl.DataFrame]:
    """formats.PREDICTIONS of the predictions that the sets carry, scored again; one model for each name.

    One frame a file. Their prompts, gigabytes of them, stay in the download.
    """
    for task, length, frame in _files(folder, lengths, STORED):
        rows: list[dict[str, object]] = []
        for index, answers, predictions in frame.iter_rows():
            for model, prediction in _texts(predictions):
                rows.append(
                    {
                        "suite": suite,
                        "model": model,
                        "task": task,
                        "length": length,
                        "index": index,
                        "answers": answers,
                        "prediction": prediction,
                        "score": metrics.score(task, prediction, answers),
                    }
                )
        yield table(rows, PREDICTIONS)


def _texts(predictions: Mapping[str, str | None] | None) -> Iterator[tuple[str, str]]:
    for model, prediction in (predictions or {}).items():
        if prediction is not None:
            yield model, prediction


def _files(
    folder: Path, lengths: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Task, length and columns of each file of the published sets."""
    for length in lengths:
        for task in RULER_TASKS:
            name = f"{task}_{length_name(length)}"
            paths = sorted((folder / name).glob("validation-*.parquet"))
            if not paths:
                raise UserError(f"{folder / name} holds no validation-*.parquet: download it again")
            for path in paths:
                present = pl.read_parquet_schema(path)
                missing = [column for column in columns if column not in present]
                if missing:
                    raise UserError(f"{path}: column {missing[0]!r} is missing")
                yield task, length, pl.read_parquet(path, columns=list(columns)).select(columns)
