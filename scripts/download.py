"""Download a model or a dataset of the recipe from the hub, at its pinned revision."""

from pathlib import Path

from selflong.launcher import launch, named
from selflong.formats import publish_folder
from selflong.hub import download_files, download_model
from selflong.job import sole_owner
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.run.inputs import Inputs


def download(*, recipe: Recipe, site: Site, name: str, work: Path, output: Path) -> None:
    """Download by the folder's name; `work` keeps what is whole already."""
    token_variable = site.hub_token_variable
    known = Inputs(recipe, site).downloads
    source = known[named("name", name, known)]
    # Two recipes may want the same download at once: one waits, and takes what the other brought.
    with sole_owner(output.parent / ".locks" / output.name, wait=True):
        if source.files is None:
            paths = download_model(source, work, token_variable, present=output)
        else:
            paths = download_files(
                source.repository,
                source.revision,
                source.files,
                work,
                token_variable,
                kind="dataset",
                present=output,
            )
        if not all(path.is_relative_to(output) for path in paths):
            publish_folder(work, output)


if __name__ == "__main__":
    launch(download)
