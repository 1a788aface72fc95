"""Count what a checkpoint of the recall study recalls at each length."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.recall.measure import write_predictions


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--suite", required=True, help="a recall suite of the recipe")
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = arguments.recipe
    write_predictions(
        arguments.suite,
        recipe.suites[arguments.suite],
        recipe.recall.language,
        arguments.checkpoint,
        arguments.model,
        arguments.output,
    )


if __name__ == "__main__":
    run(main)
