"""A stage on two nodes, ended at every phase: no state is lost; losses and weights are an unbroken one's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from selflong.job import UserError
from selflong.training.nodes import LOOPBACK, meeting
from selflong.training.stage_job import CHECKPOINTS, MODEL
from tests.training.dying_node import Point
from tests.training.jobs import write_model, write_packed
from tests.training.node_kills import ALONE, POINTS, Cluster, end_at, steps_for, write_scontrol

_TELLING = (
    "node 1, meeting: after call 1 of selflong.training.launch.Nodes.decision",
    "node 0, resuming: before call 1 of selflong.training.stage._truncate_metrics",
    "node 1, backward: after call 8 of deepspeed.runtime.engine.DeepSpeedEngine.backward",
    "node 1, saving: before call 1 of selflong.training.checkpoint.save_file",
    "node 0, saving: before call 1 of selflong.training.stage.keep_latest_state",
    "node 0, end: after call 1 of selflong.training.stage.StageRun.publish_model",
    "node 0, end: before call 3 of selflong.training.launch._link_or_copy",
    "node 0, end: after call 1 of selflong.training.launch.run_stage",
)
TELLING = [point for point in POINTS if str(point) in _TELLING]
"""What every test run meets; `make test-long` meets all points."""
assert len(TELLING) == len(_TELLING)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder / "initial")
    write_packed(folder / "packed", 64, 20)
    return folder


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(TELLING, id="telling points"),
        pytest.param(POINTS, id="all points", marks=pytest.mark.long),
        *(pytest.param([point], id=str(point), marks=pytest.mark.long) for point in ALONE),
    ],
)
def test_nodes_that_die_lose_nothing(inputs: Path, tmp_path: Path, points: list[Point]) -> None:
    """One stage, at each of whose starts a node dies."""
    clusters = []
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
        clusters.append(Cluster(inputs, tmp_path / name, steps_for(points)))
    unbroken, killed = clusters
    assert end_at(unbroken, []) == []
    assert end_at(killed, points) == []
    assert killed.starts == len(points) + 1
    assert len(killed.losses()) == killed.job.steps
    assert killed.losses() == unbroken.losses()
    weights, expected = (
        load_file(cluster.files.output / "model.safetensors") for cluster in (killed, unbroken)
    )
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    for cluster in clusters:
        assert not (cluster.job.work / CHECKPOINTS).exists()
        # What stays is a second name of what was published.
        model = cluster.job.work / MODEL / "model.safetensors"
        assert model.samefile(cluster.files.output / model.name)


def _listening(port: int) -> set[str]:
    """Local addresses at which this machine listens on a port, as the kernel writes them (proc(5))."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    places = [row[1].rpartition(":") for row in rows if row[3] == "0A"]
    return {address for address, _, number in places if int(number, 16) == port}


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_store_listens_at_one_address_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nodes: int
) -> None:
    monkeypatch.setenv("PATH", str(write_scontrol(tmp_path)), prepend=":")
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(write_scontrol(tmp_path)), prepend=":")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "here")
    with pytest.raises(UserError, match="nodes is 3, but the SLURM job has 2"), meeting(3):
        pass
