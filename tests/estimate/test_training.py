"""How long a stage's job takes, and how often it is started."""

from dataclasses import replace

import pytest

from selflong.cluster import WARNING_SECONDS
from selflong.estimate.training import (
    FAILURES,
    estimate_stage,
    retries,
    seconds_of,
    stage_share,
    utilisation,
    warning_seconds,
)
from selflong.job import UserError
from selflong.placement.fit import choose
from selflong.placement.layout import Parallelism
from selflong.placement.machines import FLASH_2, FLASH_3, H100, with_kernel
from selflong.placement.shapes import KNOWN
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Resources, Site, TrainingSite
from tests.paper import PAPER, SITE, without_shapes

LLAMA_8B = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]


def test_the_speed_of_prolong_at_64k_is_met() -> None:
    """2,770 tokens a second and H100 (arXiv 2410.02660), which had flash-attn 2."""
    tokens, layout = 2**22, Parallelism(64, 8, keep_attention=False)
    seconds = seconds_of(LLAMA_8B, tokens, 65_536 / 2, H100, layout)
    assert tokens / seconds / 64 == pytest.approx(2770, rel=0.1)


def test_of_an_endless_step_no_more_is_drawn_than_ranks_share_evenly() -> None:
    stage = next(stage for stage in PAPER.models["selflong_8b"].stages if stage.length == 2**18)
    endless = stage.model_copy(update={"global_batch_tokens": stage.length * 10**10})
    assert 0.9 < stage_share(PAPER, endless, LLAMA_8B, Parallelism(8, 1), H100) <= 1


@pytest.mark.parametrize("length", [2**18, 2**19, 2**20])
def test_by_the_rates_of_flash_attn_3_one_document_reaches_the_goal(length: int) -> None:
    layout = choose(LLAMA_8B, length, 8, H100).layout
    reached = [
        utilisation(LLAMA_8B, length / 2, with_kernel(H100, kernel), layout)
        for kernel in (FLASH_2, FLASH_3)
    ]
    assert 0.25 < reached[0] < 0.35 and 0.45 < reached[1] < 0.55
    again = replace(layout, keep_attention=False)
    assert utilisation(LLAMA_8B, length / 2, H100, again) < reached[0]
    waiting = utilisation(LLAMA_8B, length / 2, H100, layout, useful=0.5)
    assert reached[0] / 2 < waiting < 0.7 * reached[0]


def with_limit(minutes: int, recipe: Recipe = PAPER) -> int | None:
    site = SITE.model_copy(update={"resources": {"training": Resources(minutes=minutes)}})
    return retries(recipe, site)


def test_a_stage_of_days_is_retried_as_often_as_it_passes_through_the_queue() -> None:
    by_hours = with_limit(4 * 60)
    by_days = with_limit(30 * 24 * 60)
    assert by_days == FAILURES
    assert by_hours is not None
    assert by_hours > with_limit(8 * 60) > FAILURES  # type: ignore[operator]


def test_a_model_that_nobody_knows_leaves_the_retries_to_the_profile() -> None:
    assert with_limit(60, without_shapes()) is None


@pytest.mark.parametrize("minutes", [1, 5, 60])
def test_a_short_limit_still_gets_on(minutes: int) -> None:
    attempts = with_limit(minutes)
    assert attempts is not None and attempts < 100_000


def with_gpus(minutes: int) -> Site:
    training = TrainingSite(device="cuda", ranks_per_node=8)
    return SITE.model_copy(
        update={"training": training, "resources": {"training": Resources(minutes=minutes)}}
    )


def test_a_limit_that_no_step_fits_in_is_refused() -> None:
    stage = PAPER.stage("selflong_8b/1m")
    assert stage is not None
    with pytest.raises(UserError, match="2 end before selflong_8b/1m has started") as told:
        estimate_stage(PAPER, with_gpus(2), H100, "selflong_8b", stage)
    enough = int(str(told.value).rpartition(" ")[2])
    assert estimate_stage(PAPER, with_gpus(enough), H100, "selflong_8b", stage).seconds > 0


def test_the_warning_leaves_time_for_a_micro_batch_and_a_save() -> None:
    margin = warning_seconds(PAPER, with_gpus(720), "selflong_8b/1m")
    stage = PAPER.stage("selflong_8b/1m")
    assert stage is not None
    estimate = estimate_stage(PAPER, with_gpus(720), H100, "selflong_8b", stage)
    micro_batch = estimate.seconds / estimate.steps / stage.sequences_per_step
    save = 12 * 8.03e9 / H100.disk_bandwidth
    assert margin > max(WARNING_SECONDS, micro_batch + save)
    assert warning_seconds(without_shapes(), SITE, "selflong_8b/1m") == WARNING_SECONDS
