"""Run the site's recipe by Snakemake, and say what it takes, how far it is, and how to go on."""

# ruff: noqa: E402
from selflong.interrupt import end_at_once, raised

end_at_once()

import argparse
import sys
from pathlib import Path

from selflong.demo import (
    Course,
    cores,
    dry_run,
    follow,
    jobs_of,
    measured_machine,
    opening,
    planned_seconds,
    snakemake_command,
)
from selflong.recipe.loading import load_recipe, load_site


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--again", default="make demo", help="the command that goes on, as it is said"
    )
    parser.add_argument("snakemake", nargs=argparse.REMAINDER, help="arguments of Snakemake")
    arguments = parser.parse_args()
    command = snakemake_command(arguments.snakemake)
    status, output = dry_run(command)
    if status != 0:
        print(output.rstrip(), file=sys.stderr)
        return status
    jobs = jobs_of(output)
    if not jobs:
        return 0
    site = load_site(Path("config.yaml"))
    recipe = load_recipe(site.recipes / f"{site.recipe}.yaml")
    machine = measured_machine(cores())
    course = Course(jobs, planned_seconds(recipe, site, machine), cores())
    print(opening(course, machine, recipe), flush=True)
    return follow(command, course, arguments.again, lambda line: print(line, flush=True))


if __name__ == "__main__":
    try:
        with raised():
            status = main()
    except KeyboardInterrupt:
        sys.exit("Stopped before the first step: start it again.")
    sys.exit(status)
