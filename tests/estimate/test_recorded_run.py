"""The plan of a recipe against a recorded run of it: time, tokens, requests, disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from selflong.estimate.schedule import schedule
from selflong.estimate.steps import Planner, Step
from selflong.placement.machines import TWO_CORES
from selflong.recipe.loading import load_recipe, load_site

HERE = Path(__file__).parent
RECORDED: dict[str, Any] = json.loads((HERE / "recorded" / "laptop.json").read_text())
SITE = load_site(HERE.parents[1] / "config.yaml")
# Of requests of synthesis only the sum with the others is compared: how often a small model's answer is
# refused and asked for again is not known before.
COUNTED = [
    (what, stage)
    for what in ("tokens", "requests", "prompt_tokens", "completion_tokens")
    for stage in RECORDED[what]
    if stage != "synthesis"
]


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    recipe = load_recipe(HERE / "recorded" / "laptop.yaml")
    return Planner(recipe, SITE, TWO_CORES).steps()


def planned(steps: list[Step], what: str, stage: str | None = None) -> float:
    return sum(getattr(step, what) for step in steps if stage in (None, step.part))


@pytest.mark.parametrize(("what", "stage"), COUNTED)
def test_tokens_and_requests_of_a_stage(steps: list[Step], what: str, stage: str) -> None:
    assert planned(steps, what, stage) == pytest.approx(RECORDED[what][stage], rel=0.15)


@pytest.mark.parametrize("what", ["requests", "prompt_tokens"])
def test_tokens_and_requests_of_the_whole(steps: list[Step], what: str) -> None:
    assert planned(steps, what) == pytest.approx(sum(RECORDED[what].values()), rel=0.15)


@pytest.mark.parametrize("stage", ["corpus", "retrieval", "training", "evaluation"])
def test_disk_of_a_stage(steps: list[Step], stage: str) -> None:
    assert planned(steps, "kept_bytes", stage) == pytest.approx(
        RECORDED["kept_bytes"][stage], rel=0.2
    )


def test_disk_of_the_whole(steps: list[Step]) -> None:
    kept = sum(RECORDED["kept_bytes"].values())
    assert planned(steps, "kept_bytes") == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("stage", list(RECORDED["seconds"]))
def test_time_of_a_stage(steps: list[Step], stage: str) -> None:
    seconds = sum(step.jobs * step.seconds for step in steps if step.part == stage)
    assert RECORDED["seconds"][stage] / 2 < seconds < 2 * RECORDED["seconds"][stage]


def test_time_of_the_whole(steps: list[Step]) -> None:
    wall = max(span.end for span in schedule(steps, TWO_CORES.nodes).values())
    assert RECORDED["wall_seconds"] / 2 < wall < 2 * RECORDED["wall_seconds"]
