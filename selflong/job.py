"""What every job shares: a mistake as one sentence, an end with its parent, one owner per folder."""

import ctypes
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selflong.logs import presentable, start_logging

PR_SET_PDEATHSIG = 1
RUNNER_VARIABLE = "SELFLONG_RUNNER"
"""Environment variable that tells a job which Snakemake started it."""


class UserError(Exception):
    """A mistake that the user can mend; the message is one sentence that names the place and the mend."""


def end_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent ends, however the parent ends (prctl(2)).

    A parent that ended before the call is noticed too: the process is then a child of init or of a
    subreaper, whose pid differs from the one read before.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def runner() -> str:
    """This process as the value of RUNNER_VARIABLE."""
    return f"{socket.gethostname()}:{os.getpid()}"


def runner_has_ended() -> bool:
    """Whether the Snakemake that started this job ended while the job was still being loaded.

    The kernel signals the end of a parent only after end_with_parent. On another node nobody can tell.
    """
    host, _, pid = os.environ.get(RUNNER_VARIABLE, "").rpartition(":")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


@contextmanager
def sole_owner(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process; the kernel releases it when the process ends, even by SIGKILL.

    While a living process holds it, wait, or else raise UserError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"{folder} is in use by process {lock.read().strip() or 'unknown'}: "
                "wait until it ends, or end it, and start again"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _end_on_signal(number: int, _frame: object) -> None:
    # Raising lets the context managers stop their servers and close their files.
    raise SystemExit(128 + number)


def run(main: Callable[[], None]) -> None:
    """Run a launcher's `main`: log to standard error, end with the parent, print a UserError alone."""
    start_logging()
    end_with_parent()
    signal.signal(signal.SIGTERM, _end_on_signal)
    if runner_has_ended():
        sys.exit("Error: Snakemake ended before this job began; start it again")
    try:
        main()
    except UserError as mistake:
        print(f"Error: {presentable(str(mistake))}", file=sys.stderr)
        sys.exit(2)
