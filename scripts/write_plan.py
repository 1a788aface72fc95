"""Tell what a recipe costs on a site and whether it fits, before anything runs."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.plan.write import write_plan


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the plan")
    arguments = parser.parse_args()
    write_plan(arguments.recipe, arguments.site, arguments.output)
    print((arguments.output / "plan.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
