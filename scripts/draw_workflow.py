"""Draw the rules of the workflow, from corpus to report.

Standard input is what `snakemake --rulegraph dot` prints.
"""

import sys
from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.report.workflow import write_workflow_figure


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--rules", type=Path, default=Path("rules"), help="folder of the rules")
    parser.add_argument("--output", type=Path, required=True, help="folder of the figure")
    arguments = parser.parse_args()
    write_workflow_figure(sys.stdin.read(), arguments.rules, arguments.output)


if __name__ == "__main__":
    run(main)
