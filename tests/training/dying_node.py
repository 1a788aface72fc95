"""One node of a stage, as a process that may die at a point of it, before or after a call of a function.

Its launcher and its ranks are those of the stage, but forked, so that a start costs no imports: what differs
is how they begin, and that they die. The launcher and the ranks of the node are gone at once, by SIGKILL.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import torch

from selflong.job import run
from selflong.recipe.site import TrainingSite
from selflong.training import launch, stage
from selflong.training.stage_job import TrainingJob


@dataclass(frozen=True)
class Point:
    """Where a node dies: at a call of a function by its launcher or its rank, counted within one start."""

    phase: str
    node: int
    process: str
    """launcher or rank."""
    function: str
    call: int = 1
    after: bool = False
    whole: bool = False
    """Whether the model was written before: nothing may be trained again."""

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"node {self.node}, {self.phase}: {when} call {self.call} of {self.function}"


def _die_at(point: Point | None, process: str, met: Path) -> None:
    """Replace the function of the point by one that ends this node, where the point is this process's."""
    if point is None or point.process != process:
        return
    holder_name, _, attribute = point.function.rpartition(".")
    holder = resolve_name(holder_name)
    function: Callable[..., Any] = getattr(holder, attribute)
    calls = 0

    def end() -> None:
        met.write_text(str(point))
        if process == "rank":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.call and not point.after:
            end()
        result = function(*arguments, **named)
        if calls == point.call:
            end()
        return result

    setattr(holder, attribute, counted)


class _ForkedRank:
    """A rank that its launcher forks, with what the launcher asks of a process that it started."""

    def __init__(self, train: Callable[[], None], environment: dict[str, str], out: int) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(out, 1)
                # As a program that is started: the launcher's lock and its store end with the launcher.
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                os.environ.update(environment)
                for number in (signal.SIGTERM, signal.SIGUSR1):
                    signal.signal(number, signal.SIG_DFL)
                train()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> None:
        while self.poll() is None:
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Files:
    """Where the nodes of a stage write, beside what every stage does."""

    folder: Path

    @property
    def output(self) -> Path:
        """The published model."""
        return self.folder / "model"

    @property
    def trained(self) -> Path:
        """The number of each step that was trained, a line each."""
        return self.folder / "trained.txt"

    @property
    def met(self) -> Path:
        """The point at which a node died."""
        return self.folder / "met.txt"

    def log(self, number: int) -> Path:
        """What a node's launcher, and the first node's rank, say in all starts."""
        return self.folder / f"node-{number}.log"


def _train(job_file: Path, point: Point | None, files: Files) -> None:
    """What a rank does; it notes each step that it trained."""
    torch.set_num_threads(1)
    report = stage._report

    def noted(job: Any, metrics: dict[str, Any], *rest: Any) -> None:
        with files.trained.open("a") as stream:
            stream.write(f"{metrics['step']}\n")
        report(job, metrics, *rest)

    stage._report = noted
    _die_at(point, "rank", files.met)
    launch._rank_main(job_file)


def node(
    job: TrainingJob, site: TrainingSite, number: int, environment: dict[str, str], files: Files,
    point: Point | None,
) -> None:  # fmt: skip
    """Run the launcher of a node in this process, which dies at the point."""
    with files.log(number).open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.environ.update(environment)

    def start(command: list[str], *, env: dict[str, str], stdout: Any, stderr: Any) -> _ForkedRank:
        job_file = Path(command[-1])
        return _ForkedRank(lambda: _train(job_file, point, files), env, stdout.fileno())

    launch.subprocess = SimpleNamespace(Popen=start)  # type: ignore[attr-defined]
    _die_at(point, "launcher", files.met)
    run(lambda: launch.run_stage(job, site, files.output))
