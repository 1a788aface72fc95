"""What the launchers under scripts/ share: where a job finds the recipe and the site."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from selflong.cluster import within_time_limit
from selflong.job import run
from selflong.recipe.loading import load_recipe, load_site


def job_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows --recipe and --site, as typed values.

    Within a run both default to the copies that the run was started with, else to recipes/laptop.yaml and
    config.yaml.
    """
    parser = argparse.ArgumentParser(description=description)
    add_configuration(parser)
    return parser


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add --recipe and --site."""
    parser.add_argument(
        "--recipe",
        metavar="FILE",
        type=lambda path: load_recipe(Path(path)),
        default=os.environ.get("SELFLONG_RECIPE", "recipes/laptop.yaml"),
        help="the recipe (default: recipes/laptop.yaml)",
    )
    parser.add_argument(
        "--site",
        metavar="FILE",
        type=lambda path: load_site(Path(path)),
        default=os.environ.get("SELFLONG_SITE", "config.yaml"),
        help="the site (default: config.yaml)",
    )


def run_resumable(main: Callable[[], None]) -> None:
    """Run the launcher of a job that resumes: near SLURM's time limit it saves and is queued again."""

    def within() -> None:
        with within_time_limit():
            main()

    run(within)
