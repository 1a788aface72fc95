"""Scores of predictions: means with 95% intervals by task, by depth, by length."""

from pathlib import Path

from selflong.formats import PREDICTIONS, SCORES, parquet_writer, read_parquet, write_parquet
from selflong.job import UserError
from selflong.recipe.suites import Suite
from selflong.suites.kinds import kind_of
from selflong.suites.suite_scores import scores_of

TOLERANCE = 1e-12


def score(
    *, name: str, suite: Suite, predictions: list[Path], results: Path, output: Path, seed: int
) -> None:
    """Publish formats.SCORES of a suite's predictions, files below `results`.

    Every prediction is scored again first: UserError where its file holds another score.
    """
    for path in predictions:
        check_scores(suite, path)
    write_parquet(scores_of(name, suite, predictions, results, seed), output, SCORES)


def check_scores(suite: Suite, path: Path) -> None:
    """UserError where a stored score is not what the metric gives."""
    metric_of = kind_of(suite).metric
    columns = ("task", "index", "prediction", "answers", "score")
    frame = read_parquet(path, {name: PREDICTIONS[name] for name in columns})
    for task, index, prediction, answers, stored in frame.iter_rows():
        metric = metric_of(task)
        if metric is not None and abs(metric(prediction, answers) - stored) > TOLERANCE:
            raise UserError(f"{path}: the score of sample {index} of {task} is not its metric's")


def write_stored_predictions(*, name: str, suite: Suite, download: Path, output: Path) -> None:
    """Publish formats.PREDICTIONS of what a suite's download carries, scored again."""
    with parquet_writer(output, PREDICTIONS) as append:
        for predictions in kind_of(suite).stored_predictions(suite, name, download):
            append(predictions)
