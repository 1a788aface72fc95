"""Print where a recipe's tables, figures and report lie."""

from selflong.launcher import launch
from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.results import results_of


def where(*, recipe: Recipe, site: Site) -> None:
    """Raises UserError where the run has not made one of them yet."""
    results = results_of(recipe, site)
    places = {
        "tables": results.tables,
        "figures": results.figures,
        "report": results.page,
        "manifest": results.manifest,
    }
    for name, path in places.items():
        if not path.exists():
            raise UserError(f"{path} is not there: run snakemake first")
        print(f"{name:>8}: {path}")


if __name__ == "__main__":
    launch(where)
