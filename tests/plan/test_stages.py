"""How often a stage's job is started."""

from pathlib import Path

import pytest

from selflong.plan.stages import FAILURES, retries
from selflong.recipe import FolderWeights, Recipe, Resources, load_recipe, load_site

ROOT = Path(__file__).parents[2]
SITE = load_site(ROOT / "config.yaml")
PAPER = load_recipe(ROOT / "recipes" / "selflong.yaml")


def with_limit(minutes: int, recipe: Recipe = PAPER) -> int | None:
    site = SITE.model_copy(update={"resources": {"training": Resources(minutes=minutes)}})
    return retries(recipe, site)


def test_a_stage_of_days_is_retried_as_often_as_it_passes_through_the_queue() -> None:
    by_hours = with_limit(4 * 60)
    by_days = with_limit(30 * 24 * 60)
    assert by_days == FAILURES
    assert by_hours is not None
    assert by_hours > with_limit(8 * 60) > FAILURES  # type: ignore[operator]


def test_a_model_that_the_plan_does_not_know_leaves_the_retries_to_the_profile() -> None:
    unknown = FolderWeights(kind="folder", path=Path("somewhere"))
    models = {
        name: model.model_copy(update={"weights": unknown}) if model.weights else model
        for name, model in PAPER.models.items()
    }
    assert with_limit(60, PAPER.model_copy(update={"models": models})) is None


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_a_short_limit_still_gets_on(minutes: int) -> None:
    attempts = with_limit(minutes)
    assert attempts is not None and attempts < 100_000
