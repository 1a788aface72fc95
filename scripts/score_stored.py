"""Score the predictions again that a published suite carries."""

from pathlib import Path

from selflong.evaluation.score import write_stored_predictions
from selflong.job import run
from selflong.launcher import job_parser


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--suite", required=True, help="a suite that carries predictions")
    parser.add_argument("--published", type=Path, required=True, help="its download")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    suite = arguments.recipe.suites[arguments.suite]
    write_stored_predictions(arguments.suite, suite, arguments.published, arguments.output)


if __name__ == "__main__":
    run(main)
