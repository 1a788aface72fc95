"""A run as someone at a terminal follows it: what it will take, one line a step, and one sentence at its end.

Snakemake runs in a process of its own, whose output is read line by line, so it works as it does without
this; all that it says stands in its own log. Time left is the plan's, corrected by what the finished jobs
took.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from selflong.estimate.steps import Planner
from selflong.job import end_with_parent
from selflong.logs import presentable
from selflong.placement.machines import TWO_CORES, Machine
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site

# Of the plan's steps, by rule; the others belong to the report.
STEPS = {
    "download": "downloads",
    "collect_source": "corpus {corpus}",
    "scan_documents": "corpus {corpus}",
    "select_documents": "corpus {corpus}",
    "write_documents": "corpus {corpus}",
    "write_evaluation_texts": "evaluation texts",
    "embed_documents": "embeddings {encoder}",
    "build_index": "index {encoder}",
    "measure_retrieval": "index {encoder}",
    "write_instructions": "instructions {generator}",
    "retrieve": "retrieved documents {generator}",
    "answer_instructions": "answers {generator}",
    "backtranslate": "long outputs {generator}",
    "write_document_tasks": "document tasks {generator}",
    "write_multi_hop": "multi-hop questions {generator}",
    "build_mixture": "mixture {mixture} {stage}",
    "load_model": "model {model}/initial",
    "adjust_rope": "model {checkpoint}",
    "train_stage": "model {checkpoint}",
    "evaluate": "evaluation {suite} {model}/{stage}",
    "score": "scores {suite}",
}
REPORT_STEP = "report"
SHORTEST = 1.0  # second of a job
TRUST_SECONDS = 60.0
"""So many seconds of finished work count as much as the plan."""
STOP_SECONDS = 5.0
LAST_LINES = 20

_BEGIN = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
_FIELD = re.compile(r"^    (\w+): (.*)$")
_FINISHED = re.compile(r"^Finished jobid: (\d+) \(Rule: \w+\)")
_ERROR = re.compile(r"^Error in (?:rule|group) ([\w-]+)")


@dataclass(frozen=True)
class Job:
    """One job as Snakemake announces it."""

    number: int
    rule: str
    wildcards: dict[str, str]
    log: Path | None = None
    threads: int = 1

    @property
    def name(self) -> str:
        """Rule and what it is about: 'evaluate ruler full 4k all'."""
        return " ".join([self.rule.replace("_", " "), *self.wildcards.values()])


@dataclass(frozen=True)
class Finished:
    """A job ended well."""

    number: int


@dataclass(frozen=True)
class Failed:
    """A job failed; `log` is its own."""

    rule: str
    log: Path | None


Event = Job | Finished | Failed


def events(lines: Iterable[str]) -> Iterator[Event]:
    """What Snakemake's output (9.x, to a file or a pipe) says about its jobs.

    A block ends at the first line that is not indented, which is known when that line comes.
    """
    head: re.Match[str] | None = None
    fields: dict[str, str] = {}
    for line in lines:
        if head is not None and line.startswith("    "):
            if found := _FIELD.match(line.rstrip("\n")):
                fields[found[1]] = found[2]
            continue
        if head is not None:
            yield from _block(head, fields)
        head, fields = _BEGIN.match(line) or _ERROR.match(line), {}
        if finished := _FINISHED.match(line):
            yield Finished(int(finished[1]))
    if head is not None:
        yield from _block(head, fields)


def _block(head: re.Match[str], fields: dict[str, str]) -> Iterator[Event]:
    name = fields.get("log", "").partition(" (check")[0].partition(", ")[0]
    log = Path(name) if name else None
    if head.re is _ERROR:
        yield Failed(head[1], log)
    elif "jobid" in fields:
        pairs = [pair.split("=", 1) for pair in fields.get("wildcards", "").split(", ") if pair]
        wildcards = {key: value for key, value in pairs}
        yield Job(int(fields["jobid"]), head[1], wildcards, log, int(fields.get("threads", "1")))


# ------------------------------------------------------------------------------------------- time


def measured_machine(threads: int) -> Machine:
    """Two cores, at the rate that this machine multiplies matrices with so many threads; a few seconds."""
    # In a process of its own, which takes torch's memory and threads with it.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        float32, bfloat16 = pool.submit(_rates, threads).result()
    # Beside products as fast as a CPU's matrix units make them, what remains of a model takes most of the
    # time: the rate that was reached with them is the plan's own.
    reached = max(float32, min(bfloat16, TWO_CORES.devices_per_node * TWO_CORES.flops))
    return replace(TWO_CORES, flops=reached / TWO_CORES.devices_per_node)


def _rates(threads: int, seconds: float = 0.5) -> tuple[float, float]:
    """Multiplications and additions a second in float32 and bfloat16, of 128 positions and a matrix of
    SmolLM2's."""
    import torch

    torch.set_num_threads(threads)

    def rate(dtype: torch.dtype) -> float:
        positions, weights = torch.ones(128, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        best, begun = float("inf"), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            torch.nn.functional.linear(positions, weights)
            best = min(best, time.perf_counter() - start)
        return 2 * 128 * 576 * 1536 / best

    with torch.inference_mode():
        return rate(torch.float32), rate(torch.bfloat16)


def planned_seconds(recipe: Recipe, site: Site, machine: Machine) -> Callable[[Job], float]:
    """How long the plan expects a job to take on a machine."""
    steps = {step.name: step.seconds for step in Planner(recipe, site, machine).steps()}

    def seconds(job: Job) -> float:
        name = STEPS.get(job.rule, REPORT_STEP).format_map(job.wildcards)
        return max(SHORTEST, steps.get(name, steps.get(REPORT_STEP, SHORTEST)))

    return seconds


def in_words(seconds: float) -> str:
    """'40 s', 'about 9 min', 'about 2.5 h'."""
    if seconds < 90:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


@dataclass
class Course:
    """What is done and what is left of a run."""

    jobs: dict[int, Job]
    seconds_of: Callable[[Job], float]
    cores: int
    clock: Callable[[], float] = time.monotonic
    started: dict[int, float] = field(default_factory=dict)
    finished: int = 0
    _planned: float = 0.0
    _took: float = 0.0

    def __post_init__(self) -> None:
        self.begin = self.clock()

    def start(self, job: Job) -> None:
        self.jobs[job.number] = job
        self.started[job.number] = self.clock()

    def finish(self, number: int) -> None:
        if number not in self.started:
            return  # the target, which only waits for the others
        job = self.jobs.pop(number)
        begun = self.started.pop(number)
        self.finished += 1
        share = self._share(job)
        self._planned += share * self.seconds_of(job)
        self._took += share * (self.clock() - begun)

    def _share(self, job: Job) -> float:
        """Of the machine that a job takes up."""
        return min(job.threads, self.cores) / self.cores

    @property
    def total(self) -> int:
        return self.finished + len(self.jobs)

    def seconds_left(self) -> float:
        """The plan for what is not finished, times how much longer than planned the finished took."""
        slower = (self._took + TRUST_SECONDS) / (self._planned + TRUST_SECONDS)
        left = 0.0
        for number, job in self.jobs.items():
            planned = slower * self.seconds_of(job)
            running = self.clock() - self.started[number] if number in self.started else 0.0
            # A job that takes longer than planned is not said to end at once.
            left += self._share(job) * max(planned - running, 0.1 * planned)
        return left

    def line(self, job: Job) -> str:
        """Said when a job begins."""
        so_far = self.clock() - self.begin
        place = self.finished + len(self.started)
        return (
            f"step {place} of {self.total}, {job.name}, {so_far / 60:.0f} min so far, "
            f"{in_words(self.seconds_left())} left"
        )


# -------------------------------------------------------------------------------------------- run


def dry_run(snakemake: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of a dry run."""
    ran = subprocess.run(
        [*snakemake, "--dry-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout


def jobs_of(output: str) -> dict[int, Job]:
    """Number -> job of a dry run, without the target that only waits for the others."""
    found = [event for event in events(output.splitlines()) if isinstance(event, Job)]
    return {job.number: job for job in found if job.rule != "all"}


def own_sentence(log: Path | None) -> str | None:
    """The sentence with which a job ended, else the last line of its log."""
    if log is None or not log.exists():
        return None
    lines = [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    sentences = [line for line in lines if line.startswith("Error: ")]
    found = next(iter(sentences[-1:] or lines[-1:]), None)
    return None if found is None else presentable(found)


def follow(
    snakemake: Sequence[str], course: Course, again: str, say: Callable[[str], None] = print
) -> int:
    """Run Snakemake to its end and say how it goes; its exit status, 130 where the user interrupted it.

    again: the command that goes on from where the run stopped.
    """
    with subprocess.Popen(
        snakemake,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # An interrupt reaches this process alone, which ends the other in its own time.
        start_new_session=True,
        # A launcher that was killed leaves no run behind. It has no threads that a fork could leave locked.
        preexec_fn=partial(end_with_parent, signal.SIGKILL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        last: deque[str] = deque(maxlen=LAST_LINES)
        try:
            failed = _relay(process.stdout, course, last, say)
            status = process.wait()
        except KeyboardInterrupt:
            _stop(process)
            say(
                f"Stopped after {course.finished} of {course.total} steps: `{again}` goes on from there."
            )
            return 130
    if status != 0:
        if not failed:
            say("".join(last).rstrip())
        where = f"{course.finished} of {course.total} steps"
        say(f"Stopped after {where}: correct that, and `{again}` goes on from there.")
    return status


def _relay(
    stream: Iterable[str], course: Course, last: deque[str], say: Callable[[str], None]
) -> bool:
    """Say each step as it begins; whether a job failed."""

    def lines() -> Iterator[str]:
        for line in stream:
            last.append(line)
            yield line

    failed = False
    for event in events(lines()):
        if isinstance(event, Finished):
            course.finish(event.number)
        elif isinstance(event, Job) and event.rule != "all":
            course.start(event)
            say(course.line(event))
        elif isinstance(event, Failed) and event.rule != "all":
            failed = True
            place = f" (log: {event.log})" if event.log else ""
            say(f"{event.rule} failed{place}: {own_sentence(event.log) or 'its log says nothing'}")
    return failed


def _stop(process: subprocess.Popen[str]) -> None:
    """End Snakemake, whose jobs end with it; a second interrupt does not leave it behind.

    What a job has not finished it makes again, so nothing is lost where Snakemake does not end in time.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=STOP_SECONDS)
            return
        process.kill()
        process.communicate()
    finally:
        signal.signal(signal.SIGINT, before)


def opening(course: Course, machine: Machine, recipe: Recipe) -> str:
    """What a run will take, said before it begins, by kind of step where that is more than a minute."""
    total = course.seconds_left()
    by_rule: dict[str, float] = {}
    for job in course.jobs.values():
        share = min(job.threads, course.cores) / course.cores
        by_rule[job.rule] = by_rule.get(job.rule, 0.0) + share * course.seconds_of(job)
    longest = sorted(by_rule.items(), key=lambda item: -item[1])
    listed = ", ".join(
        f"{rule.replace('_', ' ')} {seconds / 60:.0f}" for rule, seconds in longest if seconds >= 60
    )
    rate = machine.flops * machine.devices_per_node / 1e9
    return (
        f"Recipe {recipe.name}: {course.total} steps, {in_words(total)} on this machine "
        f"({rate:,.0f} GFLOP/s)" + (f"; minutes: {listed}." if listed else ".")
    )


def snakemake_command(arguments: Sequence[str]) -> list[str]:
    """Snakemake of this Python."""
    return [sys.executable, "-m", "snakemake", *arguments]


def cores() -> int:
    """Of this process."""
    return len(os.sched_getaffinity(0))
