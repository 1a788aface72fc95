"""Add a suite's predictions up to scores with intervals."""

from pathlib import Path

from selflong.evaluation.score import score
from selflong.job import run
from selflong.launcher import job_parser
from selflong.results import results_of


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--suite", required=True, help="a suite of the recipe")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = arguments.recipe
    score(
        arguments.suite,
        recipe.suites[arguments.suite],
        arguments.predictions,
        results_of(recipe, arguments.site).root,
        arguments.output,
        recipe.seed,
    )


if __name__ == "__main__":
    run(main)
