"""Print where a recipe's tables, figures and report lie."""

from selflong.job import UserError, run
from selflong.launcher import job_parser
from selflong.results import results_of


def main() -> None:
    arguments = job_parser(__doc__).parse_args()
    results = results_of(arguments.recipe, arguments.site)
    places = {
        "tables": results.tables,
        "figures": results.figures,
        "report": results.page,
        "manifest": results.manifest,
    }
    for name, path in places.items():
        if not path.exists():
            raise UserError(f"{path} is not there: run snakemake first")
        print(f"{name:>8}: {path}")


if __name__ == "__main__":
    run(main)
