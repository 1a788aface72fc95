"""How long a run's jobs took, from the files that Snakemake's benchmarks leave, and on what machine."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selflong.formats import read_object, write_json
from selflong.results import Results


@dataclass(frozen=True)
class Job:
    """One file of a benchmark."""

    rule: str
    begin: float
    end: float
    """Seconds since the epoch; the file is written when the job ends."""
    memory_mb: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class RuleTime:
    """All jobs of a rule."""

    rule: str
    jobs: int
    seconds: float
    longest_seconds: float
    memory_mb: float
    """Resident, the most that a job was seen with."""


@dataclass(frozen=True)
class RunTime:
    """All jobs of a run."""

    rules: list[RuleTime]
    """The longest first."""
    total_seconds: float
    """In which any job ran: jobs beside each other count once, pauses between two starts not at all."""
    machine: dict[str, Any]
    """What the run measured of it (selflong.precision); empty where nothing was."""

    @property
    def precision(self) -> str | None:
        """That `precision: auto` chose."""
        return self.machine.get("auto") or self.machine.get("precision")

    def sentences(self) -> Iterator[str]:
        """On which machine, in what precision, for how long."""
        rates = {
            name: self.machine[key]
            for name, key in (("float32", "gflops_float32"), ("bfloat16", "gflops_bfloat16"))
            if key in self.machine
        }
        if rates:
            listed = " and ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in rates.items())
            where = f"{self.machine.get('cpu', 'The machine')} ({self.machine.get('threads', '?')} threads)"
            yield f"{where} multiplies at {listed}; what is left to it computes in {self.precision}."
        if self.rules:
            jobs = sum(rule.jobs for rule in self.rules)
            yield f"{jobs:,} jobs took {self.total_seconds / 60:,.1f} minutes."


def _jobs(results: Results) -> Iterator[Job]:
    folder = results.benchmarks
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        end = path.stat().st_mtime
        for row in rows:
            # Without --benchmark-extended (profiles/) the folder says what the job belonged to.
            rule = row.get("rule_name") or path.parent.relative_to(folder).as_posix()
            memory = row["max_rss"]
            yield Job(
                rule, end - float(row["s"]), end, 0.0 if memory in ("NA", "-") else float(memory)
            )


def read_times(results: Results) -> RunTime:
    """What the jobs of a run took so far."""
    jobs = list(_jobs(results))
    by_rule: dict[str, list[Job]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    rules = [
        RuleTime(
            rule,
            len(group),
            sum(job.seconds for job in group),
            max(job.seconds for job in group),
            max(job.memory_mb for job in group),
        )
        for rule, group in by_rule.items()
    ]
    machine = results.machine
    return RunTime(
        sorted(rules, key=lambda rule: (-rule.seconds, rule.rule)),
        _union(jobs),
        read_object(machine) if machine.exists() else {},
    )


def _union(jobs: list[Job]) -> float:
    """Seconds in which at least one job ran."""
    total, reached = 0.0, float("-inf")
    for job in sorted(jobs, key=lambda job: job.begin):
        total += max(0.0, job.end - max(job.begin, reached))
        reached = max(reached, job.end)
    return total


def write_times(time: RunTime, output: Path) -> None:
    """Publish time.json: the whole, the seconds by rule, the precision, the measured rates, and each rule."""
    write_json(
        {
            "total_seconds": round(time.total_seconds, 2),
            "seconds_by_rule": {rule.rule: round(rule.seconds, 2) for rule in time.rules},
            "precision": time.precision,
            "gflops_float32": time.machine.get("gflops_float32"),
            "gflops_bfloat16": time.machine.get("gflops_bfloat16"),
            "peak_memory_mb": max((rule.memory_mb for rule in time.rules), default=0.0),
            "rules": [asdict(rule) for rule in time.rules],
        },
        output,
    )
