"""Every kind of source is read by a recipe, planned, and found by the rules."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from selflong.estimate.write import write_plan
from selflong.recipe.loading import load_site, parse
from selflong.recipe.reader import read_yaml
from selflong.recipe.recipe import Recipe
from selflong.run.run import Run
from selflong.sources.conversations import ConversationSource
from selflong.sources.documents import DocumentSource

ROOT = Path(__file__).parents[2]
HUB = {"repository": "owner/name", "revision": "main", "rows": 90, "tokens": 90_000}


def kinds(union: Any) -> set[str]:
    sections = get_args(get_args(union)[0])
    return {get_args(section.model_fields["kind"].annotation)[0] for section in sections}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """The laptop's with a source of each kind; its mixture d64 is of the kind recall."""
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "text": "One.", "messages": []}\n')
    (tmp_path / "mds").mkdir()
    (tmp_path / "mds" / "index.json").write_text("{}")
    here = {"path": str(tmp_path), "files": "*.jsonl"}
    tokens = {"tokenizer": "base", "rows": 9, "tokens": 9_000}
    content = read_yaml(ROOT / "recipes" / "laptop.yaml")
    content["corpora"]["documents"]["sources"] += [
        {"kind": "folder", **here},
        {"kind": "hub", **HUB, "files": "*.parquet", "bytes": 400_000},
    ]
    entries = content["mixtures"]["full"]["entries"]
    for kind, settings in {
        "hub": {**HUB, "files": "*.parquet", "column": "messages"},
        "folder": here,
        "mds": {**HUB, "files": "**", "tokenizer": "base"},
        "mds_folder": {"path": str(tmp_path / "mds"), **tokens},
        "text": HUB,
        "text_folder": here,
        "corpus": {"corpus": "documents"},
    }.items():
        entries[kind] = {"source": {"kind": kind, **settings}, "epochs": 1}
    return parse(Recipe, content, "laptop.yaml")


def test_a_recipe_with_each_kind_is_planned(recipe: Recipe, tmp_path: Path) -> None:
    given = {
        entry.source.kind
        for mixture in recipe.mixtures.values()
        for entry in mixture.entries.values()
    }
    assert given == kinds(ConversationSource)
    assert {source.kind for source in recipe.corpora["documents"].sources} == kinds(DocumentSource)
    write_plan(recipe, load_site(ROOT / "config.yaml"), tmp_path / "plan")
    plan = (tmp_path / "plan" / "plan.md").read_text()
    for mixture in ("full", "d64"):
        for entry in recipe.mixtures[mixture].entries:
            assert re.search(rf"^\| {mixture} \| \w+ \| {entry} \| [1-9]", plan, re.MULTILINE), (
                entry
            )


def test_the_rules_wait_for_what_each_kind_reads(recipe: Recipe, tmp_path: Path) -> None:
    inputs = Run(recipe, load_site(ROOT / "config.yaml")).inputs
    files = inputs.entries("full")
    assert {name for name, paths in files.items() if not paths} == {"short"}  # a package's
    assert {"hub", "mds", "text"} == {
        name for name, paths in files.items() if "downloads" in str(paths)
    }
    assert tmp_path / "rows.jsonl" in inputs.mixture_files("full")
    assert inputs.entries("d64") == {"needles": []} and inputs.mixture_tokenizer("d64", "64") == []
