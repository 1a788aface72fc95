"""Train a small model for a few steps on what this job has: nodes and ranks of a node are given."""

import logging
import sys
from pathlib import Path

from selflong.recipe.site import TrainingSite
from selflong.training.launch import run_stage
from selflong.training.layout import Layout
from tests.training.jobs import make_job

STEPS = 8


def main(inputs: Path, work: Path, nodes: int, ranks_per_node: int, output: Path) -> None:
    site = TrainingSite(device="cpu", nodes=nodes, ranks_per_node=ranks_per_node)
    run_stage(make_job(inputs, STEPS, Layout(ring=2), work=work), site, output)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        int(sys.argv[3]),
        int(sys.argv[4]),
        Path(sys.argv[5]),
    )
