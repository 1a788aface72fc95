"""What the plan says of the recipes beside the papers': they fit the machines that they are for."""

from pathlib import Path

import pytest

from selflong.estimate.data_stages import stage_data
from selflong.estimate.schedule import schedule
from selflong.estimate.steps import Planner, Step
from selflong.placement.machines import H100, MACHINES
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.site import TrainingSite
from selflong.run.run import Run

ROOT = Path(__file__).parents[2]
SITE = load_site(ROOT / "config.yaml")
ONE_RANK = SITE.model_copy(update={"training": TrainingSite(device="cuda", ranks_per_node=1)})


@pytest.mark.parametrize(("machine", "hours"), [("rtx_4090", 24), ("one_h100", 12)])
def test_one_gpu_does_the_whole_method_in_a_day(machine: str, hours: float) -> None:
    recipe = load_recipe(ROOT / "recipes" / "one_gpu.yaml")
    steps = Planner(recipe, ONE_RANK, MACHINES[machine]).steps()
    assert all(step.fits and step.nodes <= 1 for step in steps)
    assert max(step.memory for step in steps if step.uses_devices) < MACHINES[machine].memory
    assert max(span.end for span in schedule(steps, 1).values()) < 3600 * hours
    assert sum(step.device_hours(MACHINES[machine]) for step in steps) > 1


@pytest.mark.parametrize("name", ["families", "beyond_1m", "questions", "prolong_raw"])
def test_a_recipe_fits_nodes_of_eight_gpus(name: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    steps = Planner(recipe, SITE, H100).steps()
    assert all(step.fits for step in steps)
    trained = [step for step in steps if step.part == "training" and step.uses_devices]
    assert len(trained) == len(Run(recipe, SITE).inputs.trained_checkpoints)


def planned(name: str) -> list[Step]:
    return Planner(load_recipe(ROOT / "recipes" / f"{name}.yaml"), SITE, H100).steps()


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
def test_no_step_of_a_recipe_waits_for_what_nobody_does(name: str) -> None:
    steps = planned(name)
    known = {step.name for step in steps}
    assert {earlier for step in steps for earlier in step.after} <= known


def test_mixtures_of_document_tasks_wait_for_them() -> None:
    steps = {step.name: step for step in planned("prolong")}
    mixture = steps["mixture synthetic_10_8b sft"]
    assert [name for name in mixture.after if name.startswith("document tasks")]


def test_each_family_packs_with_its_own_tokenizer() -> None:
    inputs = Run(load_recipe(ROOT / "recipes" / "families.yaml"), SITE).inputs
    stages = {"qwen3": "64k", "qwen2.5": "64k", "mistral": "64k", "olmo2": "8k"}
    used = {inputs.mixture_tokenizer(*stage)[0].parent.name for stage in stages.items()}
    assert used == {"qwen3_8b", "qwen2.5_7b", "mistral_7b", "olmo2_7b"}


@pytest.mark.parametrize("stage", ["256k", "512k"])
def test_natural_and_synthetic_data_have_equal_tokens(stage: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / "questions.yaml")
    natural, synthetic = (stage_data(recipe, name, stage) for name in ("natural", "synthetic"))
    assert natural.tokens == pytest.approx(synthetic.tokens)
    assert natural.by_entry["short"].tokens == pytest.approx(synthetic.by_entry["short"].tokens)
