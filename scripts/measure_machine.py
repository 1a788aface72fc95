"""Measure what this CPU multiplies in each precision, which decides what `precision: auto` means in a run."""

import argparse
import logging
from pathlib import Path

from selflong.job import run
from selflong.precision import write_machine

log = logging.getLogger(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder whose shapes are measured"
    )
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    machine = write_machine(arguments.model, arguments.threads, arguments.output)
    log.info("on %s %s: precision auto is %s", machine.cpu, machine.why, machine.auto)


if __name__ == "__main__":
    run(main)
