"""Write what a run was made from and what it made, with digests; and the same as an RO-Crate."""

from pathlib import Path

from selflong.launcher import launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.report.manifest import write_manifest
from selflong.results import results_of


def recipe_file(recipe: Recipe, site: Site) -> Path:
    """The file that the run's copy of the recipe was made from."""
    return site.recipes / f"{recipe.name}.yaml"


def write(*, recipe: Recipe, site: Site, manifest: Path, crate: Path) -> None:
    """Publish the manifest and the crate."""
    write_manifest(recipe, recipe_file(recipe, site), results_of(recipe, site), manifest, crate)


if __name__ == "__main__":
    launch(write)
