"""A stage on two nodes, ended at point after point of it, and what it lost by that.

Two launchers on one machine stand for the nodes. As `srun --kill-on-bad-exit` does, all are killed when one
ends badly; as Snakemake does, the output of the job that failed is removed; then both are started again.
"""

import json
import os
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from selflong.formats import remove
from selflong.recipe.site import TrainingSite
from selflong.training import ranks
from selflong.training.checkpoint import latest_state
from selflong.training.launch import site_layout
from selflong.training.stage import METRICS_FILE
from selflong.training.stage_job import CHECKPOINTS, TrainingJob
from tests.training.dying_node import Files, Point, node
from tests.training.jobs import make_job

SITE = TrainingSite(ranks_per_node=1, nodes=2)
INTERVAL = 2
"""Steps between two saved states."""
MICRO_BATCHES = 3
"""Of a step: its sequences, which both nodes share."""
PATIENCE = 600.0
"""Seconds after which a start hangs."""

STAGE = "selflong.training.stage"
RUN = f"{STAGE}.StageRun"
CHECKPOINT = "selflong.training.checkpoint"
LAUNCH = "selflong.training.launch"
NODES = f"{LAUNCH}.Nodes"
ENGINE = "deepspeed.runtime.engine.DeepSpeedEngine"


def _both(phase: str, function: str, *args: Any, **named: Any) -> list[Point]:
    """A rank's point, on each node."""
    return [Point(phase, node, "rank", function, *args, **named) for node in (0, 1)]


def _first(phase: str, function: str, *args: Any, **named: Any) -> list[Point]:
    """A point of what only the first rank does."""
    return [Point(phase, 0, "rank", function, *args, **named)]


# In each start that trains, a state is saved after its second step; the third is begun.
_IN_STEP_3 = 2 * MICRO_BATCHES + 2
POINTS = [
    Point("meeting", 0, "launcher", f"{NODES}.decide"),
    Point("meeting", 0, "launcher", f"{NODES}.decide", after=True),
    Point("meeting", 1, "launcher", f"{NODES}.decision", after=True),
    *_both("loading", f"{STAGE}.start_process_group"),
    *_both("loading", f"{STAGE}.build_engine"),
    *_both("loading", f"{STAGE}.build_engine", after=True),
    *_both("forward", f"{ENGINE}.forward", _IN_STEP_3),
    *_both("forward", f"{ENGINE}.forward", _IN_STEP_3, after=True),
    *_both("resuming", f"{STAGE}.load_state"),
    *_both("resuming", f"{CHECKPOINT}._set_whole", 8),
    *_both("resuming", f"{STAGE}.load_state", after=True),
    *_first("resuming", f"{STAGE}._truncate_metrics"),
    *_both("backward", f"{ENGINE}.backward", _IN_STEP_3),
    *_both("backward", f"{ENGINE}.backward", _IN_STEP_3, after=True),
    *_both("optimizer", f"{ENGINE}.step", 3 * MICRO_BATCHES),
    *_both("optimizer", f"{ENGINE}.step", 3 * MICRO_BATCHES, after=True),
    *_first("optimizer", f"{STAGE}._report", 3),
    *_first("optimizer", f"{STAGE}._report", 3, after=True),
    *_both("saving", f"{STAGE}.save_state"),
    *_both("saving", f"{CHECKPOINT}.save_file"),
    *_both("saving", f"{CHECKPOINT}.save_file", after=True),
    *_first("saving", f"{CHECKPOINT}.write_json"),
    *_first("saving", f"{CHECKPOINT}.write_json", after=True),
    *_first("saving", f"{STAGE}.keep_latest_state"),
    *_both("saving", f"{STAGE}.save_state", after=True),
    *_both("writing the model", f"{RUN}.publish_model"),
    *_first("writing the model", f"{CHECKPOINT}.ShardWriter.add", 5),
    *_first("writing the model", f"{RUN}._write_weights", after=True),
    *_first("writing the model", f"{RUN}._describe", after=True),
    *_first("end", f"{RUN}.publish_model", after=True, whole=True),
    Point("end", 1, "launcher", f"{NODES}.report_end", whole=True),
    Point("end", 0, "launcher", f"{LAUNCH}._link_or_copy", 3, whole=True),
    Point("end", 0, "launcher", f"{NODES}.wait_for_others", whole=True),
    Point("end", 1, "launcher", f"{NODES}.report_end", after=True, whole=True),
    Point("end", 0, "launcher", f"{NODES}.wait_for_others", after=True, whole=True),
    Point("end", 0, "launcher", f"{LAUNCH}.remove", after=True, whole=True),
    Point("end", 0, "launcher", f"{LAUNCH}.run_stage", after=True, whole=True),
]  # fmt: skip
"""In an order in which one stage can meet all of them."""
ALONE = [
    # The first rank may still write the model, or not.
    Point("writing the model", 1, "rank", f"{RUN}._write_weights", after=True),
    Point("end", 1, "rank", f"{RUN}.publish_model", after=True, whole=True),
    Point("end", 0, "launcher", f"{LAUNCH}._judge", whole=True),
]
"""Points that ranks must come to, when the model is written: each needs a stage of its own."""


def write_scontrol(folder: Path) -> Path:
    """A folder with a scontrol to whom two nodes are this machine."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 127.0.0.1; echo 127.0.0.1\n")
    program.chmod(0o755)
    return program.parent


class Cluster:
    """Starts of one job on two nodes.

    inputs: a folder with the model (initial) and the sequences (packed) that the stage trains on.
    """

    def __init__(self, inputs: Path, folder: Path, steps: int) -> None:
        self.starts = 0
        for name in ("initial", "packed"):
            (folder / name).symlink_to(inputs / name)
        self.job: TrainingJob = make_job(
            folder, steps, site_layout(SITE), stage={"checkpoint_steps": INTERVAL}
        )
        self.files = Files(folder)
        self.files.trained.touch()
        self._path = f"{write_scontrol(folder)}:{os.environ['PATH']}"

    def _start(self, number: int, point: Point | None) -> ForkServerProcess:
        environment = {
            "PATH": self._path,
            "SLURM_JOB_ID": "1",
            "SLURM_RESTART_COUNT": str(self.starts),
            "SLURM_NODEID": str(number),
            "SLURM_JOB_NODELIST": "here",
            "GLOO_SOCKET_IFNAME": "lo",
            "DS_ACCELERATOR": "cpu",
        }
        own = point if point is not None and point.node == number else None
        arguments = (self.job, SITE, number, environment, self.files, own)
        # Forked, as ranks are, from a server that has imported what takes seconds.
        process = ranks._context.Process(target=node, args=arguments)
        process.start()
        return process

    def run(self, point: Point | None = None) -> list[int | None]:
        """Start both nodes, a different one first each time; exit codes when both have ended."""
        order = (0, 1) if self.starts % 2 else (1, 0)
        nodes = {number: self._start(number, point) for number in order}
        self.starts += 1
        deadline = time.monotonic() + PATIENCE
        try:
            while any(process.is_alive() for process in nodes.values()):
                if any(process.exitcode for process in nodes.values()):
                    break
                assert time.monotonic() < deadline, f"a node waits for ever: {point}"
                time.sleep(0.02)
        finally:
            for process in nodes.values():
                process.kill()
                process.join()
        return [nodes[number].exitcode for number in (0, 1)]

    def steps(self) -> list[int]:
        """Numbers of the steps that all starts have trained, in order."""
        return [int(line) for line in self.files.trained.read_text().split()]

    def saved(self) -> int:
        """The step of the newest whole state."""
        state = latest_state(self.job.work / CHECKPOINTS)
        return 0 if state is None else int(state.name.removeprefix("step-"))

    def losses(self) -> list[float]:
        """Of the published model's steps."""
        lines = (self.files.output / METRICS_FILE).read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]


def steps_for(points: list[Point]) -> int:
    """Steps of a stage that is not at its end before its last point within training."""
    return INTERVAL * (sum(not point.whole for point in points) + 2)


def end_at(cluster: Cluster, points: list[Point]) -> list[str]:
    """Let a node die at each point in turn, then let the stage end well.

    Returns a sentence for each point by which something was lost: the next start did not go on right after
    the newest state that was saved, or trained anything although the model was written.
    """
    lost = []
    saved = 0
    last: Point | None = None
    for point in [*points, None]:
        before = cluster.steps()
        _run_until(cluster, point)
        trained = cluster.steps()[len(before) :]
        if trained and (trained[0] != saved + 1 or (last is not None and last.whole)):
            lost.append(f"{last}: a state of step {saved} was saved, {trained[0]} came next")
        if trained:
            # What was saved before this start ended, whether or not it is still there.
            saved = max(saved, (trained[-1] - 1) // INTERVAL * INTERVAL, cluster.saved())
        last = point
    return lost


def _run_until(cluster: Cluster, point: Point | None) -> None:
    """A start that ends at a point, or well."""
    files = cluster.files
    remove(files.met)
    codes = cluster.run(point)
    if point is None:
        assert codes == [0, 0], files.log(0).read_text()[-3000:]
        return
    assert files.met.exists() and codes[point.node] == -signal.SIGKILL, (
        f"{point} was not met: {codes}\n{files.log(0).read_text()[-3000:]}"
    )
    remove(files.output)
