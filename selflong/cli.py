"""The command `selflong`: look at recipes before anything runs, and start one."""

import argparse
import os
import sys
from pathlib import Path

from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site

WORKFLOW = Path(__file__).parent.parent / "Snakefile"


def main() -> None:
    """Run the command; a mistake of the user is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="selflong", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    validate = commands.add_parser("validate", help="read recipes, and the site where it is named")
    validate.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE.yaml")
    validate.add_argument("--site", type=Path, metavar="config.yaml")
    validate.set_defaults(command=_validate)
    run = commands.add_parser(
        "run", help="run a recipe with Snakemake", epilog="Further options are Snakemake's own."
    )
    run.add_argument("recipe", help="its name, as in recipes/NAME.yaml")
    run.add_argument("--site", type=Path, metavar="FILE", help="on top of config.yaml")
    run.set_defaults(command=_run)
    arguments, others = parser.parse_known_args()
    if others and arguments.command is not _run:
        parser.error(f"unknown: {' '.join(others)}")
    try:
        arguments.command(arguments, others)
    except UserError as mistake:
        print(f"Error: {mistake}", file=sys.stderr)
        sys.exit(2)


def _validate(arguments: argparse.Namespace, _: list[str]) -> None:
    for path in arguments.recipes:
        load_recipe(path)
        print(f"{path}: right")
    if arguments.site is not None:
        load_site(arguments.site)
        print(f"{arguments.site}: right")


def _run(arguments: argparse.Namespace, others: list[str]) -> None:
    if not WORKFLOW.exists():
        raise UserError(
            f"{WORKFLOW} does not exist: run from a checkout, installed with pip install --editable"
        )
    options = ["--snakefile", str(WORKFLOW), "--config", f"recipe={arguments.recipe}"]
    if arguments.site is not None:
        if not arguments.site.is_file():
            raise UserError(f"--site {arguments.site}: is no file")
        options += ["--configfile", str(arguments.site)]
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *options, *others])


if __name__ == "__main__":
    main()
