"""Count what a checkpoint of the recall study recalls at each length."""

from selflong.launcher import launch
from selflong.recall.measure import write_predictions

if __name__ == "__main__":
    launch(
        write_predictions,
        suite=lambda recipe, name: recipe.suites[name],
        language=lambda recipe: recipe.recall.language,
    )
