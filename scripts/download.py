"""Download a model or a dataset of the recipe from the hub, at its pinned revision."""

from pathlib import Path

from selflong.formats import publish_folder
from selflong.hub import download_files, download_model
from selflong.launcher import launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.run.inputs import Inputs


def download(*, recipe: Recipe, site: Site, name: str, work: Path, output: Path) -> None:
    """Download by the folder's name; `work` keeps what is whole already."""
    token_variable = site.hub_token_variable
    source = Inputs(recipe, site).downloads[name]
    if source.files is None:
        download_model(source, work, token_variable)
    else:
        download_files(
            source.repository,
            source.revision,
            source.files,
            work,
            token_variable,
            kind="dataset",
        )
    publish_folder(work, output)


if __name__ == "__main__":
    launch(download)
