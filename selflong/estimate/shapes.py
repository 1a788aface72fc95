"""Shapes of a recipe's models: by what is downloaded already, else by what is known of them."""

from selflong.placement.shapes import CONFIG, Architecture, architecture, configuration_folder
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import HubWeights, Weights
from selflong.results import download_folder


def weights_shape(site: Site, weights: Weights | str) -> Architecture:
    """Shape of weights that a site has or will download; UserError where it is not known."""
    if isinstance(weights, HubWeights):
        folders = (
            download_folder(site, weights.download.name),
            configuration_folder(site.work, weights),
        )
        return architecture(weights, next((f for f in folders if (f / CONFIG).is_file()), None))
    return architecture(weights)


def model_shape(recipe: Recipe, site: Site, model: str) -> Architecture:
    """Shape of a model: that of the weights that its chain starts from."""
    return weights_shape(site, recipe.root_weights(model))
