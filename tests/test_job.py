"""What every job shares, with real processes."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selflong import guardian
from selflong.job import MENDS, RUNNER_VARIABLE, UserError, check_writable, sole_owner
from tests.waiting import ends_within

ROOT = Path(__file__).parents[1]


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_process_ends_with_its_parent() -> None:
    child = (
        "import time; from selflong.job import end_with_parent; end_with_parent(); "
        "print(1, flush=True); time.sleep(60)"
    )
    parent = start(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert ends_within(10, pid)


def test_a_job_whose_runner_ended_before_it_does_not_begin() -> None:
    ended = start("pass")
    ended.wait()
    code = "from selflong.job import run; run(lambda: print('began'))"
    for pid, began in ((ended.pid, ""), (os.getpid(), "began\n")):
        environment = os.environ | {RUNNER_VARIABLE: f"{socket.gethostname()}:{pid}"}
        job = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert job.stdout == began
        assert (job.returncode == 0) == bool(began)


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    holder = start(
        "import sys; from pathlib import Path; from selflong.job import sole_owner\n"
        f"with sole_owner(Path({str(folder)!r})):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by process {holder.pid}"), sole_owner(folder):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with sole_owner(folder):
        assert (folder / ".lock").read_text() == str(os.getpid())


def run_main(body: str) -> subprocess.CompletedProcess[str]:
    code = f"from selflong.job import UserError, run\ndef main():\n    {body}\nrun(main)"
    process = start(code)
    output, error = process.communicate(timeout=30)
    return subprocess.CompletedProcess([], process.returncode, output, error)


def test_a_mistake_of_the_user_is_one_sentence_without_a_traceback() -> None:
    done = run_main("raise UserError('recipes/x.yaml: seed: must be a number')")
    assert done.returncode == 2
    assert done.stderr == "Error: recipes/x.yaml: seed: must be a number\n"


def test_a_mistake_of_the_program_keeps_its_traceback() -> None:
    done = run_main("{}['key']")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_terminated_job_closes_what_it_holds(tmp_path: Path) -> None:
    note = tmp_path / "closed"
    process = start(
        "import time; from pathlib import Path; from selflong.job import run\n"
        "def main():\n"
        "    try:\n        print('in', flush=True); time.sleep(60)\n"
        f"    finally:\n        Path({str(note)!r}).touch()\n"
        "run(main)"
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert note.exists()


# By a link, since pyarrow removes what it could not write.
WRITES = {
    "text": "path.write_text('x' * 100_000)",
    "polars": "import polars; polars.DataFrame({'a': list(range(100_000))}).write_parquet(path)",
    "pyarrow": "import pyarrow.parquet as pq, pyarrow as pa;"
    "pq.write_table(pa.table({'a': list(range(10**6))}), path)",
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_is_one_sentence(tmp_path: Path, write: str) -> None:
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    write = f"from pathlib import Path; path = Path({str(path)!r}); {write}"
    child = start(f"from selflong.job import run; run(lambda: exec({write!r}))")
    _, errors = child.communicate()
    assert child.returncode == 2
    assert "No space left on device: free some space, and start again" in errors
    assert errors.startswith("Error: ") and errors.count("\n") == 1


def test_an_error_that_is_no_disks_keeps_its_trace() -> None:
    child = start("from selflong.job import run; run(lambda: {}['missing'])")
    _, errors = child.communicate()
    assert child.returncode == 1
    assert "KeyError: 'missing'" in errors


def test_a_file_in_place_of_the_results_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("no folder")
    with (
        pytest.raises(UserError, match=r"results.*: a file stands where a folder belongs"),
        sole_owner(tmp_path / "results" / "laptop"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(UserError, match=f"{tmp_path}: .*: its file system has no locks"),
        sole_owner(tmp_path),
    ):
        pass


def test_a_mistake_inside_of_the_block_is_not_blamed_on_the_lock(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), sole_owner(tmp_path):
        raise PermissionError(errno.EACCES, "inside")


# A C call that holds the interpreter's lock, and one that lets it go; each takes minutes.
LONG_CALLS = {
    "holding": "sum(range(10**12))",
    "releasing": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
}
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('in', flush=True); time.sleep(600)"
)


def job_under_a_parent(body: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A process whose child is a job that runs `body`, and the pids that the job prints."""
    job = (
        f"from selflong.job import run\nimport os, subprocess, sys\ndef main():\n{body}\nrun(main)"
    )
    parent = start(
        "import subprocess, sys\n"
        f"job = subprocess.Popen([sys.executable, '-c', {job!r}])\n"
        "job.wait()\n"
    )
    assert parent.stdout is not None
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS.keys())
def test_a_job_ends_five_seconds_after_its_parent_whatever_it_computes(call: str) -> None:
    parent, (job, child) = job_under_a_parent(
        f"    child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}],"
        " stdout=subprocess.PIPE)\n"
        "    child.stdout.readline()\n"
        "    print(os.getpid(), child.pid, flush=True)\n"
        f"    {call}"
    )
    time.sleep(0.5)  # the call is under way
    parent.kill()
    parent.wait()
    killed = time.monotonic()
    assert ends_within(10, job)
    assert ends_within(10, child)
    assert time.monotonic() - killed < 5


def test_a_job_that_was_told_to_stop_may_save_for_longer(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    parent, (job,) = job_under_a_parent(
        "    import time; from pathlib import Path\n"
        "    try:\n        print(os.getpid(), flush=True); time.sleep(60)\n"
        f"    finally:\n        time.sleep({guardian.GRACE_SECONDS + 1.5}); "
        f"Path({str(saved)!r}).touch()"
    )
    os.kill(job, signal.SIGTERM)
    parent.wait(timeout=30)
    assert saved.exists()


def test_no_guardian_outlives_its_job() -> None:
    parent, (job,) = job_under_a_parent("    print(os.getpid(), flush=True); sys.stdin.read()")
    watching = [str(job), str(parent.pid)]
    guardians: list[int] = []
    end = time.monotonic() + 10
    while not guardians and time.monotonic() < end:
        running = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        guardians = [pid for pid in running if command_of(pid)[-2:] == watching]
    os.kill(job, signal.SIGKILL)
    assert ends_within(5, guardians[0])
    parent.wait(timeout=10)


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    except OSError:
        return []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_folder_that_takes_nothing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)
    sentence = f"{tmp_path}: {os.strerror(number)}: {MENDS[number]}, and start again"
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_writable(tmp_path)
