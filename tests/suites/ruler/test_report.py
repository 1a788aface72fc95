"""Measured tables: what stands where, what is compared with what, and what is said of what is missing."""

import pytest

from selflong.formats import MEAN_OF_TASKS, SCORES, table
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe
from selflong.report import published
from selflong.report.build import suite_tables
from selflong.scores import length_name
from selflong.suites.measured import Measured
from selflong.tables import NOT_ASKED, NOT_RUN, NOT_SUPPORTED, Table


def score(suite: str, model: str, length: int | None, mean: float, task: str = MEAN_OF_TASKS):
    return {
        "suite": suite,
        "model": model,
        "task": task,
        "length": length,
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.01,
        "samples": 1300,
        "files": [f"evaluation/{suite}/{model}/all.parquet"],
    }


@pytest.fixture(scope="module")
def tables(selflong: Recipe) -> dict[str, Table]:
    """The paper's recipe with four scores measured."""
    scores = [
        score("ruler_2024", "selflong_8b/1m", 1_000_000, 0.70),
        score("ruler_2024", "short_only/1m", 32_000, 0.80),
        score("ruler_exact", "selflong_8b/1m", 262_144, 0.71),
        score("short_tasks", "selflong_8b/1m", None, 0.5, task="BBH"),
    ]
    measured = Measured(selflong, table(scores, SCORES), published.read(PUBLISHED_RESULTS))
    return {made.name: made for made in suite_tables(measured)}


def row(found: Table, *start: str) -> dict[str, str]:
    (cells,) = (r for r in found.rows if tuple(c.text for c in r[: len(start)]) == start)
    return dict(zip(found.columns, (cell.text for cell in cells), strict=True))


def test_measured_stands_beside_published_with_the_difference(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_beside_published"]
    assert row(found, "SelfLong-8B-1M", "measured")["1M"] == "70.0 [68.0, 71.0]"
    assert row(found, "SelfLong-8B-1M", "published")["1M"] == "69.6"
    assert row(found, "SelfLong-8B-1M", "difference")["1M"] == "+0.4 [−1.6, +1.4]"


def test_missing_cells_say_why(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_beside_published"]
    assert row(found, "SelfLong-8B-1M", "measured")["32k"] == NOT_RUN
    assert row(found, "SelfLong-8B-1M", "difference")["32k"] == ""
    assert row(found, "Llama-3.1-8B-Instruct", "measured")["256k"] == NOT_SUPPORTED
    assert row(found, "Llama-3.1-8B-Instruct", "published")["256k"] == ""
    assert row(found, "LWM-Text-Chat-1M", "published")["32k"] == ""


def test_the_exact_convention_has_tables_of_its_own(
    tables: dict[str, Table], selflong: Recipe
) -> None:
    assert selflong.suites["ruler_2024"].comparable
    assert selflong.suites["published_ruler"].comparable
    assert not selflong.suites["ruler_exact"].comparable
    assert "ruler_exact_beside_published" not in tables
    ablation = tables["ruler_exact_ablation"]
    assert len(ablation.rows) == len(selflong.report.ablation)
    assert row(ablation, "full")["256k"] == "71.0 [69.0, 72.0]"
    assert row(ablation, "short data only")["256k"] == NOT_ASKED


def test_fewer_tasks_or_other_lengths_are_not_comparable(selflong: Recipe) -> None:
    suite = selflong.suites["ruler_2024"]
    assert not suite.model_copy(update={"tasks": suite.tasks[:12]}).comparable
    assert not suite.model_copy(update={"lengths": [131_072]}).comparable


def test_ablation_shows_the_papers_rows(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_ablation"]
    assert row(found, "short data only", "measured")["32k"] == "80.0 [78.0, 81.0]"
    assert row(found, "short data only", "difference")["32k"] == "−3.0 [−5.0, −2.0]"
    assert row(found, "prompt tokens masked", "published")["1M"] == "66.4"
    assert row(found, "prompt tokens masked", "published")["32k"] == ""


def test_short_tasks_stand_beside_table_4(tables: dict[str, Table]) -> None:
    found = tables["short_tasks_by_model"]
    assert row(found, "SelfLong-8B-1M", "published")["BBH"] == "48.7"
    assert row(found, "SelfLong-8B-1M", "difference")["BBH"].startswith("+1.3")
    assert row(found, "SelfLong-8B-1M", "measured")["GPQA"] == NOT_RUN


def effective(selflong: Recipe, scores: list[dict[str, object]], model: str) -> list[str]:
    measured = Measured(selflong, table(scores, SCORES), published.read(PUBLISHED_RESULTS))
    made = {found.name: found for found in suite_tables(measured)}
    found = made["ruler_2024_effective_length"]
    return list(row(found, measured.label(model)).values())[1:]


def test_the_effective_length_ends_before_the_first_score_that_is_too_low(selflong: Recipe) -> None:
    lengths = sorted(selflong.suites["ruler_2024"].lengths)
    model = "selflong_8b/1m"

    def measured(*means: float) -> list[dict[str, object]]:
        return [
            score("ruler_2024", model, length, mean)
            for length, mean in zip(lengths, means, strict=False)
        ]

    names = [length_name(length) for length in lengths]
    # The base has 0.90 [0.88, 0.91] at the shortest length, which 0.88 [0.86, 0.89] meets.
    base = score("ruler_2024", "llama_3.1_8b/initial", lengths[0], 0.90)
    found = effective(selflong, [base, *measured(0.90, 0.88, 0.84, 0.95)], model)
    assert found == [names[1], names[1]]
    found = effective(selflong, [base, *measured(0.80, 0.95)], model)
    assert found == [f"< {names[0]}"] * 2
    assert effective(selflong, measured(0.88, 0.95), model) == [names[1], ""]


def test_who_is_not_asked_did_not_fail_to_run(laptop: Recipe) -> None:
    measured = Measured(laptop, table([], SCORES), published.read(PUBLISHED_RESULTS))
    assert measured.cell("ruler", "small_full/1024", MEAN_OF_TASKS, 1024).text == NOT_ASKED
    assert measured.cell("ruler", "full/2k", MEAN_OF_TASKS, 1024).text == NOT_RUN
