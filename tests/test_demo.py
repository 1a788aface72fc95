"""What a run says at a terminal: with Snakemake itself, on workflows of a few sleeping jobs."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selflong.demo import (
    STEPS,
    Course,
    Failed,
    Finished,
    Job,
    dry_run,
    events,
    follow,
    in_words,
    jobs_of,
    planned_seconds,
    snakemake_command,
)
from selflong.placement.machines import TWO_CORES
from selflong.recipe.loading import load_recipe, load_site
from tests.waiting import ends_within

ROOT = Path(__file__).parent.parent

SNAKEFILE = """
rule all:
    input: "third"

rule first:
    output: "first"
    log: "logs/first.log"
    shell: "{first}"

rule second:
    input: "first"
    output: "{{name}}.second"
    log: "logs/{{name}}.log"
    threads: 2
    shell: "{second}"

rule third:
    input: "a.second", "b.second"
    output: "third"
    shell: "touch {{output}}"
"""
QUICK = "touch {output}"
# It says where its process is, and ends with its parent as the jobs of the workflow do.
SLOW = (
    f"exec {sys.executable} -c 'from selflong.job import end_with_parent as e; e(); import os, time; "
    'open(\\"pid\\", \\"w\\").write(str(os.getpid())); time.sleep(100)\''
)
WRONG = (
    "echo 'a line before' > {log}; echo 'Error: config.yaml: x is missing: add it' >> {log}; exit 2"
)


def workflow(folder: Path, first: str = QUICK, second: str = QUICK) -> list[str]:
    """The command that runs such a workflow in `folder`."""
    (folder / "Snakefile").write_text(SNAKEFILE.format(first=first, second=second))
    place = ["--directory", str(folder), "--snakefile", str(folder / "Snakefile")]
    return snakemake_command([*place, "--cores", "2", "--nolock", "--workflow-profile", "none"])


def course_of(command: list[str]) -> Course:
    status, output = dry_run(command)
    assert status == 0, output
    return Course(jobs_of(output), lambda job: 1.0, cores=2)


def test_every_step_is_one_line_with_its_place_and_the_time_left(tmp_path: Path) -> None:
    command = workflow(tmp_path)
    course = course_of(command)
    assert course.total == 4
    said: list[str] = []
    assert follow(command, course, "make demo", said.append) == 0
    assert len(said) == 4
    line = re.compile(r"step (\d) of 4, (.+), 0 min so far, \d+ s left")
    found = [line.fullmatch(text) for text in said]
    assert [match and match[1] for match in found] == ["1", "2", "3", "4"]
    assert {match[2] for match in found if match} == {"first", "second a", "second b", "third"}
    assert (course.finished, course.jobs) == (4, {})


def test_a_failed_job_shows_its_own_sentence_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = workflow(tmp_path, second=WRONG)
    said: list[str] = []
    assert follow(command, course_of(command), "make demo", said.append) != 0
    failed = [text for text in said if "failed" in text]
    assert failed
    for text in failed:
        name = "a" if "logs/a.log" in text else "b"
        assert text == (
            f"second failed (log: logs/{name}.log): Error: config.yaml: x is missing: add it"
        )
    assert said[-1] == (
        "Stopped after 1 of 4 steps: correct that, and `make demo` goes on from there."
    )


def test_a_mistake_before_the_first_job_is_shown(tmp_path: Path) -> None:
    command = workflow(tmp_path)
    (tmp_path / "Snakefile").write_text("raise WorkflowError('config.yaml: recipe: is missing')")
    status, output = dry_run(command)
    assert status != 0
    assert "config.yaml: recipe: is missing" in output


LAUNCH = """
import sys
from selflong.demo import Course, dry_run, follow, jobs_of
command = sys.argv[1:]
course = Course(jobs_of(dry_run(command)[1]), lambda job: 1.0, cores=2)
sys.exit(follow(command, course, "make demo", lambda line: print(line, flush=True)))
"""


def launched(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """The same in a group of its own, like a command that a shell starts."""
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *command], cwd=folder, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def wait_for(path: Path, seconds: float = 120) -> int:
    """The process id that a job wrote."""
    limit = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < limit, f"no {path}"
        time.sleep(0.1)
    return int(path.read_text())


def test_an_interrupt_ends_all_jobs_and_says_in_one_sentence_how_to_go_on(tmp_path: Path) -> None:
    command = workflow(tmp_path, second=SLOW)
    process = launched(command, tmp_path)
    job = wait_for(tmp_path / "pid")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    lines = output.splitlines()
    assert lines[-1] == "Stopped after 1 of 4 steps: `make demo` goes on from there."
    assert all(line.startswith("step ") for line in lines[:-1]), output
    assert ends_within(30, job)
    # And it does.
    command = workflow(tmp_path)
    course = course_of([*command, "--rerun-incomplete"])
    assert course.total == 3
    assert follow([*command, "--rerun-incomplete"], course, "make demo", lambda _: None) == 0


def test_jobs_end_with_a_killed_launcher(tmp_path: Path) -> None:
    process = launched(workflow(tmp_path, second=SLOW), tmp_path)
    job = wait_for(tmp_path / "pid")
    process.kill()
    process.communicate(timeout=60)
    assert ends_within(30, job)


# --------------------------------------------------------------------------------- without Snakemake


def test_a_block_is_read_with_its_wildcards_and_log() -> None:
    text = """\
[Wed Nov 25 18:35:24 2026]
localrule evaluate:
    input: a, b: c
    log: results/x/logs/all.log
    jobid: 7
    reason: Missing output files: results/x; Input files updated by another job: a
    wildcards: suite=ruler, model=full, stage=4k, lengths=all
    threads: 2
    resources: tmpdir=/tmp, runtime=60
Select jobs to execute...
Finished jobid: 7 (Rule: evaluate)
Error in rule score:
    message: None
    jobid: 3
    log: results/x/logs/score.log (check log file(s) for error details)
"""
    wildcards = {"suite": "ruler", "model": "full", "stage": "4k", "lengths": "all"}
    assert list(events(text.splitlines())) == [
        Job(7, "evaluate", wildcards, Path("results/x/logs/all.log"), 2),
        Finished(7),
        Failed("score", Path("results/x/logs/score.log")),
    ]


def test_time_left_follows_the_plan_then_what_jobs_took() -> None:
    now = 0.0
    jobs = {number: Job(number, "train_stage", {}, None, 2) for number in range(10)}
    course = Course(dict(jobs), lambda job: 60.0, cores=2, clock=lambda: now)
    assert course.seconds_left() == pytest.approx(600)
    for number in range(5):
        course.start(jobs[number])
        now += 120.0
        course.finish(number)
    # Twice as slow as planned over five minutes of plan, beside one minute of trust in it.
    assert course.seconds_left() == pytest.approx(300 * 660 / 360)
    course.start(jobs[5])
    now += 1e6
    assert course.seconds_left() > 240


def test_jobs_of_one_thread_run_beside_each_other() -> None:
    jobs = {number: Job(number, "score", {}, None, 1) for number in range(4)}
    assert Course(jobs, lambda job: 10.0, cores=2).seconds_left() == pytest.approx(20)


def test_every_job_of_the_laptop_recipe_has_a_step_in_the_plan() -> None:
    recipe, site = load_recipe(ROOT / "recipes" / "laptop.yaml"), load_site(ROOT / "config.yaml")
    status, output = dry_run(snakemake_command(["--directory", str(ROOT), "--forceall"]))
    assert status == 0, output
    jobs = jobs_of(output)
    seconds = planned_seconds(recipe, site, TWO_CORES)
    report = seconds(Job(0, "tables", {}))
    planned = {job.name: seconds(job) for job in jobs.values() if job.rule in STEPS}
    assert len(planned) > 30
    heavy = [name for name in planned if name.startswith(("evaluate ruler", "train stage"))]
    assert heavy
    assert all(planned[name] > report for name in heavy)


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "5 s"), (43, "45 s"), (540, "about 9 min"), (9000, "about 2.5 h")]
)
def test_time_is_said_as_one_would(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
