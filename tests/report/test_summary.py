"""The summary follows the numbers: other scores, other sentences."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.formats import MEAN_OF_TASKS, SCORES, table, write_json
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe
from selflong.report import published
from selflong.report.counts import metrics_files
from selflong.report.summary import (
    Comparison,
    Outcome,
    Summary,
    comparisons,
    meaning,
    outcome,
    summarise,
    to_markdown,
)
from selflong.report.timing import RunTime
from selflong.results import Results
from selflong.suites.measured import Measured
from selflong.tables import score_cell

NO_TIME = RunTime([], 0.0, {})
HALF = 0.05
"""Half of a score's interval."""


def measured(recipe: Recipe, means: dict[str, float], suite: str = "ruler") -> Measured:
    """Scores of a suite's models, the same at each of its lengths."""
    lengths = recipe.suites[suite].lengths  # type: ignore[union-attr]
    rows = [
        {
            "suite": suite, "model": recipe.resolve(model), "length": length, "task": MEAN_OF_TASKS,
            "depth": None, "mean": mean, "low": mean - HALF, "high": mean + HALF, "samples": 48,
            "files": [f"evaluation/{suite}/{model}.parquet"],
        }
        for model, mean in means.items()
        for length in lengths
    ]  # fmt: skip
    return Measured(recipe, table(rows, SCORES), published.read(PUBLISHED_RESULTS))


def compared(
    recipe: Recipe, folder: Results, base: float, adjusted: float, full: float
) -> Comparison:
    means = {"base": base, "rope_only": adjusted, "full": full}
    (found,) = comparisons(measured(recipe, means), folder)
    return found


def test_training_that_harms_is_called_worse(laptop: Recipe, tmp_path: Path) -> None:
    comparison = compared(laptop, Results(tmp_path), 0.46, 0.30, 0.31)
    assert comparison.outcome is Outcome.WORSE
    text = meaning(comparison)
    assert "the trained model is worse" in text
    assert "15.0 points below" in text
    assert "Another RoPE base alone costs 16.0 points; after training the score is the same" in text
    assert "training helps" not in text


def test_training_that_helps_is_called_so(laptop: Recipe, tmp_path: Path) -> None:
    comparison = compared(laptop, Results(tmp_path), 0.20, 0.65, 0.95)
    assert comparison.outcome is Outcome.BETTER
    text = meaning(comparison)
    assert "training helps" in text
    assert "75.0 points above" in text
    assert "Another RoPE base alone brings 45.0 points; training adds 30.0 points" in text


def test_intervals_that_meet_decide_nothing(laptop: Recipe, tmp_path: Path) -> None:
    comparison = compared(laptop, Results(tmp_path), 0.50, 0.30, 0.48)
    assert comparison.outcome is Outcome.ALIKE
    text = meaning(comparison)
    assert "no difference is measured" in text
    assert "costs 20.0 points; training adds 18.0 points" in text
    assert not any(word in text for word in ("helps", "is worse."))


def test_a_suite_without_the_base_or_the_trained_model_says_nothing(
    laptop: Recipe, tmp_path: Path
) -> None:
    assert comparisons(measured(laptop, {"rope_only": 0.5, "full": 0.5}), Results(tmp_path)) == []
    assert comparisons(measured(laptop, {"base": 0.5, "rope_only": 0.5}), Results(tmp_path)) == []
    (found,) = comparisons(measured(laptop, {"base": 0.5, "full": 0.5}), Results(tmp_path))
    assert "RoPE" not in meaning(found)


def said(summary: Summary, heading: str) -> str:
    return " ".join(statement.text for statement in summary.parts[heading])


def test_a_context_that_the_base_has_anyway_is_no_extension(
    laptop: Recipe, results: Results, tmp_path: Path
) -> None:
    scores = measured(laptop, {"base": 0.46, "rope_only": 0.3, "full": 0.31})
    longest = max(laptop.suites["ruler"].lengths)  # type: ignore[union-attr]
    for native, within in ((8192, True), (longest, True), (longest - 1, False)):
        config = tmp_path / "models" / "base" / "initial" / "config.json"
        write_json({"max_position_embeddings": native}, config)
        (comparison,) = comparisons(scores, Results(tmp_path))
        assert comparison.native == native
        assert comparison.within_native is within
    config = results.root / "models" / "base" / "initial" / "config.json"
    write_json({"max_position_embeddings": 8192}, config)
    summary = summarise(scores, results, NO_TIME)
    config.unlink()
    assert "the method has nothing to win" in said(summary, "What it means")
    assert "reads 8,192 as it is: there is nothing to extend" in said(
        summary, "What it cannot show"
    )


def test_what_shows_that_training_helps_is_named_or_its_absence(
    laptop: Recipe, results: Results
) -> None:
    harmed = summarise(measured(laptop, {"base": 0.5, "full": 0.3}), results, NO_TIME)
    assert "Nothing on this page shows that training helps." in said(harmed, "Where that is shown")
    helped = summarise(measured(laptop, {"base": 0.3, "full": 0.5}), results, NO_TIME)
    assert "is shown by RULER" in said(helped, "Where that is shown")
    assert "Nothing" not in said(helped, "Where that is shown")
    assert helped.parts["Where that is shown"][0].table == "ruler_by_length"


def test_an_interval_without_width_is_not_taken_for_certainty(
    laptop: Recipe, results: Results
) -> None:
    scores = measured(laptop, {"base": 1.0, "full": 0.0})
    certain = pl.when(pl.col("mean") == 1.0).then(1.0)
    flat = scores.scores.with_columns(
        low=certain.otherwise(pl.col("low")), high=certain.otherwise(pl.col("high"))
    )
    limits = said(summarise(replace(scores, scores=flat), results, NO_TIME), "What it cannot show")
    assert "48 samples can do by chance" in limits
    limits = said(summarise(scores, results, NO_TIME), "What it cannot show")
    assert "by chance" not in limits


def test_a_run_without_scores_claims_nothing(laptop: Recipe, results: Results) -> None:
    summary = summarise(
        Measured(laptop, table([], SCORES), published.read(PUBLISHED_RESULTS)), results, NO_TIME
    )
    assert "not measured here" in said(summary, "What it means")
    assert all(summary.parts.values())


def test_what_ran_counts_what_the_stages_left(laptop: Recipe, results: Results) -> None:
    scores = measured(laptop, {"base": 0.5, "full": 0.3})
    machine = {
        "cpu": "A CPU", "threads": 2, "gflops_float32": 71.0, "gflops_bfloat16": 1.2, "auto": "float32",
    }  # fmt: skip
    text = said(summarise(scores, results, RunTime([], 0.0, machine)), "What ran")
    assert "A CPU (2 threads) multiplies at 71 GFLOP/s in float32 and 1 GFLOP/s in bfloat16" in text
    assert "computes in float32" in text
    lengths = len(laptop.suites["ruler"].lengths)  # type: ignore[union-attr]
    assert f"2 checkpoints answered {2 * 48 * lengths:,} prompts (ruler)" in text
    stages = [name for name in metrics_files(laptop, results) if name.startswith("full/")]
    assert f"on {10240 * len(stages):,} tokens in {5 * len(stages)} steps" in text


def test_the_file_links_the_tables_that_hold_the_numbers(laptop: Recipe, results: Results) -> None:
    text = to_markdown(summarise(measured(laptop, {"base": 0.3, "full": 0.5}), results, NO_TIME))
    assert "## What it cannot show" in text
    assert "([table](../tables/ruler_by_length.md))" in text


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_an_outcome_reverses_with_its_scores(
    one: float, other: float, half: float, other_half: float
) -> None:
    first = score_cell(one, one - half, one + half, 1)
    second = score_cell(other, other - other_half, other + other_half, 1)
    reverse = {
        Outcome.BETTER: Outcome.WORSE, Outcome.WORSE: Outcome.BETTER, Outcome.ALIKE: Outcome.ALIKE,
    }  # fmt: skip
    assert outcome(first, second) is reverse[outcome(second, first)]
    assert (outcome(first, second) is Outcome.BETTER) == (one - half > other + other_half) or (
        abs(one - half - other - other_half) < 1e-9
    )


def test_models_of_one_label_are_one_comparison_over_their_seeds(
    laptop: Recipe, tmp_path: Path
) -> None:
    models = dict(laptop.models)
    models["full_2"] = models["full"].model_copy(update={"start": "base_2"})
    models["base_2"] = models["base"]
    means = {"base": 0.3, "base_2": 0.34, "full": 0.5, "full_2": 0.6}
    suites = {"ruler": laptop.suites["ruler"].model_copy(update={"models": list(means)})}
    recipe = laptop.model_copy(update={"models": models, "suites": suites})
    (comparison,) = comparisons(measured(recipe, means), Results(tmp_path))
    assert comparison.seeds == 2
    base, adjusted, trained = comparison.scores[comparison.longest]
    assert adjusted is None
    assert (base.low, base.high) == (pytest.approx(30), pytest.approx(34))
    assert (trained.low, trained.high) == (pytest.approx(50), pytest.approx(60))
