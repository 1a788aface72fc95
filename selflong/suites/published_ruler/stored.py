"""The predictions that the published sets carry."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from selflong.formats import PREDICTIONS, table
from selflong.suites.published_ruler.files import read_files
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.ruler.generator.metrics import score

STORED = ("index", "answers", "predictions")


def stored_predictions(
    suite: PublishedRulerSuite, name: str, download: Path
) -> Iterator[pl.DataFrame]:
    """formats.PREDICTIONS of the predictions that the sets carry, scored again; one model for each name.

    One frame a file. Their prompts, gigabytes of them, stay in the download.
    """
    for task, length, frame in read_files(download, suite.lengths, STORED):
        rows: list[dict[str, object]] = []
        for index, answers, predictions in frame.iter_rows():
            for model, prediction in _texts(predictions):
                rows.append(
                    {
                        "suite": name,
                        "model": model,
                        "task": task,
                        "length": length,
                        "index": index,
                        "answers": answers,
                        "prediction": prediction,
                        "score": score(task, prediction, answers),
                    }
                )
        yield table(rows, PREDICTIONS)


def _texts(predictions: Mapping[str, str | None] | None) -> Iterator[tuple[str, str]]:
    for model, prediction in (predictions or {}).items():
        if prediction is not None:
            yield model, prediction
