"""The paper's recipe and the site of `config.yaml`, as a clone has them."""

from pathlib import Path

from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.recipe import Recipe
from selflong.recipe.weights import FolderWeights

ROOT = Path(__file__).parents[1]
SITE = load_site(ROOT / "config.yaml")
PAPER = load_recipe(ROOT / "recipes" / "selflong.yaml")


def without_shapes() -> Recipe:
    """The paper's, with models of a shape that nobody knows."""
    unknown = FolderWeights(kind="folder", path=Path("somewhere"))
    models = {
        name: model.model_copy(update={"weights": unknown}) if model.weights else model
        for name, model in PAPER.models.items()
    }
    return PAPER.model_copy(update={"models": models})
