"""Write every table of a recipe in Markdown, CSV and LaTeX; or check those that are there."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.build import recompute, write_report_tables
from selflong.results import results_of


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--output", type=Path, help="folder of the tables")
    parser.add_argument(
        "--check",
        action="store_true",
        help="recompute every number of the recipe's tables from the predictions, and compare",
    )
    arguments = parser.parse_args()
    recipe = arguments.recipe
    results = results_of(recipe, arguments.site)
    tables = arguments.output or results.tables
    if arguments.check:
        print(f"{recompute(recipe, results, tables)} cells recomputed, all equal")
    else:
        write_report_tables(recipe, results, tables)


if __name__ == "__main__":
    run(main)
