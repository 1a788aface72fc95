"""Draw every figure of a recipe as PNG, PDF and SVG."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.build import write_report_figures
from selflong.results import results_of


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the figures")
    arguments = parser.parse_args()
    recipe = arguments.recipe
    write_report_figures(recipe, results_of(recipe, arguments.site), arguments.output)


if __name__ == "__main__":
    run(main)
