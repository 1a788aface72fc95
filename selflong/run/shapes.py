"""Shapes of a recipe's models: by what is downloaded already, else by what is known of them."""

from pathlib import Path

from selflong.placement.shapes import CONFIG, Architecture, architecture, configuration_folder
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import FolderWeights, HubWeights, Weights
from selflong.results import download_folder


def config_folders(site: Site, weights: Weights | str | None) -> list[Path]:
    """Where the config.json of weights may lie before they are loaded, what is whole first."""
    if isinstance(weights, FolderWeights):
        return [weights.path]
    if isinstance(weights, HubWeights):
        downloaded = download_folder(site, weights.download.name)
        return [downloaded, configuration_folder(site.work, weights)]
    return []


def weights_shape(site: Site, weights: Weights | str) -> Architecture:
    """Shape of weights that a site has or will download; UserError where it is not known."""
    folders = (f for f in config_folders(site, weights) if (f / CONFIG).is_file())
    return architecture(weights, next(folders, None))


def model_shape(recipe: Recipe, site: Site, model: str) -> Architecture:
    """Shape of a model: that of the weights that its chain starts from."""
    return weights_shape(site, recipe.root_weights(model))
