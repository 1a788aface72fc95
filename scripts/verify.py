"""Compare everything that a run made and downloaded with the digests from when it was made."""

from selflong.launcher import launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.verify import verify


def say(*, recipe: Recipe, site: Site) -> None:
    """Print how many files are whole; one sentence for each that is not."""
    print(verify(recipe=recipe, site=site))


if __name__ == "__main__":
    launch(say)
