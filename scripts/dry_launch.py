"""Print every command of a training stage and of its evaluation on SLURM, without starting any."""

from selflong.launcher import launch
from selflong.estimate.commands import dry_launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.run.run import Run


def show(*, recipe: Recipe, site: Site, checkpoint: str, suite: str) -> None:
    """Of the stage '<model>/<stage>' and of its evaluation by a suite of the recipe."""
    print(dry_launch(Run(recipe, site), checkpoint, suite), end="")


if __name__ == "__main__":
    launch(show)
