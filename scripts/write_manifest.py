"""Write what a run was made from and what it made, with digests; and the same as an RO-Crate."""

import os
from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.manifest import write_manifest
from selflong.results import results_of


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--crate", type=Path, required=True)
    arguments = parser.parse_args()
    recipe, site = arguments.recipe, arguments.site
    repository = Path(os.environ.get("SELFLONG", "."))
    write_manifest(
        recipe,
        repository / site.recipes / f"{recipe.name}.yaml",
        results_of(recipe, site),
        arguments.manifest,
        arguments.crate,
    )


if __name__ == "__main__":
    run(main)
