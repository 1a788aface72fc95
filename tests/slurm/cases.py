"""The SLURM profile on an emulated cluster; run by run.sh, not part of the ordinary tests."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulated import (
    cluster,
    running,
    slurm_output,
    start_controller,
    stop_controller,
    wait_for,
    wait_until_idle,
)
from train import STEPS
from train import main as train

from selflong.formats import SCORES, read_parquet
from tests.checkpoints import write_checkpoint, write_tokenizer
from tests.training.jobs import write_model, write_packed
from tests.workflow.test_evaluate_command import CATALOGUE, SITE

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLUSTER = Path("/tmp/selflong-slurm")
# Only this cluster has no accounting.
HERE_ALONE: tuple[str, ...] = (
    *("--slurm-status-command", "squeue", "--latency-wait", "5"),
    *("--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "3"),
)
RESOURCES = """\
resources:
  pipeline: {cpus: 1, memory_mb: 2500, minutes: 20}
  training: {cpus: 2, memory_mb: 3500, minutes: 20}
  evaluation: {cpus: 2, memory_mb: 3500, minutes: 20}
"""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    with cluster(CLUSTER) as folder:
        yield folder


@pytest.fixture
def idle(slurm: Path) -> Path:
    wait_until_idle(slurm)
    return slurm


def start(folder: Path, targets: str) -> subprocess.Popen[str]:
    """Snakemake with the project's profile, looking at its jobs more often than on a real cluster."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", HERE / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "slurm", "--directory", folder),
        *("--config", f"site={HERE / 'site.yaml'}", f"targets={targets}"),
        *HERE_ALONE,
    ]
    return _start(command)


def _start(command: list[object], folder: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(part) for part in command], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip


def finish(process: subprocess.Popen[str], limit: float = 150) -> str:
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        pytest.fail(output)
    assert process.returncode == 0, output
    return output


def name_of(job: tuple[str, str, str]) -> str:
    return job[2].rpartition("_")[2]


def _number(log: Path) -> int:
    return int(log.stem)


def parses(*command: str) -> bool:
    """Whether SLURM's own parser takes the options; its help ends what would else start."""
    return subprocess.run([*command, "--help"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("start", "ends"), [("sbatch", None), ("exec srun", "/opt/training/bin/python")]
)
def test_slurm_reads_the_commands_of_the_dry_launch(
    idle: Path, start: str, ends: str | None
) -> None:
    printed = (ROOT / "tests" / "estimate" / "golden" / "two_nodes_1m.txt").read_text()
    lines = [line for line in printed.splitlines() if line.startswith(start)]
    assert lines
    for line in lines:
        words = shlex.split(line.removeprefix("exec "))
        command = words[: words.index(ends)] if ends else words
        assert parses(*command)
        assert not parses(*command, "--no-such-option")


def test_a_job_on_two_nodes_starts_its_command_once_a_node(idle: Path, tmp_path: Path) -> None:
    finish(start(tmp_path, "two_nodes.txt"))
    lines = (tmp_path / "two_nodes.txt").read_text().splitlines()
    assert sorted(lines) == ["0 node1 0,1", "1 node2 0,1"]


def test_one_command_evaluates_a_model_by_jobs_of_the_cluster(idle: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    write_checkpoint(tmp_path / "tokenizer", tmp_path / "model")
    (tmp_path / "small.yaml").write_text(CATALOGUE)
    (tmp_path / "config.yaml").write_text(f"recipe: none\n{SITE}{RESOURCES}")
    scores = "results/evaluation/evaluation/needle_grid/scores.parquet"
    command = [
        *(sys.executable, "-m", "selflong.cli", "evaluate", "model", "--suites", "needle_grid"),
        *("--catalogue", "small.yaml", "--lengths", "300,512"),
        *("--workflow-profile", ROOT / "profiles" / "slurm", *HERE_ALONE, "--", scores),
    ]
    finish(_start(command, tmp_path), limit=300)
    assert set(read_parquet(tmp_path / scores, SCORES)["length"]) == {300, 512}
    submitted = {path.name for path in (tmp_path / "work" / "slurm_logs").iterdir()}
    assert submitted == {"rule_load_model", "rule_evaluate", "rule_score"}


def losses(model: Path) -> list[float]:
    lines = (model / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_training_on_two_nodes_equals_two_processes_on_one(idle: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "inputs" / "initial")
    write_packed(tmp_path / "inputs" / "packed", 64, 40)
    finish(start(tmp_path, "trained_on_two_nodes"), limit=400)
    on_one = tmp_path / "trained_on_one_node"
    train(tmp_path / "inputs", tmp_path / "work" / "one", 1, 2, on_one)
    assert len(losses(on_one)) == STEPS
    assert losses(tmp_path / "trained_on_two_nodes") == pytest.approx(losses(on_one), abs=1e-6)


def test_a_job_near_its_time_limit_requeues_itself_and_goes_on(idle: Path, tmp_path: Path) -> None:
    output = finish(start(tmp_path, "180_heeds.txt"), limit=300)
    assert (tmp_path / "state.txt").read_text().split() == [str(step) for step in range(180)]
    assert "Trying to restart job" not in output
    (log,) = (tmp_path / "work" / "slurm_logs" / "rule_long").rglob("*.log")
    assert "Restarts=1" in slurm_output("scontrol", "show", "job", log.stem).split()


def test_a_job_killed_by_its_time_limit_is_resumed(idle: Path, tmp_path: Path) -> None:
    """SLURM kills a job up to a minute after its limit of one: the work is longer than that."""
    output = finish(start(tmp_path, "400_ignores.txt"), limit=420)
    assert (tmp_path / "state.txt").read_text().split() == [str(step) for step in range(400)]
    assert "Trying to restart job" in output
    first, *rest = (tmp_path / "work" / "slurm_logs" / "rule_long").rglob("*.log")
    assert rest
    jobs = slurm_output("scontrol", "show", "job", min(first, *rest, key=_number).stem)
    assert "JobState=TIMEOUT" in jobs


def test_lost_jobs_are_repeated_and_no_others(idle: Path, tmp_path: Path) -> None:
    names = "abcdefgh"
    process = start(tmp_path, ",".join(f"one_node/{name}.txt" for name in names))

    def begun() -> list[tuple[str, str, str]]:
        return [job for job in running() if (tmp_path / f"runs_{name_of(job)}").exists()]

    wait_for(lambda: bool(begun()))
    cancelled = begun()[0]
    slurm_output("scancel", cancelled[0])
    stop_controller(CLUSTER)
    time.sleep(2)
    start_controller()
    wait_for(lambda: any(node == "node2" for _, node, _ in running()))
    on_node = [job for job in running() if job[1] == "node2"]
    slurm_output("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    slurm_output("scontrol", "update", "nodename=node2", "state=resume")
    finish(process)
    lost = {name_of(job) for job in [*on_node, cancelled]}
    runs = {name: len((tmp_path / f"runs_{name}").read_text().splitlines()) for name in names}
    for name in names:
        assert (tmp_path / "one_node" / f"{name}.txt").read_text() == f"{name}\n"
        assert runs[name] == 1 or name in lost, runs
    assert runs[name_of(cancelled)] >= 2


def test_a_job_out_of_memory_gets_more(idle: Path, tmp_path: Path) -> None:
    output = finish(start(tmp_path, "greedy.txt"))
    assert "Trying to restart job" in output
