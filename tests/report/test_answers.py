"""The worst answers of a run."""

from selflong.recipe.recipe import Recipe
from selflong.report.answers import SHOWN, worst_answers
from selflong.results import Results, prediction_files


def test_the_worst_come_first(laptop: Recipe, results: Results) -> None:
    groups = list(worst_answers(laptop, results))
    files = [path for suite in laptop.suites for path in prediction_files(laptop, results, suite)]
    assert [group.file for group in groups] == [
        str(path.relative_to(results.root)) for path in files
    ]
    for group in groups:
        scores = [answer.score for answer in group.worst]
        assert scores == sorted(scores, key=lambda score: score or 0.0)
        assert len(scores) == min(SHOWN, group.rows)
        assert group.worst[0].prompt_end == "?" and group.worst[0].prediction == "!"
