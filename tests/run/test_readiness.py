"""What this machine lacks is said before the first job, and only of the jobs that will run."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selflong.recipe.loading import load_site, parse
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import HelmetSite, RemoteServing, TrackingSite, VllmServing
from selflong.run import readiness
from selflong.run.readiness import KINDS, Uses, lacking, uses_of_jobs, uses_of_recipe
from selflong.suites.helmet.section import Helmet

REPOSITORY = Path(__file__).parents[2]
SITE = load_site(REPOSITORY / "config.yaml")
VARIABLE = "READINESS_TEST_KEY"
REMOTE = RemoteServing(kind="remote", url="https://h.example/v1", api_key_variable=VARIABLE)
NONE = Uses(frozenset(), frozenset(), frozenset())


def said(recipe: Recipe, uses: Uses, **changes: Any) -> list[str]:
    return list(lacking(recipe, SITE.model_copy(update=changes), uses))


def synthesis(generator: str) -> Uses:
    return Uses(frozenset({"synthesis"}), frozenset({generator}), frozenset())


def asking(suite: str, model: str) -> Uses:
    return Uses(frozenset({"evaluation"}), frozenset(), frozenset({(suite, model)}))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_laptop_lacks_nothing(laptop: Recipe) -> None:
    assert said(laptop, uses_of_recipe(laptop)) == []


def test_a_key_that_is_not_set(laptop: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    served = {"generators": {"smollm2": REMOTE}}
    (found,) = said(laptop, synthesis("smollm2"), **served)
    assert found.startswith("config.yaml: generators.smollm2.api_key_variable: the environment")
    assert f"{VARIABLE} that holds the API key of https://h.example/v1 is empty" in found
    monkeypatch.setenv(VARIABLE, "sk-“curly”")
    (found,) = said(laptop, synthesis("smollm2"), **served)
    assert "holds a character that no key has" in found
    assert "curly" not in found
    monkeypatch.setenv(VARIABLE, "sk-right")
    assert said(laptop, synthesis("smollm2"), **served) == []


def test_nobody_needs_the_key_of_what_is_not_asked(laptop: Recipe) -> None:
    served = {"generators": {"smollm2": REMOTE}, "evaluation": REMOTE}
    assert said(laptop, NONE, **served) == []
    (found,) = said(laptop, asking("ruler", "base"), **served)
    assert found.startswith("config.yaml: evaluation.api_key_variable: ")


def test_packages_that_are_missing(laptop: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "SERVERS", {"vllm": ("no_such_server",)})
    vllm = {"evaluation": VllmServing(kind="vllm")}
    (found,) = said(laptop, asking("ruler", "base"), **vllm)
    assert found.startswith(
        "config.yaml: python.evaluation: no_such_server cannot be imported where"
    )
    assert (
        said(laptop, asking("ruler", "base"), python={"evaluation": sys.executable}, **vllm) == []
    )
    assert list(lacking(laptop, SITE.model_copy(update=vllm), asking("ruler", "base"), True)) == []


def test_a_python_that_does_not_exist(laptop: Recipe) -> None:
    (found,) = said(laptop, synthesis("smollm2"), python={"synthesis": "/no/such/python"})
    assert found == (
        "config.yaml: python.synthesis: /no/such/python is no program that can be started"
    )


def test_several_nodes_need_slurm(laptop: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    uses = Uses(frozenset({"training"}), frozenset(), frozenset())
    nodes = {"training": SITE.training.model_copy(update={"nodes": 2})}
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert said(laptop, uses, **nodes) == [
        "config.yaml: training.nodes: 2 nodes need SLURM, whose srun is not on PATH"
    ]
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert said(laptop, uses, **nodes) == []


def test_a_tracker_that_is_not_installed(laptop: Recipe) -> None:
    uses = Uses(frozenset({"training"}), frozenset(), frozenset())
    (found,) = said(laptop, uses, tracking=TrackingSite(kind="wandb"))
    assert "python.training: wandb cannot be imported" in found


def test_a_suite_says_what_it_needs_of_the_site(laptop: Recipe, tmp_path: Path) -> None:
    content = {
        "kind": "helmet", "models": ["base"], "configs": ["a"], "lengths": [8], "tasks": {"a": "b gpt-4-f1"},
        "judge": {"model": "gpt", "context_tokens": 9},
    }  # fmt: skip
    suite = Helmet.model_validate(content)
    recipe = laptop.model_copy(update={"suites": {"helmet": suite}})
    assert said(recipe, asking("helmet", "base")) == [
        f"config.yaml: {place}: is missing; suites.helmet of recipe 'laptop' needs it"
        for place in ("helmet", "helmet.judge")
    ]
    cited = recipe.model_copy(
        update={
            "suites": {"helmet": Helmet(**content | {"tasks": {"a": "alce_asqa citation_rec"}})}
        }
    )
    assert said(cited, asking("helmet", "base"))[-1].startswith(
        "config.yaml: helmet.citations: is missing; suites.helmet"
    )
    helmet = HelmetSite(checkout=tmp_path, python="python3", judge=REMOTE)
    (found,) = said(recipe, asking("helmet", "base"), helmet=helmet)
    assert found.startswith("config.yaml: helmet.judge.api_key_variable: ")


def test_jobs_say_what_they_use() -> None:
    def job(rule: str, **wildcards: str) -> Any:
        return SimpleNamespace(
            rule=SimpleNamespace(name=rule), wildcards=SimpleNamespace(**wildcards)
        )

    jobs = [
        job("plan"),
        job("backtranslate", generator="gpt_4o", shard="0"),
        job("evaluate", suite="ruler", model="base", stage="initial"),
        job("train_stage", checkpoint="full/1k"),
    ]
    assert uses_of_jobs(jobs) == Uses(
        frozenset({"synthesis", "evaluation", "training"}),
        frozenset({"gpt_4o"}),
        frozenset({("ruler", "base")}),
    )


def test_every_rule_that_is_asked_about_exists() -> None:
    rules = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    assert all(f"\nrule {rule}:" in rules for rule in KINDS)


def own_model(folder: Path, *files: str) -> dict[str, str]:
    folder.mkdir()
    for name in ("config.json", *files):
        (folder / name).touch()
    return {"kind": "folder", "path": str(folder)}


def with_own_models(tmp_path: Path) -> Recipe:
    whole = own_model(tmp_path / "whole", "model-00001-of-00002.safetensors", "tokenizer.json")
    bare = own_model(tmp_path / "bare")
    spoken = {"kind": "endpoint", "model": "x", "context_tokens": 9, "tokenizer": bare}
    weights = {"whole": whole, "bare": bare, "remote": spoken}
    models = {name: {"label": name, "weights": found} for name, found in weights.items()}
    content = {"name": "own", "description": "", "seed": 1, "models": models}
    return parse(Recipe, content, "own.yaml")


def test_a_folder_without_a_part_of_a_model_is_said_before_it_is_loaded(tmp_path: Path) -> None:
    recipe, bare = with_own_models(tmp_path), tmp_path / "bare"
    jobs = [
        SimpleNamespace(rule=SimpleNamespace(name="load_model"), wildcards=SimpleNamespace(model=m))
        for m in ("whole", "bare")
    ]
    asked = uses_of_jobs(jobs)
    assert asked.loaded == {"whole", "bare"}
    place = "recipes/own.yaml: models.bare.weights.path"
    assert said(recipe, asked) == [
        f"{place}: {bare} holds no weights (*.safetensors, pytorch_model*.bin); name the whole folder "
        "of a model",
        f"{place}: {bare} holds no tokenizer (tokenizer.json, *.model, vocab*, tekken.json); name the "
        "whole folder of a model",
    ]
    *_, last = said(recipe, uses_of_recipe(recipe))
    assert last.startswith(
        f"recipes/own.yaml: models.remote.weights.tokenizer.path: {bare} holds no tok"
    )
    assert said(recipe, NONE) == []


def test_every_rule_that_asks_a_generator_is_looked_at() -> None:
    rules = (REPOSITORY / "rules/synthesis.smk").read_text().split("\nrule ")[1:]
    asking = {rule.partition(":")[0] for rule in rules if "$SYNTHESIS_PYTHON" in rule}
    assert asking == {rule for rule, kind in KINDS.items() if kind == "synthesis"}
