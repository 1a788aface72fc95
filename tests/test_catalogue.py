"""What `selflong evaluate` makes of a model, suites and lengths."""

from pathlib import Path
from typing import Any

import pytest

from selflong.catalogue import (
    Evaluation,
    NamedModel,
    RemoteModel,
    added,
    chosen_suites,
    load,
    named_model,
)
from selflong.job import UserError
from selflong.recipe.loading import checked_recipe, load_recipe
from selflong.recipe.recipe import Recipe

CATALOGUE = Path(__file__).parents[1] / "recipes" / "evaluate.yaml"


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Any]:
    return load(CATALOGUE)


def model_of(name: str, folder: Path) -> NamedModel:
    (folder / name).mkdir(exist_ok=True)
    return named_model(str(folder / name))


def test_a_folder_a_hub_model_and_a_name_at_an_endpoint(tmp_path: Path) -> None:
    found = model_of("My Model-1", tmp_path)
    assert (found.name, found.entry["label"]) == ("my_model_1", "My Model-1")
    assert found.entry["weights"] == {"kind": "folder", "path": str(tmp_path / "My Model-1")}
    hub = named_model("Qwen/Qwen3-8B@abc")
    assert (hub.name, hub.entry["label"]) == ("qwen3_8b_abc", "Qwen/Qwen3-8B@abc")
    assert hub.entry["weights"] == {"kind": "hub", "repository": "Qwen/Qwen3-8B", "revision": "abc"}
    assert "revision" in named_model("Qwen/Qwen3-8B").entry["weights"]["assumed"]
    remote = named_model("gpt-4o", RemoteModel("Qwen/Qwen3-8B@abc", 128_000, (2.5, 10.0)))
    assert remote.entry["weights"] == {
        "kind": "endpoint",
        "model": "gpt-4o",
        "context_tokens": 128_000,
        "tokenizer": hub.entry["weights"],
        "price": {"prompt": 2.5, "completion": 10.0},
    }


@pytest.mark.parametrize(
    ("suites", "lengths", "supports", "sentence"),
    [
        (["rulr"], [], None, "--suites: 'rulr' does not exist; did you mean 'ruler'?"),
        (["ruler"], ["3k"], None, "--lengths: '3k': ruler has 4k, 8k, 16k, 32k"),
        (["ruler"], ["1m"], 131_072, "the model reads 131,072 tokens, not 1,048,576"),
        (["ruler"], [], 2048, "ruler asks for at least 4,096 tokens; the model reads 2,048"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    catalogue: dict[str, Any], suites: list[str], lengths: list[str], supports: int, sentence: str
) -> None:
    with pytest.raises(UserError) as mistake:
        chosen_suites(catalogue, suites, lengths, supports)
    assert sentence in str(mistake.value)


@pytest.mark.parametrize("name", ["../laptop", "a/b", ".", "", "A", "a\n", 300 * "a"])
def test_a_name_that_is_no_file_s_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(
        UserError, match="--name: a name begins with a lower-case letter or a digit"
    ):
        Evaluation(name)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("a/b@../../etc", "revision: a revision is a branch, a tag or a commit, not '../../etc'"),
        ("a/b@v 1", "revision: a revision is a branch"),
        ("../b", "is no folder, and no model of the hub"),
        ("a/b/c", "is no folder, and no model of the hub"),
        ("a/$(touch x)", "is no folder, and no model of the hub"),
        ("a/b\n", "is no folder, and no model of the hub"),
    ],
)
def test_what_names_no_model_is_one_sentence(model: str, sentence: str) -> None:
    with pytest.raises(UserError) as mistake:
        named_model(model)
    assert sentence in str(mistake.value)


def test_lengths_are_named_as_papers_do(catalogue: dict[str, Any]) -> None:
    found = chosen_suites(catalogue, ["ruler", "ruler_2024", "output_length"], ["1M", "128k"], None)
    assert found["ruler"]["lengths"] == [131_072, 1_048_576]
    assert found["ruler"]["samples"] == {131_072: 100, 1_048_576: 50}
    assert found["ruler_2024"]["lengths"] == [128_000, 1_000_000]
    assert chosen_suites(catalogue, ["mrcr"], ["128k"], None)["mrcr"]["lengths"] == [131_072]
    # Its lengths are those of answers.
    assert found["output_length"] == catalogue["suites"]["output_length"]
    assert chosen_suites(catalogue, ["short_tasks"], ["1M"], None)["short_tasks"]["tasks"]
    every = chosen_suites(catalogue, ["needle_grid"], [], 16_384)
    assert every["needle_grid"]["lengths"] == [4096, 8192, 16_384]


def recipe_of(content: dict[str, Any]) -> Recipe:
    return checked_recipe(content, "evaluation")


def lengths_asked(recipe: Recipe, suite: str) -> dict[str, list[int]]:
    section = recipe.suites[suite]
    found = {name: recipe.asked(suite, f"{name}/initial") for name in section.models}
    return {name: getattr(asked, "lengths", []) for name, asked in found.items()}


def test_a_model_that_is_added_leaves_the_others_as_they_were(
    catalogue: dict[str, Any], tmp_path: Path
) -> None:
    def add(content: dict[str, Any], name: str, *lengths: str) -> dict[str, Any]:
        suites = chosen_suites(catalogue, ["ruler", "needle_grid"], lengths, None)
        return added(content, model_of(name, tmp_path), suites)

    first = add(Evaluation("evaluation", tmp_path).recipe_content(), "a", "8k", "4k")
    assert "lengths_of" not in first["suites"]["ruler"]
    second = add(add(first, "b", "16k"), "c", "4k", "8k", "16k")
    recipe = recipe_of(second)
    assert lengths_asked(recipe, "ruler") == {
        "a": [4096, 8192], "b": [16_384], "c": [4096, 8192, 16_384],
    }  # fmt: skip
    again = recipe_of(add(second, "b", "4k"))
    assert lengths_asked(again, "ruler")["b"] == [4096, 16_384]
    assert lengths_asked(again, "ruler")["a"] == [4096, 8192]
    with pytest.raises(UserError, match="has another model 'a' already"):
        added(second, NamedModel("a", {"weights": {"kind": "folder", "path": "/other"}}), {})


def test_the_files_hold_what_was_asked(catalogue: dict[str, Any], tmp_path: Path) -> None:
    files = Evaluation("mine", tmp_path / "evaluations")
    suites = chosen_suites(catalogue, ["ruler"], ["4k"], None)
    content = added(files.recipe_content(), model_of("a", tmp_path), suites)
    endpoint = {"kind": "remote", "url": "https://h.example", "api_key_variable": "KEY"}
    files.write(content, files.site_with({"gpt": endpoint}))
    assert files.recipe_content() == content
    assert load_recipe(files.recipe) == recipe_of(content)
    assert set(files.site_with({"other": endpoint})["endpoints"]) == {"gpt", "other"}
