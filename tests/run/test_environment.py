"""What jobs ask of the machine that they run on."""

from pathlib import Path

import pytest

from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.site import TrainingSite
from selflong.run.environment import Environment

RECIPES = Path(__file__).parents[2] / "recipes"
NOWHERE = Path("nowhere")


@pytest.mark.parametrize(
    ("training", "checkpoint", "threads"),
    [
        ({"ranks_per_node": 2}, "small_full/256", 1),
        ({"ranks_per_node": 2}, "full/2k", 2),
        ({"ranks_per_node": 2, "threads_per_rank": 3}, "full/2k", 6),
        ({"ranks_per_node": 4, "device": "cuda"}, "small_full/256", 4),
    ],
)
def test_a_stage_holds_the_cores_that_it_trains_on(
    training: dict[str, object], checkpoint: str, threads: int
) -> None:
    laptop = load_site(RECIPES.parent / "config.yaml")
    site = laptop.model_copy(update={"training": TrainingSite.model_validate(training)})
    jobs = Environment(load_recipe(RECIPES / "laptop.yaml"), site)
    assert jobs.stage_threads(checkpoint, NOWHERE) == threads
