"""End a job whose parent ended and that does not end by itself: `python -I -S guardian.py JOB PARENT`.

The kernel tells the job by SIGTERM, but Python's handler runs only when the C call under way returns: a
matrix product, a batch of an encoder. This process, a child of the job, needs nobody's leave. Only the end of
the parent starts its clock: a job that saves its state before a time limit takes the time that it needs.

It imports nothing of the project, so that it starts in a few milliseconds and weighs a few megabytes.
"""

# ruff: noqa: PTH123, PTH208 (pathlib would take most of its start)
import os
import signal
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 2.5
"""For the job to stop its servers and close its files."""
PAUSE_SECONDS = 0.25


def watch(job: int, parent: int) -> None:
    """Wait until `job` ends; once its parent is not `parent` any more, end it and its children."""
    while os.getppid() == job:
        if _parent(job) != parent:
            _see_to_its_end(job)
            return
        time.sleep(PAUSE_SECONDS)


def _see_to_its_end(job: int) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    doomed: set[int] = set()
    while os.getppid() == job and time.monotonic() < deadline:
        doomed |= _children(job)
        time.sleep(PAUSE_SECONDS)
    if os.getppid() == job:
        doomed |= {job, *_children(job)}
    for process in doomed - {os.getpid()}:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _parent(process: int) -> int | None:
    """The parent of a process, as Linux knows it (proc(5)); None where it ended."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stream:
            # The name, in brackets, may hold anything.
            return int(stream.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def _children(job: int) -> set[int]:
    """Processes that `job` started, and those that they started."""
    parents = {int(entry): _parent(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found = [job]
    for process in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == process]
    return set(found[1:])


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]))
