"""Write every table of a recipe in Markdown, CSV and LaTeX; or check those that are there."""

from pathlib import Path

from selflong.launcher import launch
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.report.build import recompute, write_report_tables
from selflong.results import results_of


def write(*, recipe: Recipe, site: Site, output: Path | None = None, check: bool = False) -> None:
    """Publish the folder of tables.

    check: recompute every number of the recipe's tables from the predictions, and compare.
    """
    results = results_of(recipe, site)
    tables = output or results.tables
    if check:
        print(f"{recompute(recipe, results, tables)} cells recomputed, all equal")
    else:
        write_report_tables(recipe, results, tables)


if __name__ == "__main__":
    launch(write)
