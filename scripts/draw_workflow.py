"""Draw the rules of the workflow, from corpus to report.

Standard input is what `snakemake --rulegraph dot` prints.
"""

import sys

from selflong.launcher import launch
from selflong.report.rule_graph import write_workflow_figure


def rule_graph() -> str:
    """From standard input."""
    return sys.stdin.read()


if __name__ == "__main__":
    launch(write_workflow_figure, dot=rule_graph)
