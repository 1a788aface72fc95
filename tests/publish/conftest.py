"""A finished run that may be published: drawn scores and counts, a few samples, models of some kilobytes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM

from selflong.formats import PROVENANCE, SAMPLES, table, write_json, write_parquet
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.results import Results, synthesis_shards
from tests.report.conftest import write_counts, write_metrics, write_predictions

ROOT = Path(__file__).parents[2]
MODEL = LlamaConfig(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    vocab_size=2000,
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a site, a recipe all of whose licences let publish, and its results."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "recipes").mkdir()
    content = yaml.safe_load((ROOT / "recipes" / "laptop.yaml").read_text())
    content["corpora"]["documents"]["sources"].pop()
    for name in ("rope_only", "small_base", "small_rope_only", "small_full", "small_init"):
        del content["models"][name]
    content["models"]["full"]["stages"] = content["models"]["full"]["stages"][:1]
    del content["suites"]["recall"]
    content["mixtures"] = {"full": content["mixtures"]["full"]}
    for suite in content["suites"].values():
        suite["models"] = ["base", "full"]
    content["report"] = {}
    (folder / "recipes" / "laptop.yaml").write_text(yaml.safe_dump(content))
    (folder / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    write_run(load_recipe(folder / "recipes" / "laptop.yaml"), Results(folder / "results/laptop"))
    return folder


def write_run(recipe: Recipe, results: Results) -> None:
    rng = np.random.default_rng(5)
    write_predictions(recipe, results, rng)
    write_counts(recipe, results, rng)
    write_metrics(recipe, results, rng)
    for kind in ("long_input", "long_output"):
        for shard in synthesis_shards(recipe, kind):
            path = results.samples("smollm2", kind, shard)
            write_parquet(table([sample(kind, n) for n in range(5)], SAMPLES), path, SAMPLES)
    torch.manual_seed(1)
    LlamaForCausalLM(MODEL).save_pretrained(results.checkpoint("full/512"))
    write_json({}, results.manifest)


def sample(kind: str, number: int) -> dict[str, object]:
    parts = [{"kind": "document", "text": f"The {number}th document."}]
    provenance = {field.name: None for field in PROVENANCE.fields}
    return {
        "sample_id": f"{kind}/{number}", "kind": kind, "source": "smollm2", "family": "synthesis",
        "messages": [{"role": "user", "parts": parts}], "document_ids": ["a", "b"], "tokens": 900 + number,
        "provenance": {**provenance, "model": "SmolLM2", "seed": number, "request_keys": ["k"]},
    }  # fmt: skip
