"""What a job asks of SLURM, how it starts on several nodes, and how it ends before its time limit."""

import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from selflong.job import UserError
from selflong.recipe.site import JobKind, Resources, Site

log = logging.getLogger(__name__)

REQUEUE_EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: the state is saved, start the same job again."""

RESUMES = ("encoding", "synthesis", "training", "evaluation")
"""Kinds of jobs that go on from saved state: another attempt asks for the same as the first."""

WARNING_SECONDS = 300.0
"""Before its time limit a job is told to save its state."""

REQUEUE_SECONDS = 60.0
"""How long the other nodes of an interrupted job wait for the first to requeue it."""


def node() -> int:
    """Number of this node within its SLURM job; 0 outside of one."""
    return int(os.environ.get("SLURM_NODEID", "0"))


def attempt() -> str:
    """Names one start of a SLURM job, the same on all its nodes: another after each requeue."""
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    return "-".join(os.environ.get(name) or "0" for name in names)


Resource = int | str | Callable[..., int]


def asked(site: Site, kind: JobKind) -> Resources:
    """What the site says that a kind of job needs, or the defaults."""
    return site.resources.get(kind, Resources())


def nodes(site: Site, kind: JobKind) -> int:
    """Nodes of a job: only training spans several."""
    return site.training.nodes if kind == "training" else 1


def scheduled(site: Site, kind: JobKind) -> dict[str, Resource]:
    """Resources of a rule, by the names that Snakemake's SLURM executor reads.

    Memory, cores and GPUs are those of one node. GPUs go through `slurm_extra`: the executor's own `gpu`
    asks for GPUs per task. `accelerators` counts them all, for a limit on a machine without SLURM. The
    memory of a job that starts from nothing grows by attempt; one that resumes keeps its resources.
    """
    need = asked(site, kind)
    count = nodes(site, kind)
    resources: dict[str, Resource] = {
        "mem_mb": need.memory_mb,
        "runtime": need.minutes,
        "cpus_per_task": need.cpus,
    }
    if kind not in RESUMES:
        resources["mem_mb"] = lambda wildcards, attempt: need.memory_mb * attempt
    if need.partition is not None:
        resources["slurm_partition"] = need.partition
    if site.account is not None:
        resources["slurm_account"] = site.account
    # A requeued job goes on in the log that it began.
    extra = "--open-mode=append"
    if need.gpus > 0:
        extra += f" --gpus-per-node={need.gpus}"
        resources["accelerators"] = need.gpus * count
    resources["slurm_extra"] = extra
    if count > 1:
        # `mpi` keeps the executor from starting the job by an srun of its own, on one node.
        resources |= {"nodes": count, "tasks": count, "mpi": "srun"}
    return resources


def launch(site: Site, kind: JobKind) -> list[str]:
    """What stands before a job's command: nothing on one node, else an srun that starts it once a node.

    The step shares the cores and the memory that the job holds (--overlap): without it a second step
    would wait for ever. Cores and GPUs are named because a step does not inherit them from the job.
    """
    count = nodes(site, kind)
    if count == 1:
        return []
    need = asked(site, kind)
    gpus = [f"--gpus-per-node={need.gpus}"] if need.gpus > 0 else []
    return [
        "srun",
        "--overlap",
        f"--nodes={count}",
        f"--ntasks={count}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={need.cpus}",
        *gpus,
        "--kill-on-bad-exit=1",
    ]


# --------------------------------------------------------------------------------- the time limit


def seconds(time_left: str) -> float | None:
    """SLURM's `[days-][[hours:]minutes:]seconds` in seconds; None where there is no limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", time_left.strip())
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def time_left() -> float | None:
    """Seconds until this SLURM job's time limit; None outside of SLURM and without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%L"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return seconds(answer.stdout) if answer.returncode == 0 else None


def usable_seconds(limit: float, margin: float = WARNING_SECONDS) -> float:
    """Time of a limit until the warning; half of a short limit, so that a job gets on at all."""
    return max(limit - margin, limit / 2)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(REQUEUE_EXIT_CODE)


def _requeue() -> None:
    job = os.environ["SLURM_JOB_ID"]
    log.info("the state is saved: SLURM job %s goes back into the queue", job)
    answer = subprocess.run(
        ["scontrol", "requeue", job], capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise UserError(
            f"SLURM job {job} cannot be requeued ({answer.stderr.strip()}); start Snakemake again: "
            "the job goes on from its saved state"
        )


@contextmanager
def within_time_limit(margin: float = WARNING_SECONDS) -> Iterator[None]:
    """Interrupt the block by SIGUSR1 `margin` seconds before the SLURM job's time limit, and requeue the job.

    The block may handle SIGUSR1 itself, as training does to save its state; it ends with
    SystemExit(REQUEUE_EXIT_CODE) when it was interrupted. A requeued job is the same one to Snakemake: it
    is pending again, and no retry is counted. Of a job on several nodes, the first requeues.
    """
    left = time_left()
    previous = signal.signal(signal.SIGUSR1, _interrupt)
    timer = None
    if left is not None:
        wait = usable_seconds(left, margin)
        timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.daemon = True
        timer.start()
    try:
        yield
    except SystemExit as end:
        if end.code == REQUEUE_EXIT_CODE and "SLURM_JOB_ID" in os.environ:
            if node() == 0:
                _requeue()
            else:
                # srun ends all nodes where one ends badly, the first too, before it could requeue the job.
                time.sleep(REQUEUE_SECONDS)
        raise
    finally:
        if timer is not None:
            timer.cancel()
        signal.signal(signal.SIGUSR1, previous)
