"""Write the page that shows a recipe's tables and figures without a network."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.page import write_page
from selflong.results import results_of


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--workflow", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = arguments.recipe
    write_page(
        recipe,
        results_of(recipe, arguments.site),
        arguments.tables,
        arguments.figures,
        arguments.workflow,
        arguments.output,
    )


if __name__ == "__main__":
    run(main)
