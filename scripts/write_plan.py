"""Tell what a recipe costs on a site and whether it fits, before anything runs."""

from pathlib import Path

from selflong.launcher import launch
from selflong.estimate.write import write_plan
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site


def write(*, recipe: Recipe, site: Site, output: Path) -> None:
    """Publish the folder of the plan and print it."""
    write_plan(recipe, site, output)
    print((output / "plan.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    launch(write)
