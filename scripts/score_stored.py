"""Score the predictions again that a published suite carries."""

from selflong.evaluation.score import write_stored_predictions
from selflong.launcher import launch

if __name__ == "__main__":
    launch(write_stored_predictions, suite=lambda recipe, name: recipe.suites[name])
