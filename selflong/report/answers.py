"""Answers of a run to be read one by one, the worst of each file of predictions first."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from selflong.recipe.recipe import Recipe
from selflong.results import Results, prediction_files

SHOWN = 8
"""Of a file."""
PROMPT_CHARACTERS = 600
"""Of a prompt's end, where its question stands: the whole may be a million tokens."""


@dataclass(frozen=True)
class Answer:
    """One prediction."""

    task: str
    length: int | None
    score: float | None
    prompt_end: str
    answers: list[str]
    prediction: str


@dataclass(frozen=True)
class Answers:
    """The worst of a file."""

    file: str
    """Below the results."""
    rows: int
    worst: list[Answer]

    @property
    def anchor(self) -> str:
        """Of its place on the page."""
        return "answers-" + self.file.removesuffix(".parquet").replace("/", "-")


def worst_answers(recipe: Recipe, results: Results) -> Iterator[Answers]:
    """Of every file of predictions, in the recipe's order."""
    for suite in recipe.suites:
        for path in prediction_files(recipe, results, suite):
            yield _of_file(path, str(path.relative_to(results.root)))


def _of_file(path: Path, name: str) -> Answers:
    # Prompts are read of the shown rows alone.
    scores = pl.read_parquet(path, columns=["score"]).with_row_index("row")
    rows = scores.sort("score", "row", nulls_last=True)["row"].head(SHOWN).to_list()
    shown = (
        pl.scan_parquet(path)
        .with_row_index("row")
        .filter(pl.col("row").is_in(rows))
        .with_columns(pl.col("prompt").str.tail(PROMPT_CHARACTERS))
        .collect(engine="streaming")
    )
    by_row = {row["row"]: row for row in shown.iter_rows(named=True)}
    return Answers(name, scores.height, [_answer(by_row[row]) for row in rows])


def _answer(row: dict[str, object]) -> Answer:
    return Answer(
        task=str(row["task"]),
        length=row["length"],  # type: ignore[arg-type]
        score=row["score"],  # type: ignore[arg-type]
        prompt_end=str(row["prompt"] or ""),
        answers=[str(answer) for answer in row["answers"] or []],  # type: ignore[attr-defined]
        prediction=str(row["prediction"] or ""),
    )
