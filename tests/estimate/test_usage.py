from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from selflong.estimate.synthesis import Usage
from selflong.estimate.usage import StepUsage, expected_usage, unfilled
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import BatchApi
from selflong.synthesis.instructions import plan_instructions
from tests.paper import PAPER, SITE

RECIPES = Path(__file__).parents[2] / "recipes"
# Mean of FineWeb-Edu's sample and of the laptop recipe's corpus.
WEB_DOCUMENT, LAPTOP_DOCUMENT = 1031, 6593
# Requests, prompt tokens and completion tokens, by llama.cpp's count, means of two runs of
# the recipe recorded with the plan's tests.
RECORDED = Path(__file__).parent / "recorded" / "laptop.yaml"
USED = {
    "instruction": (36.5, 21363, 1294),
    "summary": (41, 18664, 3260),
    "answer": (10, 3602, 894),
    "closed book": (0.5, 28, 31),
    "back-translation": (11, 3665, 570),
}


@pytest.fixture(scope="module")
def paper() -> Recipe:
    return load_recipe(RECIPES / "selflong.yaml")


def changed(recipe: Recipe, section: str, **settings: object) -> Recipe:
    content = recipe.model_dump(mode="json")
    content["synthesis"][section] |= settings
    return Recipe.model_validate(content)


def by_step(recipe: Recipe, generator: str) -> dict[str, StepUsage]:
    mean = WEB_DOCUMENT if recipe.name == "selflong" else LAPTOP_DOCUMENT
    return {usage.step: usage for usage in expected_usage(recipe, generator, mean)}


def counts(usage: StepUsage) -> tuple[int, int, int]:
    return usage.requests, usage.prompt_tokens, usage.completion_tokens


def test_the_estimate_of_a_recorded_run_is_near_what_it_used() -> None:
    expected = by_step(load_recipe(RECORDED), "smollm2")
    sums = [sum(figures) for figures in zip(*map(counts, expected.values()), strict=True)]
    used = [sum(figures) for figures in zip(*USED.values(), strict=True)]
    print(f"requests, prompt tokens, completion tokens: estimated {sums}, used {used}")
    assert sums == pytest.approx(used, rel=0.15)
    assert expected.keys() == USED.keys()
    # The one closed-book question that is drawn shows nothing.
    for step in USED.keys() - {"closed book"}:
        assert counts(expected[step]) == pytest.approx(USED[step], rel=0.2), step


def test_short_documents_fill_a_sample_better_than_long_ones() -> None:
    rooms = np.array([60_000.0, 1800.0])
    assert unfilled(rooms, WEB_DOCUMENT)[0] < 0.01 * 60_000
    assert unfilled(rooms, LAPTOP_DOCUMENT)[1] == pytest.approx(0.15 * 1800)


def test_shards_divide_the_samples_and_follow_the_distributions(paper: Recipe) -> None:
    assert paper.synthesis is not None
    section = paper.synthesis.long_input
    plans = [
        plan
        for shard in range(section.shards)
        for plan in plan_instructions(paper, "gpt_4o", shard)
    ]
    assert len({plan.sample_id for plan in plans}) == len(plans) == section.samples
    mean = sum(plan.target_tokens for plan in plans) / len(plans)
    assert mean == pytest.approx(66_700, rel=0.02)
    families = Counter(plan.brief.family for plan in plans)
    for family, weight in section.families.items():
        share = weight / sum(section.families.values())
        assert families[family] / len(plans) == pytest.approx(share, abs=0.01)


def test_other_generators_get_other_samples(paper: Recipe) -> None:
    ours, theirs = (plan_instructions(paper, name, 0) for name in ("gpt_4o", "llama_3.1_8b"))
    assert not {plan.sample_id for plan in ours} & {plan.sample_id for plan in theirs}


def test_every_document_token_is_read_once_at_least(paper: Recipe) -> None:
    """4.6B tokens of long inputs take about as many prompt tokens for their summaries."""
    usage = by_step(paper, "gpt_4o")
    assert 0.5 < usage["summary"].prompt_tokens / 4.6e9 < 1.5
    assert usage["answer"].requests == 69_000
    assert usage["closed book"].requests == 0


def test_batches_cost_half() -> None:
    generator = PAPER.generators["gpt_4o"]
    serving = SITE.generators["gpt_4o"]
    by_batches = serving.model_copy(update={"batch": BatchApi()})
    used = Usage(1, 2_000_000, 1_000_000)
    assert used.usd(generator, serving) == pytest.approx(15)
    assert used.usd(generator, by_batches) == pytest.approx(7.5)


def test_a_narrow_window_takes_more_summaries() -> None:
    laptop = changed(load_recipe(RECIPES / "laptop.yaml"), "long_input", chunk_tokens=256)
    content = laptop.model_dump(mode="json")
    content["generators"]["smollm2"]["context_tokens"] = 500
    narrow = Recipe.model_validate(content)
    wide, tight = by_step(laptop, "smollm2"), by_step(narrow, "smollm2")
    assert tight["summary"].requests > wide["summary"].requests
    assert tight["answer"].prompt_tokens < wide["answer"].prompt_tokens


def test_further_turns_are_asked_for_and_answered(paper: Recipe) -> None:
    few = changed(paper, "long_input", samples=200, shards=1)
    once, thrice = (
        by_step(changed(few, "long_input", follow_ups=turns), "gpt_4o") for turns in (0, 2)
    )
    assert "follow-up" not in once
    assert (once["answer"].requests, thrice["answer"].requests) == (200, 600)
    assert thrice["follow-up"].requests == 400
    assert thrice["follow-up"].prompt_tokens > once["answer"].prompt_tokens


def test_twice_the_long_outputs_take_twice_the_calls() -> None:
    laptop = load_recipe(RECIPES / "laptop.yaml")
    once = by_step(changed(laptop, "long_output", samples=10), "smollm2")["back-translation"]
    twice = by_step(changed(laptop, "long_output", samples=20), "smollm2")["back-translation"]
    assert twice.requests == 2 * once.requests
    assert twice.prompt_tokens == pytest.approx(2 * once.prompt_tokens, abs=2)
