"""Where a run stands, from its files: what is done, what is running and how fast, money, the last scores."""

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from selflong.demo import dry_run, in_words, jobs_of, planned_seconds, snakemake_command
from selflong.formats import MEAN_OF_TASKS, SCORES, read_parquet
from selflong.logs import presentable
from selflong.placement.machines import choose_machine
from selflong.publish.receipt import synthesis_cost
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.report.timing import read_times
from selflong.results import Results
from selflong.root import ROOT
from selflong.scores import length_name

QUIET_SECONDS = 180.0
"""A job says something once a minute; a log that is older belongs to none that runs."""
UNTIMED = ("verify.log", "check/all.log")
"""Logs of rules that are asked for by name and keep no time, so that nothing tells when they ended."""


def status(recipe: Recipe, site: Site, results: Results) -> Iterator[str]:
    """A line for each thing that is known."""
    yield from _jobs(recipe, site, results)
    yield from _running(results)
    for generator, cost in synthesis_cost(recipe, results).items():
        if cost["requests"]:
            usd = "no price named" if cost["usd"] is None else f"{cost['usd']:,.2f} USD"
            tokens = f"{cost['prompt_tokens']:,} + {cost['completion_tokens']:,} tokens"
            yield f"{generator}: {cost['requests']:,} requests of finished jobs, {tokens}, {usd}"
    yield from _scores(recipe, results)


def _jobs(recipe: Recipe, site: Site, results: Results) -> Iterator[str]:
    """Done, left, and how long that takes by the plan, corrected by what the finished ones took."""
    times = read_times(results)
    done = sum(rule.jobs for rule in times.rules)
    snakefile = ["--snakefile", str(ROOT / "Snakefile"), "--config", f"recipe={recipe.name}"]
    failed, output = dry_run(snakemake_command(snakefile))
    if failed:
        yield f"{recipe.name}: {done} jobs done; what is left Snakemake does not say"
        return
    left = jobs_of(output)
    seconds = planned_seconds(recipe, site, choose_machine(recipe, site))
    planned = sum(map(seconds, left.values()))
    took = f" in {in_words(times.total_seconds)}" if done else ""
    then = f", {in_words(planned)} one after the other by the plan" if left else ""
    yield f"{recipe.name}: {done} jobs done{took}; {len(left)} left{then}"


def _running(results: Results) -> Iterator[str]:
    """The last line of each log that was written to lately and whose job has not ended well."""
    for log in sorted({*results.logs.rglob("*.log")} - {results.logs / name for name in UNTIMED}):
        written = log.stat().st_mtime
        ended = results.benchmarks / log.relative_to(results.logs).with_suffix(".tsv")
        is_over = ended.exists() and ended.stat().st_mtime >= written
        if not is_over and time.time() - written < QUIET_SECONDS:
            name = log.relative_to(results.logs).with_suffix("").as_posix()
            line = _last_line(log)
            yield f"{'failed' if line.startswith('Error: ') else 'running'} {name}: {line}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return presentable(lines[-1]) if lines else "has said nothing yet"


def _scores(recipe: Recipe, results: Results) -> Iterator[str]:
    """Each model's mean at a suite's longest length, the last written suite first."""
    paths = [path for suite in recipe.suites if (path := results.scores(suite)).exists()]
    for path in sorted(paths, key=lambda path: -path.stat().st_mtime):
        means = read_parquet(path, SCORES).filter(
            pl.col("task").eq(MEAN_OF_TASKS) & pl.col("depth").is_null()
        )
        longest = means.filter(pl.col("length").eq_missing(means["length"].max()))
        for row in longest.iter_rows(named=True):
            length = "" if row["length"] is None else f" at {length_name(row['length'])}"
            mean, low, high = (f"{100 * row[name]:.1f}" for name in ("mean", "low", "high"))
            yield f"{row['suite']} of {row['model']}{length}: {mean} [{low}, {high}]"
