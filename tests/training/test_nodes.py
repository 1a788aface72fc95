"""A stage on two nodes, killed at every phase: no state is lost, and the losses are those of an unbroken one.

Two launchers on one machine stand for the nodes. As srun does with --kill-on-bad-exit, all are killed when
one ends badly, and all are started again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.distributed import TCPStore

from selflong.job import UserError
from selflong.recipe.site import TrainingSite
from selflong.training.launch import site_layout
from selflong.training.nodes import LOOPBACK, meeting
from selflong.training.stage_job import CHECKPOINTS, MODEL
from tests.training.jobs import make_job, write_model, write_packed

STEPS = 12
SITE = TrainingSite(ranks_per_node=1, nodes=2)

LAUNCHER = """
import sys
from pathlib import Path
from selflong.job import run
from selflong.recipe.site import TrainingSite
from selflong.training.stage_job import TrainingJob
from selflong.training.launch import run_stage
job = TrainingJob.model_validate_json(Path(sys.argv[1]).read_text())
site = TrainingSite.model_validate_json(sys.argv[2])
run(lambda: run_stage(job, site, Path(sys.argv[3])))
"""


class Cluster:
    """Starts of one job on two nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.starts = 0
        self.job = make_job(folder, STEPS, site_layout(SITE), stage={"checkpoint_steps": 3})
        self.output = folder / "model"
        scontrol = folder / "bin" / "scontrol"
        scontrol.parent.mkdir()
        scontrol.write_text("#!/bin/sh\necho 127.0.0.1; echo 127.0.0.1\n")
        scontrol.chmod(0o755)

    def start(self, node: int, restart: int) -> subprocess.Popen[bytes]:
        path = self.folder / "job.json"
        path.write_text(self.job.model_dump_json())
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "1",
            "SLURM_RESTART_COUNT": str(restart),
            "SLURM_NODEID": str(node),
            "SLURM_JOB_NODELIST": "here",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        with (self.folder / f"node-{node}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(path), SITE.model_dump_json(), str(self.output)],
                env=os.environ | environment, stdout=log, stderr=log,
            )  # fmt: skip

    def run(
        self, kill_when: Callable[["Cluster"], bool] | None = None, kills: int = 0, first: int = 0
    ) -> list[int]:
        """Start both nodes, `first` first; kill node `kills` when a condition holds. Returns exit codes."""
        restart = self.starts
        self.starts += 1
        nodes: dict[int, subprocess.Popen[bytes]] = {}
        deadline = time.monotonic() + 240
        try:
            for node in (first, 1 - first):
                nodes[node] = self.start(node, restart)
                time.sleep(1)
            while any(process.poll() is None for process in nodes.values()):
                assert time.monotonic() < deadline, "a node waits for ever"
                if kill_when is not None and kill_when(self):
                    nodes[kills].kill()
                    kill_when = None
                if any(process.poll() not in (None, 0) for process in nodes.values()):
                    break
                time.sleep(0.01)
        finally:
            for process in nodes.values():
                process.kill()
                process.wait()
        return [nodes[node].returncode for node in (0, 1)]


def step_reached(step: int) -> Callable[[Cluster], bool]:
    def reached(cluster: Cluster) -> bool:
        metrics = cluster.job.work / "metrics.jsonl"
        return metrics.exists() and len(metrics.read_text().splitlines()) >= step

    return reached


def decided(cluster: Cluster) -> bool:
    return any(cluster.job.work.glob("nodes/*/meeting.json"))


def model_written(cluster: Cluster) -> bool:
    return (cluster.job.work / MODEL).is_dir()


def published(cluster: Cluster) -> bool:
    return cluster.output.is_dir()


def curve(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder / "initial")
    write_packed(folder / "packed", 64, 20)
    return folder


def _cluster(inputs: Path, folder: Path) -> Cluster:
    for name in ("initial", "packed"):
        (folder / name).symlink_to(inputs / name)
    return Cluster(folder)


@pytest.fixture(scope="module")
def unbroken(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    cluster = _cluster(inputs, tmp_path_factory.mktemp("unbroken"))
    assert cluster.run(first=1) == [0, 0]
    for name in (CHECKPOINTS, MODEL):
        assert not (cluster.job.work / name).exists()
    return curve(cluster.output)


@pytest.mark.parametrize(
    ("phase", "node"),
    [
        pytest.param(decided, 1, id="start"),
        pytest.param(step_reached(5), 0, id="training, the first"),
        pytest.param(step_reached(5), 1, id="training, the other"),
        pytest.param(model_written, 1, id="end"),
        pytest.param(published, 0, id="published, the first"),
        pytest.param(published, 1, id="published, the other"),
    ],
)
def test_killed_at_a_phase_the_stage_goes_on(
    inputs: Path,
    unbroken: list[float],
    tmp_path: Path,
    phase: Callable[[Cluster], bool],
    node: int,
) -> None:
    cluster = _cluster(inputs, tmp_path)
    codes = cluster.run(phase, kills=node, first=node)
    if codes != [0, 0] or not cluster.output.exists():
        # Snakemake removes the output of a job that failed.
        if cluster.output.exists():
            subprocess.run(["rm", "-r", str(cluster.output)], check=True)
        assert cluster.run(first=1 - node) == [0, 0]
    assert len(unbroken) == STEPS
    np.testing.assert_allclose(curve(cluster.output), unbroken, rtol=0, atol=1e-6)


def _listening(port: int) -> set[str]:
    """Local addresses at which this machine listens on a port, as the kernel writes them (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    places = [row[1].rpartition(":") for row in rows if row[3] == "0A"]
    return {address for address, _, number in places if int(number, 16) == port}


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_store_listens_at_one_address_alone(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int
) -> None:
    cluster = _cluster(inputs, tmp_path)
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "here")
    with meeting(nodes) as place:
        assert place.address == LOOPBACK
        assert _listening(place.port) == {"0100007F"}
        client = TCPStore(place.address, place.port, is_master=False)
        client.set("key", "value")
        assert client.get("key") == b"value"
    del client


def test_several_nodes_without_slurm_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(UserError, match="does not run under SLURM"), meeting(2):
        pass


def test_fewer_nodes_than_the_site_says_are_one_sentence(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = _cluster(inputs, tmp_path)
    monkeypatch.setenv("PATH", f"{cluster.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "here")
    with pytest.raises(UserError, match="nodes is 3, but the SLURM job has 2"), meeting(3):
        pass
