"""The layout of a stage's job, and how often it is started."""

from pathlib import Path
from typing import Any

import pytest

from selflong.cluster import WARNING_SECONDS
from selflong.job import UserError
from selflong.plan.machines import H100
from selflong.plan.stages import FAILURES, plan_stage, planned_site, retries, warning_seconds
from selflong.recipe import (
    FolderWeights,
    Recipe,
    Resources,
    Site,
    TrainingSite,
    load_recipe,
    load_site,
)
from selflong.training.launch import site_layout

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


def without_shapes() -> Recipe:
    unknown = FolderWeights(kind="folder", path=Path("somewhere"))
    models = {
        name: model.model_copy(update={"weights": unknown}) if model.weights else model
        for name, model in PAPER.models.items()
    }
    return PAPER.model_copy(update={"models": models})


def test_a_model_that_the_plan_does_not_know_leaves_the_retries_to_the_profile() -> None:
    assert with_limit(60, without_shapes()) is None


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_a_short_limit_still_gets_on(minutes: int) -> None:
    attempts = with_limit(minutes)
    assert attempts is not None and attempts < 100_000


def planned(checkpoint: str, recipe: Recipe = PAPER, **settings: Any) -> TrainingSite:
    training = TrainingSite(device="cuda", ranks_per_node=8, **settings)
    return planned_site(recipe, SITE.model_copy(update={"training": training}), checkpoint)


def test_the_plan_chooses_what_the_site_leaves_open() -> None:
    ladder = [planned(f"selflong_8b/{stage}", nodes=2) for stage in ("256k", "512k", "1m")]
    rings = [site_layout(site).ring for site in ladder]
    assert rings == sorted(rings) and rings[0] < rings[-1]
    assert all(site_layout(site).world == 16 for site in ladder)
    assert planned("selflong_8b/1m").offload_activations
    assert not planned("selflong_8b/256k", nodes=2).offload_activations


def test_what_the_site_gives_stands() -> None:
    given = planned("selflong_8b/256k", ring=2, ulysses=4, offload_optimizer=True, zero_stage=2)
    assert (given.ring, given.ulysses, given.offload_optimizer, given.zero_stage) == (2, 4, True, 2)
    assert planned("selflong_8b/1m", offload_activations=False).offload_activations is False
    by_heads = planned("selflong_8b/1m", ulysses=8)
    assert site_layout(by_heads).sequence == 8


def test_ranks_of_an_unknown_model_share_a_sequence() -> None:
    site = planned("selflong_8b/256k", without_shapes())
    assert site_layout(site).ring == 8 and not site.offload_activations


def with_minutes(minutes: int) -> Site:
    training = TrainingSite(device="cuda", ranks_per_node=8)
    return SITE.model_copy(
        update={"training": training, "resources": {"training": Resources(minutes=minutes)}}
    )


def test_a_limit_that_no_step_fits_in_is_refused() -> None:
    stage = PAPER.stage("selflong_8b/1m")
    assert stage is not None
    with pytest.raises(UserError, match="2 end before selflong_8b/1m has started") as told:
        plan_stage(PAPER, with_minutes(2), H100, "selflong_8b", stage)
    enough = int(str(told.value).rpartition(" ")[2])
    assert plan_stage(PAPER, with_minutes(enough), H100, "selflong_8b", stage).seconds > 0


def test_the_warning_leaves_time_for_a_micro_batch_and_a_save() -> None:
    margin = warning_seconds(PAPER, with_minutes(720), "selflong_8b/1m")
    stage = PAPER.stage("selflong_8b/1m")
    assert stage is not None
    planned = plan_stage(PAPER, with_minutes(720), H100, "selflong_8b", stage)
    micro_batch = planned.seconds / planned.steps / stage.sequences_per_step
    save = 12 * 8.03e9 / H100.disk_bandwidth
    assert margin > max(WARNING_SECONDS, micro_batch + save)
    assert warning_seconds(without_shapes(), SITE, "selflong_8b/1m") == WARNING_SECONDS
