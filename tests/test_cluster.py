"""What jobs ask of SLURM, and how a job ends before its time limit (tests/slurm tries it on a real one)."""

import os
import signal
import time

import pytest

from selflong.cluster import REQUEUE_EXIT_CODE, launch, scheduled, seconds, within_time_limit
from selflong.recipe.site import Resources, Site, TrainingSite, TransformersServing


def site(nodes: int) -> Site:
    return Site(
        recipe="selflong",
        evaluation=TransformersServing(kind="transformers"),
        training=TrainingSite(device="cuda", nodes=nodes, ranks_per_node=8),
        resources={
            "training": Resources(cpus=64, gpus=8, memory_mb=900_000, minutes=720, partition="gpu"),
            "pipeline": Resources(cpus=4, memory_mb=8000, minutes=30),
        },
        account="science",
    )


def test_a_stage_on_two_nodes() -> None:
    assert scheduled(site(2), "training") == {
        "mem_mb": 900_000,
        "runtime": 720,
        "cpus_per_task": 64,
        "slurm_partition": "gpu",
        "slurm_account": "science",
        "slurm_extra": "--open-mode=append --gpus-per-node=8",
        "accelerators": 16,
        "nodes": 2,
        "tasks": 2,
        "mpi": "srun",
    }
    assert " ".join(launch(site(2), "training")) == (
        "srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=64 "
        "--gpus-per-node=8 --kill-on-bad-exit=1"
    )


def test_on_one_node_nothing_stands_before_the_command() -> None:
    assert launch(site(1), "training") == []
    assert not {"nodes", "tasks", "mpi"} & set(scheduled(site(1), "training"))


def test_only_training_spans_nodes() -> None:
    assert launch(site(2), "evaluation") == []
    assert "nodes" not in scheduled(site(2), "evaluation")


def test_memory_grows_by_attempt_only_where_a_job_starts_from_nothing() -> None:
    grows = scheduled(site(1), "pipeline")["mem_mb"]
    assert callable(grows)
    assert [grows(None, attempt=attempt) for attempt in (1, 2)] == [8000, 16_000]
    assert scheduled(site(1), "training")["mem_mb"] == 900_000


@pytest.mark.parametrize(
    "text, expected",
    [
        ("59", 59),
        ("1:30", 90),
        ("2:00:05", 7205),
        ("1-00:00:00", 86_400),
        ("UNLIMITED", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_slurms_times(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


def test_outside_of_slurm_nothing_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGUSR1)
    with within_time_limit(margin=0):
        time.sleep(0.01)
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_warning_ends_the_block_with_the_code_that_requeues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    start = time.monotonic()
    with pytest.raises(SystemExit) as end, within_time_limit():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(30)
    assert end.value.code == REQUEUE_EXIT_CODE
    assert time.monotonic() - start < 10
