"""The small recipe through the SLURM profile, every rule a job, against a run of it on this machine.

While it runs on SLURM a job is cancelled, the controller is started again and a node is drained.
"""

import csv
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
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
)

from selflong.recipe.site import JOB_KINDS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECIPES = ROOT / "tests" / "workflow" / "recipes"
CLUSTER = Path("/tmp/selflong-slurm")
SITE = f"""\
recipe: small
recipes: {RECIPES}
generators:
  smollm2: {{kind: llama_cpp, slots: 1, threads: 2}}
evaluation: {{kind: transformers, threads: 2}}
encoding: {{device: cpu, batch_size: 32, threads: 2}}
"""
ONE_NODE = SITE + "training: {device: cpu, ranks_per_node: 2, ring: 2, threads_per_rank: 1}\n"
TWO_NODES = (
    SITE
    + """\
training: {device: cpu, nodes: 2, ranks_per_node: 1, ring: 2, threads_per_rank: 1}
resources:
  pipeline: {cpus: 2, memory_mb: 2500, minutes: 20}
  encoding: {cpus: 2, memory_mb: 2500, minutes: 20}
  synthesis: {cpus: 2, memory_mb: 3000, minutes: 30}
  training: {cpus: 2, gpus: 2, memory_mb: 7500, minutes: 30}
  evaluation: {cpus: 2, gpus: 1, memory_mb: 3500, minutes: 30}
"""
)
# What a measured time or memory stands in differs from run to run.
MEASURED = ("Seconds", "Memory (GB)")
LIMIT = 3600.0
"""Seconds for a rule to begin."""
LOCAL_RULES = {"all", "collect_source"}
GROUPS = {
    "group_report_figures_manifest_report_tables": {"tables", "figures", "report", "manifest"}
}
"""Folder of a group's log -> its rules."""


def snakemake(folder: Path, profile: str, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--workflow-profile", str(ROOT / "profiles" / profile)),
        *arguments,
    ]


def on_slurm(folder: Path) -> list[str]:
    """Only this cluster has no accounting, and two jobs at a time are enough for its machine."""
    return snakemake(
        folder, "slurm", "--jobs", "2", "--slurm-status-command", "squeue", "--latency-wait", "10",
        "--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "5",
    )  # fmt: skip


def start(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip


def run(command: list[str]) -> str:
    done = start(command)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-8000:]
    return output


def of_rule(rule: str) -> str | None:
    """The number of a running job of a rule."""
    return next((number for number, _, comment in running() if f"rule_{rule}" in comment), None)


def disturb(done: list[str]) -> None:
    """Trouble in mid-run; what came to its end is noted in `done`."""
    wait_for(lambda: of_rule("write_instructions") is not None, LIMIT)
    time.sleep(5)
    slurm_output("scancel", of_rule("write_instructions") or "")
    done.append("cancelled")
    wait_for(lambda: of_rule("train_stage") is not None, LIMIT)
    stop_controller(CLUSTER)
    time.sleep(5)
    start_controller()
    done.append("controller started again")
    wait_for(lambda: of_rule("evaluate") is not None, LIMIT)
    slurm_output("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    time.sleep(20)
    slurm_output("scontrol", "update", "nodename=node2", "state=resume")
    done.append("drained")


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("two_nodes")
    (folder / "config.yaml").write_text(TWO_NODES)
    done: list[str] = []
    with cluster(CLUSTER):
        trouble = threading.Thread(target=disturb, args=[done], daemon=True)
        trouble.start()
        (folder / "output.txt").write_text(run(on_slurm(folder)))
        trouble.join(60)
        assert done == ["cancelled", "controller started again", "drained"]
        yield folder


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_node")
    (folder / "config.yaml").write_text(ONE_NODE)
    run(snakemake(folder, "local", "--cores", "2"))
    return folder


def tables(folder: Path) -> dict[str, list[dict[str, str]]]:
    found = {}
    for path in sorted((folder / "results" / "small" / "tables").glob("*.csv")):
        with path.open() as stream:
            rows = [
                {name: value for name, value in row.items() if name not in MEASURED}
                for row in csv.DictReader(stream)
            ]
        found[path.name] = rows
    return found


def losses(folder: Path, stage: str) -> list[float]:
    path = folder / "results" / "small" / "models" / "full" / stage / "metrics.jsonl"
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()]


def test_every_rule_but_the_local_ones_was_a_job(two_nodes: Path) -> None:
    submitted: set[str] = set()
    for path in (two_nodes / "work" / "slurm_logs").iterdir():
        if any(path.rglob("*.log")):
            submitted |= GROUPS.get(path.name, {path.name.removeprefix("rule_")})
    command = [*on_slurm(two_nodes), "--list-rules"]
    every = set(run(command).split())
    used = {line.split()[0] for line in _job_table(two_nodes)}
    assert used - LOCAL_RULES == submitted
    assert used <= every


def test_only_the_cancelled_job_was_submitted_again(two_nodes: Path) -> None:
    logs = two_nodes / "work" / "slurm_logs"
    jobs = Counter(str(path.parent.relative_to(logs)) for path in logs.rglob("*.log"))
    twice = {job: count for job, count in jobs.items() if count > 1}
    assert len(twice) == 1, twice
    ((job, count),) = twice.items()
    assert job.startswith("rule_write_instructions") and count == 2


def test_the_check_runs_on_the_nodes_of_each_kind_of_job(two_nodes: Path) -> None:
    """It says what they lack: emulated GPUs have neither a driver nor the packages for it."""
    done = start([*on_slurm(two_nodes), "check"])
    screen = (two_nodes / "results" / "small" / "logs" / "check" / "all.log").read_text()
    kinds = Counter(re.findall(r"node[12], for jobs of the kind (\w+)", screen))
    assert kinds == Counter({kind: 1 for kind in JOB_KINDS} | {"training": 2})
    assert set(re.findall(r"(node\d), for jobs", screen)) == {"node1", "node2"}
    assert re.search(r"^missing +flash_attn", screen, flags=re.MULTILINE)
    assert done.returncode != 0


def _job_table(folder: Path) -> list[str]:
    """Lines of Snakemake's own table of jobs: rule and count."""
    lines = (folder / "output.txt").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("job  "))
    end = next(n for n, line in enumerate(lines) if n > start and line.startswith("total"))
    return lines[start + 2 : end]


def test_training_on_two_nodes_equals_two_processes_on_one(two_nodes: Path, one_node: Path) -> None:
    for stage in ("half", "1k"):
        assert len(losses(two_nodes, stage)) == 2
        assert losses(two_nodes, stage) == pytest.approx(losses(one_node, stage), abs=1e-6)


def test_the_tables_are_the_same(two_nodes: Path, one_node: Path) -> None:
    assert "ruler_by_length.csv" in tables(two_nodes)
    assert tables(two_nodes) == tables(one_node)
