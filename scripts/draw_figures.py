"""Draw every figure of a recipe as PNG, PDF and SVG."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.build import write_report_figures


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures")
    arguments = parser.parse_args()
    recipe = arguments.recipe
    write_report_figures(recipe, arguments.site.results / recipe.name, arguments.output)


if __name__ == "__main__":
    run(main)
