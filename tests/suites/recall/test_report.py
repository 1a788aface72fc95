"""The recall study's tables: models of one label add up over their seeds."""

from pathlib import Path

import polars as pl
import pytest

from selflong.formats import MEAN_OF_TASKS, SCORES, table
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.suites.measured import Measured
from selflong.suites.recall.report import tables
from selflong.suites.recall.section import RecallSuite
from selflong.tables import NOT_RUN, Table

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(RECIPES / "recall.yaml")


def scores(means: dict[str, float]) -> pl.DataFrame:
    rows = [
        {
            "suite": "recall",
            "model": checkpoint,
            "length": 512,
            "task": MEAN_OF_TASKS,
            "depth": None,
            "mean": mean,
            "low": mean - 0.1,
            "high": mean + 0.1,
            "samples": 64,
            "files": [f"evaluation/recall/{checkpoint}/all.parquet"],
        }
        for checkpoint, mean in means.items()
    ]
    return table(rows, SCORES)


def recalled(recipe: Recipe, means: dict[str, float]) -> dict[str, Table]:
    suite = recipe.suites["recall"]
    assert isinstance(suite, RecallSuite)
    made = tables(suite, "recall", Measured(recipe, scores(means), pl.DataFrame()))
    return {found.name: found for found in made}


def test_models_of_one_label_stand_in_one_row_with_the_spread_of_their_seeds(
    recipe: Recipe,
) -> None:
    made = recalled(recipe, {"base_1/256": 0.5, "base_2/256": 0.6, "base_3/256": 0.4})
    by_length = made["recall_by_length"]
    assert by_length.columns == ("Model", "256", "512", "1k", "2k")
    labels = [row[0].text for row in by_length.rows]
    assert len(labels) == len(set(labels)) == 7
    base = by_length.rows[0]
    assert base[2].text == "50.0 [40.0, 60.0]"
    assert base[2].samples == 192
    assert base[1].text == NOT_RUN
    assert len(made["recall_by_seed"].rows) == 21


def test_a_seed_that_did_not_run_is_not_left_out_of_a_mean(recipe: Recipe) -> None:
    made = recalled(recipe, {"base_1/256": 0.5, "base_2/256": 0.6})
    assert made["recall_by_length"].rows[0][2].text == NOT_RUN
    assert made["recall_by_seed"].rows[0][3].text == "50.0 [40.0, 60.0]"


def test_every_chain_has_a_twin_for_each_seed(recipe: Recipe) -> None:
    seeds: dict[str, list[int]] = {}
    for name in recipe.models:
        chain = recipe.models[name].label
        seeds.setdefault(chain, []).append(recipe.seed_of(recipe.root(recipe.resolve(name))))
    assert all(found == [1, 2, 3] for found in seeds.values())
