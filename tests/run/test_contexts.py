"""Lengths beyond what a checkpoint reads, said before anything is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selflong.placement.shapes import configuration_folder
from selflong.recipe.loading import load_site, parse
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import HubWeights
from selflong.results import download_folder
from selflong.run.compatibility import mistakes
from selflong.run.contexts import context_of

REPOSITORY = Path(__file__).parents[2]
SITE = load_site(REPOSITORY / "config.yaml")
GRID = {"kind": "needle_grid", "models": ["m"], "lengths": [4096, 8192], "depths": 1, "seed": 1}
BEYOND = "suites.s.lengths: 8,192 tokens are more than m reads, 4,096: "


def recipe(weights: dict[str, Any], suite: dict[str, Any] = GRID, **others: Any) -> Recipe:
    models = {"m": {"label": "m", "weights": weights, **others.pop("m", {})}, **others}
    content = {"name": "r", "description": "", "seed": 1, "models": models, "suites": {"s": suite}}
    return parse(Recipe, content, "recipe")


def said(found: Recipe, site: Site = SITE) -> list[str]:
    return [text.partition("r.yaml: ")[2] for text in mistakes(found, site)]


@pytest.fixture
def folder(tmp_path: Path) -> dict[str, Any]:
    """Weights that read 4,096 tokens, as far as anybody sees who does not load them."""
    write_config(tmp_path / "model", {"max_position_embeddings": 4096, "model_type": "llama"})
    return {"kind": "folder", "path": str(tmp_path / "model")}


def write_config(folder: Path, content: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content))


def stage(name: str, length: int) -> dict[str, Any]:
    return {"name": name, "length": length, "rope_base": "ntk", "tokens": 0}


def test_a_length_beyond_a_folder_is_one_sentence_with_the_mend(folder: dict[str, Any]) -> None:
    (found,) = said(recipe(folder))
    assert found == f"{BEYOND}ask it at fewer (suites.s.lengths_of: {{m: [4096]}})"
    assert said(recipe(folder, {**GRID, "lengths_of": {"m": [4096]}})) == []
    assert said(recipe(folder, m={"supports": 4096})) == []


def test_a_model_that_fits_no_length_is_left_out(folder: dict[str, Any]) -> None:
    (found,) = said(recipe(folder, {**GRID, "lengths": [8192]}))
    assert found == f"{BEYOND}leave it out of suites.s.models"


@pytest.mark.parametrize("models", [["longer"], ["longer/8k"], ["longer/16k"]])
def test_a_stage_makes_room(folder: dict[str, Any], models: list[str]) -> None:
    longer = {"label": "l", "start": "m", "stages": [stage("8k", 8192), stage("16k", 16384)]}
    assert said(recipe(folder, {**GRID, "models": models}, longer=longer)) == []


def test_a_stage_is_asked_no_longer_than_it_reads(folder: dict[str, Any]) -> None:
    longer = {"label": "l", "start": "m", "stages": [stage("6k", 6144), stage("16k", 16384)]}
    asked = recipe(folder, {**GRID, "models": ["longer", "longer/6k"]}, longer=longer)
    (found,) = said(asked)
    assert "8,192 tokens are more than longer/6k reads, 6,144: " in found
    assert "lengths_of: {longer/6k: [4096]}" in found


def test_reasoning_needs_room_too(folder: dict[str, Any]) -> None:
    chat = {"reasoning_end": "</think>", "reasoning_tokens": 1024}
    (found,) = said(recipe(folder, {**GRID, "lengths": [4096]}, m={"chat": chat}))
    assert "4,096 tokens and 1,024 of reasoning are more than m reads, 4,096: " in found


def test_an_endpoint_reads_what_the_recipe_says() -> None:
    tokenizer = {"kind": "hub", "repository": "a/b", "revision": "main"}
    weights = {"kind": "endpoint", "model": "x", "context_tokens": 4096, "tokenizer": tokenizer}
    remote = {"kind": "remote", "url": "https://h.example/v1", "api_key_variable": "THE_KEY"}
    content = {**SITE.model_dump(mode="json", exclude_unset=True), "endpoints": {"m": remote}}
    (found,) = said(recipe(weights), parse(Site, content, "site"))
    assert found.startswith(BEYOND)


def places(site: Site, weights: HubWeights) -> Iterator[Path]:
    """Where a hub model's configuration may lie before it is loaded."""
    yield download_folder(site, weights.download.name)
    yield configuration_folder(site.work, weights)


@pytest.mark.parametrize("place", [0, 1])
def test_a_hub_model_is_known_once_its_configuration_is_here(tmp_path: Path, place: int) -> None:
    site = SITE.model_copy(update={"results": tmp_path / "results", "work": tmp_path / "work"})
    weights = {"kind": "hub", "repository": "a/b", "revision": "main"}
    assert said(recipe(weights), site) == []
    write_config(list(places(site, HubWeights(**weights)))[place], {"n_positions": 4096})
    (found,) = said(recipe(weights), site)
    assert found.startswith(BEYOND)


PERPLEXITY = {
    **{"kind": "perplexity", "repository": "a/b", "revision": "main", "documents": 1},
    **{"models": ["m"], "lengths": [8192], "scored_tokens": 64},
}
BENCH = {
    **{"kind": "longbench_v2", "repository": "a/b", "revision": "main"},
    **{"models": ["m"], "lengths": [8192]},
}


@pytest.mark.parametrize("suite", [PERPLEXITY, BENCH, {**GRID, "lengths": [4200]}])
def test_what_its_job_would_measure_is_allowed(
    folder: dict[str, Any], suite: dict[str, Any]
) -> None:
    assert said(recipe(folder, suite)) == []


def test_what_only_the_weights_know_is_left_to_them(tmp_path: Path, laptop: Recipe) -> None:
    assert context_of(laptop, SITE, "full/2k") is None
    write_config(tmp_path / "model", {"model_type": "llama"})
    weights = {"kind": "folder", "path": str(tmp_path / "model")}
    assert said(recipe(weights)) == []
