"""Download a model or a dataset of the recipe from the hub, at its pinned revision."""

from pathlib import Path

from selflong.formats import publish_folder
from selflong.hub import download_files, download_model
from selflong.launcher import launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import HubWeights
from selflong.run.inputs import Inputs, dataset_files


def download(*, recipe: Recipe, site: Site, name: str, work: Path, output: Path) -> None:
    """Download by the folder's name; `work` keeps what is whole already."""
    token_variable = site.hub_token_variable
    source = Inputs(recipe, site).downloads[name]
    if isinstance(source, HubWeights):
        download_model(source, work, token_variable)
    else:
        download_files(
            source.repository,
            source.revision,
            dataset_files(source),
            work,
            token_variable,
            kind="dataset",
        )
    publish_folder(work, output)


if __name__ == "__main__":
    launch(download)
