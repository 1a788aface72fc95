"""Mistakes that recipe and site show together, before the first job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.reader import read_yaml
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import HelmetSite, LlamaCppServing, RemoteServing, VllmServing
from selflong.run.compatibility import mistakes

REPOSITORY = Path(__file__).parents[2]
SITE = load_site(REPOSITORY / "config.yaml")
REMOTE = RemoteServing(
    kind="remote", url="https://h.example/v1", api_key_variable="THE_KEY", budget_usd=5.0
)


def said(recipe: Recipe, **changes: Any) -> list[str]:
    return list(mistakes(recipe, SITE.model_copy(update=changes)))


@pytest.mark.parametrize("name", ["laptop", "recall", "selflong"])
def test_the_recipes_suit_the_site(name: str) -> None:
    assert said(load_recipe(REPOSITORY / "recipes" / f"{name}.yaml")) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"generators": {}}, "config.yaml: generators.smollm2: is missing"),
        ({"generators": {"smollm2": REMOTE}}, "generators.smollm2.budget_usd has no price"),
        (
            {"generators": {"smollm2": VllmServing(kind="vllm")}},
            "generators.smollm2.kind: vllm serves weights of kind folder or hub, not gguf",
        ),
        (
            {"evaluation": LlamaCppServing(kind="llama_cpp")},
            "evaluation.kind: llama_cpp serves no checkpoint",
        ),
        (
            {"training": SITE.training.model_copy(update={"ring": 3})},
            "training.ring: 2 ranks cannot be shared by ring 3 x ulysses 1",
        ),
        ({"work": Path("results")}, "work: results is the folder of the results too"),
    ],
)
def test_what_cannot_go_well_is_one_sentence(
    laptop: Recipe, changes: dict[str, Any], sentence: str
) -> None:
    (found,) = said(laptop, **changes)
    assert sentence in found


def test_who_judges_for_helmet_is_known_before_the_first_job(tmp_path: Path) -> None:
    recipe = load_recipe(REPOSITORY / "recipes/prolong.yaml")
    suites = [name for name, suite in recipe.suites.items() if suite.kind == "helmet"]
    site = HelmetSite(checkout=tmp_path, python="python")
    found = said(recipe, helmet=site)
    assert all(f"suites.{name}" in text for name, text in zip(suites, found, strict=True))
    assert all(
        text.startswith("config.yaml: helmet.judge is missing: say where gpt-4o") for text in found
    )
    assert said(recipe, helmet=site.model_copy(update={"judge": REMOTE})) == []
    unpriced = recipe.model_copy(deep=True)
    for name in suites:
        judge = unpriced.suites[name].judge.model_copy(update={"price": None})
        unpriced.suites[name] = unpriced.suites[name].model_copy(update={"judge": judge})
    (first, *_) = said(unpriced, helmet=site.model_copy(update={"judge": REMOTE}))
    assert "helmet.judge.budget_usd has no price" in first
    (missing,) = said(
        recipe, helmet=HelmetSite(checkout=tmp_path / "none", python="p", judge=REMOTE)
    )
    assert missing.endswith("none does not exist; name HELMET's folder")


def test_weights_that_no_package_carries_are_named(laptop: Recipe) -> None:
    weights = laptop.models["base"].weights
    assert weights is not None
    lost = weights.model_copy(update={"file": "*.none"})
    models = laptop.models | {"base": laptop.models["base"].model_copy(update={"weights": lost})}
    (found,) = said(laptop.model_copy(update={"models": models}))
    assert "models.base.weights: '*.none' matches 0 files" in found


def test_all_mistakes_are_said_at_once(laptop: Recipe) -> None:
    found = said(laptop, generators={}, work=Path("results"))
    assert len(found) == 2


def test_all_mistakes_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    content = read_yaml(REPOSITORY / "recipes" / "laptop.yaml")
    content["seed"] = "many"
    content["synthesis"]["corpsu"] = content["synthesis"].pop("corpus")
    content["models"]["full"]["stages"][0]["length"] = 0
    path = tmp_path / "laptop.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as mistakes_said:
        load_recipe(path)
    places = [line.split(": ")[1] for line in str(mistakes_said.value).splitlines()]
    assert places == ["synthesis.corpsu", "seed", "models.full.stages[0].length"]
