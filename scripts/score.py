"""Add a suite's predictions up to scores with intervals."""

from selflong.launcher import launch, named
from selflong.evaluation.score import score
from selflong.results import results_of

if __name__ == "__main__":
    launch(
        score,
        suite=lambda recipe, name: recipe.suites[named("name", name, recipe.suites)],
        results=lambda recipe, site: results_of(recipe, site).root,
        seed=lambda recipe: recipe.seed,
    )
