"""What every job shares: a mistake as one sentence, an end with its parent, one owner per folder."""

import ctypes
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn, TextIO

from selflong import guardian
from selflong.interrupt import raised
from selflong.logs import presentable, start_logging

PR_SET_PDEATHSIG = 1
PROBE_BYTES = 1 << 16
RUNNER_VARIABLE = "SELFLONG_RUNNER"
"""Environment variable that tells a job which Snakemake started it."""


class UserError(Exception):
    """A mistake of the user; the message is one sentence that names the place and what to do."""


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


def start_guardian() -> None:
    """Start what ends this process and its children soon after its parent, whatever it computes then."""
    subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), str(os.getppid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # Ctrl-C is for the job
    )


def runner() -> str:
    """This process as the value of RUNNER_VARIABLE."""
    return f"{socket.gethostname()}:{os.getpid()}"


def runner_has_ended() -> bool:
    """Whether the Snakemake that started this job ended while the job was still being loaded.

    The kernel signals the end of a parent only after end_with_parent. On another node nobody can tell.
    """
    host, _, pid = os.environ.get(RUNNER_VARIABLE, "").rpartition(":")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


MENDS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of the quota",
    errno.EROFS: "name another folder in config.yaml, or start in another",
    errno.EACCES: "allow it, or name another folder in config.yaml",
    errno.EPERM: "allow it, or name another folder in config.yaml",
    errno.ENOTDIR: "a file stands where a folder belongs; move it away",
    errno.EISDIR: "a folder stands where a file belongs; move it away",
    errno.ENOTEMPTY: "a folder stands where a file belongs; move it away",
    errno.EEXIST: "a file stands where a folder belongs; move it away",
    errno.ENAMETOOLONG: "give shorter names",
    errno.ELOOP: "correct the links",
    errno.EIO: "the disk fails",
    errno.ESTALE: "the file system was mounted again meanwhile",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOLCK: "its file system has no locks; name a folder on another one in config.yaml",
    errno.EOPNOTSUPP: "its file system has no locks; name a folder on another one in config.yaml",
    errno.ENOSYS: "its file system has no locks; name a folder on another one in config.yaml",
}
"""What a person can do about an error of the file system."""

_NUMBER = re.compile(r"\b(?:os error|errno:?) (\d+)", re.IGNORECASE)
_FULL = re.compile(rf"{os.strerror(errno.ENOSPC)}|\d+ requested and \d+ written")
"""As FAISS and NumPy say it, without a number."""


@contextmanager
def disk_errors_as_sentences(place: Path | None = None) -> Iterator[None]:
    """Raise UserError for what a user can correct of the file system; `place` where the error names none."""
    try:
        yield
    except Exception as error:
        number = _number_of(error)
        if isinstance(error, UserError) or number not in MENDS:
            raise
        where = getattr(error, "filename", None) or place
        start = f"{where}: " if where else ""
        text = f"{start}{os.strerror(number)}: {MENDS[number]}, and start again"
        raise UserError(text) from error


def _number_of(error: Exception) -> int:
    """The file system's number of an error; 0 where it is of another kind.

    Libraries in other languages leave it in the text, some in an error of their own kind.
    """
    if isinstance(number := getattr(error, "errno", None), int):
        return number
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else errno.ENOSPC * bool(_FULL.search(str(error)))


@contextmanager
def sole_owner(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process; the kernel releases it when the process ends, even by SIGKILL.

    While a living process holds it, wait, or else raise UserError.
    """
    with ExitStack() as held:
        with disk_errors_as_sentences(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / ".lock").open("a+", encoding="utf-8"))
            _acquire(lock, folder, wait)
        yield


def check_writable(folder: Path) -> None:
    """UserError where nothing can be written into `folder`, which is made if need be."""
    with disk_errors_as_sentences(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as probe:
            # A full disk still makes empty files, and some tell it only when what was written must arrive.
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())


def _acquire(lock: TextIO, folder: Path, wait: bool) -> None:
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


def _end_on_signal(number: int, _frame: object) -> None:
    # Raising lets the context managers stop their servers and close their files.
    raise SystemExit(128 + number)


def run(main: Callable[[], None]) -> None:
    """Run a launcher's `main`: log to standard error, end with the parent, print a UserError alone."""
    start_logging()
    end_with_parent()
    signal.signal(signal.SIGTERM, _end_on_signal)
    start_guardian()
    if runner_has_ended():
        sys.exit("Error: Snakemake ended before this job began; start it again")
    try:
        with raised(), disk_errors_as_sentences():
            main()
    except UserError as mistake:
        end_with(mistake)


def end_with(mistake: UserError) -> NoReturn:
    """Print a mistake alone, and end the program."""
    _say(presentable(str(mistake)))
    sys.exit(2)


def _say(sentence: str) -> None:
    """Print it as an error; a log on a full disk takes none, and the rules then say why (`onerror`)."""
    with suppress(OSError):
        print(f"Error: {sentence}", file=sys.stderr, flush=True)
