"""Score the predictions again that a published suite carries."""

from selflong.launcher import launch, named
from selflong.evaluation.score import write_stored_predictions

if __name__ == "__main__":
    launch(
        write_stored_predictions,
        suite=lambda recipe, name: recipe.suites[named("name", name, recipe.suites)],
    )
