"""Print every command of a training stage and of its evaluation on SLURM, without starting any."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.plan.commands import dry_launch
from selflong.run.run import Run


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--suite", required=True, help="a suite of the recipe")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    planned = Run(arguments.recipe, arguments.site)
    print(dry_launch(planned, root, arguments.checkpoint, arguments.suite), end="")


if __name__ == "__main__":
    run(main)
