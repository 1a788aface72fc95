"""Seconds by rule, from files as Snakemake leaves them."""

import json
import os
from pathlib import Path

import pytest

from selflong.formats import write_json
from selflong.report.timing import read_times, write_times
from selflong.results import Results

EXTENDED = (
    "s\th:m:s\tmax_rss\tmean_load\tjobid\trule_name\n{seconds}\t0:00:01\t{rss}\t1\t1\t{rule}\n"
)
PLAIN = "s\th:m:s\tmax_rss\tmean_load\n{seconds}\t0:00:01\t{rss}\t1\n"
BEGIN = 1_700_000_000


def job(
    results: Path, name: str, end: float, seconds: float, rule: str | None, rss: str = "100.0"
) -> None:
    """A benchmark file that was written `end` seconds after BEGIN."""
    path = results / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((EXTENDED if rule else PLAIN).format(seconds=seconds, rss=rss, rule=rule))
    os.utime(path, (BEGIN + end, BEGIN + end))


def test_seconds_add_up_by_rule_and_jobs_beside_each_other_count_once(tmp_path: Path) -> None:
    job(tmp_path, "evaluation/ruler/base/initial/all", 10, 10, "evaluate", "2500.5")
    job(tmp_path, "evaluation/recall/base/initial/all", 12, 4, "measure_recall")
    job(tmp_path, "evaluation/ruler/full/4k/all", 30, 10, "evaluate")
    job(tmp_path, "corpus/documents/collect/0", 5, 1, None, "NA")
    time = read_times(Results(tmp_path))
    assert [(rule.rule, rule.jobs, rule.seconds) for rule in time.rules] == [
        ("evaluate", 2, pytest.approx(20)),
        ("measure_recall", 1, pytest.approx(4)),
        ("corpus/documents/collect", 1, pytest.approx(1)),
    ]
    assert time.total_seconds == pytest.approx(12 + 10)
    assert time.rules[0].memory_mb == 2500.5
    assert time.rules[-1].memory_mb == 0


def test_the_file_holds_rates_and_precision_of_the_run(tmp_path: Path) -> None:
    job(tmp_path, "a", 10, 10, "evaluate")
    machine = {
        "cpu": "A CPU",
        "threads": 2,
        "gflops_float32": 71.2,
        "gflops_bfloat16": 1.2,
        "auto": "float32",
    }
    write_json(machine, tmp_path / "machine.json")
    write_times(read_times(Results(tmp_path)), tmp_path / "time.json")
    written = json.loads((tmp_path / "time.json").read_text())
    assert written["seconds_by_rule"] == {"evaluate": pytest.approx(10)}
    assert written["total_seconds"] == pytest.approx(10)
    assert (written["precision"], written["gflops_float32"]) == ("float32", 71.2)
    assert written["gflops_bfloat16"] == 1.2


def test_a_run_that_measured_nothing_of_its_machine_says_so(tmp_path: Path) -> None:
    time = read_times(Results(tmp_path))
    assert list(time.sentences()) == []
    write_times(time, tmp_path / "time.json")
    written = json.loads((tmp_path / "time.json").read_text())
    assert written["precision"] is written["gflops_float32"] is None
    assert written["seconds_by_rule"] == {}
