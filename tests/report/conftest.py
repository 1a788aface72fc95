"""A folder of results as a run of the recipe `laptop` leaves it, with drawn scores and counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from selflong.formats import (
    ACCOUNTING,
    ANSWERS,
    CONTAMINATION,
    CORPUS_OVERLAPS,
    DROPS,
    INSTRUCTIONS,
    MEAN_OF_TASKS,
    PREDICTIONS,
    SCORES,
    TOKEN_COUNTS,
    table,
    write_json,
    write_parquet,
)
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.report import rule_graph
from selflong.report.build import write_report_figures, write_report_tables
from selflong.report.manifest import write_manifest
from selflong.report.page import write_page
from selflong.results import ALL_LENGTHS, Results, synthesis_steps, trained_checkpoints
from selflong.scores import aggregate_files
from selflong.suites.needle_grid.prompts import TASK
from selflong.suites.needle_grid.section import NeedleGrid, depths
from selflong.suites.recall.section import RecallSuite
from selflong.suites.ruler.section import RulerSuite

REPOSITORY = Path(__file__).parent.parent.parent

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    0[label = "all", color = "0.13 0.6 0.85", style="rounded"];
    1[label = "page", color = "0.33 0.6 0.85", style="rounded"];
    2[label = "score", color = "0.43 0.6 0.85", style="rounded"];
    3[label = "evaluate", color = "0.53 0.6 0.85", style="rounded"];
    4[label = "load_model", color = "0.53 0.6 0.85", style="rounded"];
    5[label = "scan_documents", color = "0.53 0.6 0.85", style="rounded"];
    1 -> 0
    2 -> 1
    3 -> 2
    3 -> 1
    4 -> 3
    4 -> 5
    5 -> 3
}
"""


@pytest.fixture(scope="session")
def results(laptop: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = Results(tmp_path_factory.mktemp("results") / laptop.name)
    rng = np.random.default_rng(5)
    write_predictions(laptop, folder, rng)
    write_counts(laptop, folder, rng)
    write_metrics(laptop, folder, rng)
    return folder


def page_of(recipe: Recipe, results: Results, page: Path, beside: Path) -> None:
    """Write the page, and what belongs to it into the folder `beside`."""
    write_page(
        recipe=recipe, results=results, tables=results.tables, figures=results.figures,
        workflow=results.workflow_figure, output=page, summary=beside / "summary.md",
        times=beside / "time.json",
    )  # fmt: skip


@pytest.fixture(scope="session")
def report(laptop: Recipe, results: Results) -> Results:
    """Everything that the report rules make, in the folder of the results."""
    write_report_tables(laptop, results, results.tables)
    write_report_figures(laptop, results, results.figures)
    folder = results.workflow_figure
    rule_graph.write_workflow_figure(DOT, REPOSITORY / "rules", folder)
    page_of(laptop, results, results.page, results.page.parent)
    write_manifest(
        laptop,
        REPOSITORY / "recipes" / "laptop.yaml",
        results,
        results.manifest,
        results.crate,
    )
    return results


def write_predictions(recipe: Recipe, folder: Results, rng: np.random.Generator) -> None:
    """Predictions of every suite, and the scores of each suite."""
    for name, suite in recipe.suites.items():
        paths = []
        for reference in suite.models:
            checkpoint = recipe.resolve(reference)
            skill = rng.uniform(0.3, 0.9)
            key = {"suite": name, "model": checkpoint, "prompt": "?", "prediction": "!"}
            rows = [
                {**key, **row, "score": float(rng.random() < skill)} for row in _asked(suite, rng)
            ]
            paths.append(folder.predictions(name, checkpoint, ALL_LENGTHS))
            write_parquet(table(rows, PREDICTIONS), paths[-1], PREDICTIONS)
        grids = frozenset({name}) if isinstance(suite, NeedleGrid) else frozenset[str]()
        scores = aggregate_files(paths, folder.root, grids, recipe.seed)
        assert MEAN_OF_TASKS in set(scores["task"])
        write_parquet(scores, folder.scores(name), SCORES)


def _asked(suite: object, rng: np.random.Generator) -> list[dict[str, object]]:
    if isinstance(suite, NeedleGrid):
        return [
            {
                "task": TASK,
                "length": length,
                "index": repeat * suite.depths + row,
                "depth": depth,
            }
            for length in suite.lengths
            for repeat in range(suite.repeats)
            for row, depth in enumerate(depths(suite))
        ]
    if isinstance(suite, RecallSuite):
        return [
            {"task": "needles", "length": length, "index": index, "depth": None}
            for length in suite.lengths
            for index in range(suite.sequences)
        ]
    assert isinstance(suite, RulerSuite)
    return [
        {"task": task, "length": length, "index": index, "depth": float(rng.random())}
        for length in suite.lengths
        for task in suite.tasks
        for index in range(suite.samples[length])
    ]


def write_counts(recipe: Recipe, folder: Results, rng: np.random.Generator) -> None:
    """Accounting of the mixtures, drops of corpus and synthesis, usage of the generators."""
    for mixture, section in recipe.mixtures.items():
        for stage in stages_of_mixture(recipe, mixture):
            rows = []
            for source, entry in section.entries.items():
                bins = [{"length": 2**k, "samples": int(rng.integers(1, 9))} for k in range(6, 12)]
                samples = sum(entry["samples"] for entry in bins)
                rows.append(
                    {
                        "mixture": mixture,
                        "stage": stage,
                        "source": source,
                        "kind": entry.source.samples_kind,
                        "rows_in": samples + 3,
                        "dropped": [{"reason": "near-duplicate", "rows": 3, "tokens": 300}],
                        "kept": samples,
                        "samples": samples,
                        "tokens": 900 * samples,
                        "loss_tokens": 800 * samples,
                        "share": 1 / len(section.entries),
                        "lengths": bins,
                    }
                )
            write_parquet(table(rows, ACCOUNTING), folder.accounting(mixture, stage), ACCOUNTING)
            contamination = folder.contamination(mixture, stage)
            write_parquet(table([], CONTAMINATION), contamination, CONTAMINATION)
    drops = [
        {"source": "a", "reason": reason, "rows": int(rng.integers(1, 90)), "tokens": 70}
        for reason in ("kept", "too short", "near-duplicate")
    ]
    for corpus, settings in recipe.corpora.items():
        write_parquet(table(drops, DROPS), folder.corpus_drops(corpus), DROPS)
        write_documents(folder, corpus, settings.shards)
    quality = {
        "queries": 500,
        "recall": {"1": 0.99, "10": 0.98, "100": 0.97},
        "duplicates": 0.125,
        "scores": {rank: {"0.05": 0.2, "0.5": 0.4, "0.95": 0.8} for rank in ("1", "10", "100")},
    }
    assert recipe.synthesis is not None
    synthesis = recipe.synthesis
    write_json(quality, folder.retrieval_quality(synthesis.needed_encoder, synthesis.corpus))
    for generator in recipe.generators:
        write_answers(folder, generator)
        for step in synthesis_steps(recipe):
            read = {"source": "chunks", "reason": "kept", "rows": 1000, "tokens": 70}
            rows = [read, *({**row, "source": step} for row in drops)]
            write_parquet(table(rows, DROPS), folder.synthesis_drops(generator, step, 0), DROPS)
            counts = {"requests": 7, "prompt_tokens": 7000, "completion_tokens": 700}
            write_json({"write": counts}, folder.usage(generator, step, 0))


def write_answers(folder: Results, generator: str) -> None:
    """Three instructions of two kinds, two of them answered."""
    texts = [
        "Compare the Rhine and the Danube.",
        "Compare the Rhine and the Elbe.",
        "Why is it so?",
    ]
    asked = [
        {"sample_id": f"{number}", "family": family, "instruction": text, "answer_words": 100}
        for number, (text, family) in enumerate(
            zip(texts, ["comparison", "comparison", "causes"], strict=True)
        )
    ]
    answered = [
        {
            "sample_id": f"{number}", "words": 90, "content_in_documents": 0.75, "facts": 4,
            "facts_in_documents": 3, "facts_in_summaries": 2,
        }
        for number in (0, 1)
    ]  # fmt: skip
    write_parquet(table(asked, INSTRUCTIONS), folder.instructions(generator, 0), INSTRUCTIONS)
    write_parquet(table(answered, ANSWERS), folder.answers(generator, 0), ANSWERS)


def write_documents(folder: Results, corpus: str, shards: int) -> None:
    """Token counts and overlaps beside a corpus's documents: the same in each shard."""
    for shard in range(shards):
        counts = [
            {"id": f"{shard}-{number}", "tokens": tokens}
            for number, tokens in enumerate([70, 1024, 1100])
        ]
        hits = [
            {
                "source": "a", "document_id": f"{shard}-0", "suite": "ruler", "name": "qa_1/3",
                "shared_ngrams": 4, "share": 0.4, "excerpt": "in what country",
            }
        ]  # fmt: skip
        write_parquet(table(counts, TOKEN_COUNTS), folder.token_counts(corpus, shard), TOKEN_COUNTS)
        write_parquet(table(hits, CORPUS_OVERLAPS), folder.overlaps(corpus, shard), CORPUS_OVERLAPS)


def write_metrics(recipe: Recipe, folder: Results, rng: np.random.Generator) -> None:
    """What training writes at each step."""
    for checkpoint in trained_checkpoints(recipe):
        rows = [
            {
                "step": step,
                "loss": 3.0 - 0.1 * step + float(rng.normal(0, 0.03)),
                "tokens": 2048 * step,
                "seconds": 1.5,
                "tokens_per_second_per_device": 2048 / 1.5 / 2,
                "memory_gb": 2.0,
            }
            for step in range(1, 6)
        ]
        path = folder.metrics(checkpoint)
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
