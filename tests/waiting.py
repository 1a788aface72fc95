"""Waiting for a process as long as it computes: a slow machine is no failure, a process that hangs is one."""

import contextlib
import time
from collections.abc import Callable

import psutil

IDLE_SECONDS = 60.0
"""Without any processor time of the process and those that it started."""


def wait_for(reached: Callable[[], bool], pid: int, idle_seconds: float = IDLE_SECONDS) -> None:
    """Wait until `reached`; AssertionError once the process `pid` ended before, or computes nothing more."""
    process = psutil.Process(pid)
    seen, since = -1.0, time.monotonic()
    while not reached():
        spent = _cpu_seconds(process)
        if spent is None:
            assert reached(), "the process ended before"
            return
        if spent != seen:
            seen, since = spent, time.monotonic()
        assert time.monotonic() - since < idle_seconds, "the process computes nothing more"
        time.sleep(0.02)


def wait_until_ended(pid: int, idle_seconds: float = IDLE_SECONDS) -> None:
    """Wait until the process `pid`, a child of this one, has ended."""
    process = psutil.Process(pid)
    wait_for(lambda: _cpu_seconds(process) is None, pid, idle_seconds)


def ends_within(seconds: float, *pids: int) -> bool:
    """Whether the processes, of whatever parent, all end in that time; one that is not reaped has ended."""
    limit = time.monotonic() + seconds
    while any(_runs(pid) for pid in pids):
        if time.monotonic() >= limit:
            return False
        time.sleep(0.02)
    return True


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _cpu_seconds(process: psutil.Process) -> float | None:
    """Of the process and those that it started; None where it ended."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    spent = 0.0
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            spent += times.user + times.system
    return spent
