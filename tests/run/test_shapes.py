"""The shape of a model of the recipe, before and after its download."""

from pathlib import Path

from transformers import LlamaConfig

from selflong.placement.shapes import KNOWN
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.weights import HubWeights
from selflong.run.run import Run
from selflong.run.shapes import model_shape

ROOT = Path(__file__).parents[2]
PAPER = load_recipe(ROOT / "recipes" / "selflong.yaml")


def test_a_download_tells_the_shape_of_every_model_that_starts_from_it(tmp_path: Path) -> None:
    site = load_site(ROOT / "config.yaml").model_copy(update={"results": tmp_path})
    weights = PAPER.root_weights("selflong_8b")
    assert isinstance(weights, HubWeights)
    assert model_shape(PAPER, site, "selflong_8b") == KNOWN[weights.repository]
    (folder,) = map(Path, Run(PAPER, site).inputs.files_of(weights))
    LlamaConfig(num_hidden_layers=5).save_pretrained(folder)
    assert model_shape(PAPER, site, "selflong_8b").layers == 5
    assert model_shape(PAPER, site, "selflong_1b").layers == 16
