"""Write the evaluation's own text, with which corpus and mixture are compared."""

from pathlib import Path

from selflong.decontamination.texts import write_evaluation_texts
from selflong.job import run
from selflong.launcher import job_parser


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    write_evaluation_texts(arguments.recipe.suites, arguments.output)


if __name__ == "__main__":
    run(main)
