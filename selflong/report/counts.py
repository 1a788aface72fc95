"""What the data stages counted, as tables and as numbers for the figures."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import (
    ACCOUNTING,
    CONTAMINATION,
    CORPUS_OVERLAPS,
    DROPS,
    TOKEN_COUNTS,
    read_lines,
    read_object,
    read_parquet,
    read_parquets,
)
from selflong.histograms import histogram
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.recipe.synthesis import Synthesis
from selflong.results import (
    Results,
    corpus_shards,
    mixture_stages,
    synthesis_shards,
    trained_checkpoints,
)
from selflong.results import (
    synthesis_steps as steps_of,
)
from selflong.tables import Cell, Table, number_cell, row_of

DUPLICATE_RANKS = 100
"""The quality report counts duplicates among so many of the documents found."""


@dataclass(frozen=True)
class Step:
    """Rows of one source that met one fate."""

    step: str
    source: str
    outcome: str
    rows: int
    tokens: int
    file: str


def _relative(path: Path, results: Results) -> str:
    return str(path.relative_to(results.root))


# --------------------------------------------------------------------------------------- mixtures


def accounting(recipe: Recipe, results: Results) -> list[tuple[str, dict[str, Any]]]:
    """(file, row of formats.ACCOUNTING) of every mixture and stage, in the recipe's order."""
    found = []
    for mixture, stage in mixture_stages(recipe):
        path = results.accounting(mixture, stage)
        for row in read_parquet(path, ACCOUNTING).iter_rows(named=True):
            found.append((_relative(path, results), row))
    return found


def composition(rows: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """Training data by mixture, stage and source, in samples and tokens."""
    body: list[tuple[Cell, ...]] = []
    keys = dict.fromkeys((row["mixture"], row["stage"]) for _, row in rows)
    for mixture, stage in keys:
        of_stage = [
            (file, row) for file, row in rows if (row["mixture"], row["stage"]) == (mixture, stage)
        ]
        for file, row in of_stage:
            kind, counted = row["kind"].replace("_", " "), (row[name] for name in _COUNTED)
            share = number_cell(100 * row["share"], 1, file)
            body.append(row_of(mixture, stage, row["source"], kind, *counted, share, file=file))
        sums = (sum(row[name] for _, row in of_stage) for name in _COUNTED)
        body.append(row_of(mixture, stage, "all", "", *sums, "", file=of_stage[0][0]))
    return Table(
        name="composition",
        title="Training data by stage",
        caption="Rows of each source, those kept, the samples that one pass trains on, their tokens and "
        "those with a loss, and the source's share of the stage's tokens in per cent.",
        columns=("Mixture", "Stage", "Source", "Kind", "Rows", "Kept", "Samples", "Tokens",
                 "Loss tokens", "Share (%)"),
        rows=tuple(body),
    )  # fmt: skip


_COUNTED = ("rows_in", "kept", "samples", "tokens", "loss_tokens")


def left_out(rows: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """What each mixture's stages left out, and why."""
    return Table(
        name="left_out",
        title="Left out of the training data",
        caption="Rows of each source that a stage did not take, by reason.",
        columns=("Mixture", "Stage", "Source", "Reason", "Rows", "Tokens"),
        rows=tuple(
            row_of(
                *(row[name] for name in ("mixture", "stage", "source")),
                *(drop[name] for name in ("reason", "rows", "tokens")),
                file=file,
            )
            for file, row in rows
            for drop in row["dropped"]
        ),
    )


def sample_lengths(
    recipe: Recipe, rows: Sequence[tuple[str, dict[str, Any]]], mixture: str
) -> dict[str, dict[int, int]]:
    """Source -> lower bound of a bin of lengths -> samples, over the stages of a mixture.

    Where every stage trains on what fits it, the longest stage alone is counted.
    """
    stages = list(stages_of_mixture(recipe, mixture))
    if recipe.mixtures[mixture].assignment == "every_stage":
        stages = stages[-1:]
    counts: dict[str, dict[int, int]] = {}
    for _, row in rows:
        if row["mixture"] == mixture and row["stage"] in stages:
            bins = counts.setdefault(row["source"], {})
            for entry in row["lengths"]:
                bins[entry["length"]] = bins.get(entry["length"], 0) + entry["samples"]
    return {source: dict(sorted(bins.items())) for source, bins in counts.items()}


# ------------------------------------------------------------------- corpus, retrieval, synthesis


def corpus_steps(recipe: Recipe, results: Results) -> list[Step]:
    """What became of every document of the corpora."""
    paths = [(name, results.corpus_drops(name)) for name in recipe.corpora]
    return [step for name, path in paths for step in _steps(name, [path], results)]


def document_lengths(recipe: Recipe, results: Results, corpus: str) -> dict[str, dict[int, int]]:
    """Corpus -> lower bound of a bin of lengths -> documents, by the counts beside the documents."""
    tokens = [
        read_parquet(results.token_counts(corpus, shard), TOKEN_COUNTS)["tokens"]
        for shard in corpus_shards(recipe, corpus)
    ]
    return {corpus: histogram(pl.concat(tokens).to_numpy())}


def overlaps(recipe: Recipe, results: Results) -> Table:
    """What corpora and mixtures share with the evaluation's own texts."""
    body: list[tuple[Cell, ...]] = []
    for name, hits, file in _hits(recipe, results):
        found = hits.group_by("source", "suite", "removed", maintain_order=True).agg(
            pl.col("row").n_unique(),
            pl.col("name").n_unique(),
            100 * pl.col("share").max(),
        )
        for source, suite, removed, rows, texts, share in found.rows() or [_NO_HITS]:
            of, in_suite = source.replace("_", " "), suite.replace("_", " ")
            largest = number_cell(share, 1, file)
            followed = "removed" if removed else "reported"
            body.append(row_of(name, of, in_suite, rows, texts, largest, followed, file=file))
    return Table(
        name="overlaps",
        title="Overlap with the evaluation",
        caption="Documents and samples that share a run of words with the evaluation's questions, haystacks "
        "and patterns; with how many of its texts; the largest share of such a text's runs in one of them; "
        "and whether they were removed.",
        columns=("Data", "Source", "Suite", "Rows", "Texts", "Largest share (%)", "What followed"),
        rows=tuple(body),
    )


_NO_HITS = ("all", "all", False, 0, 0, 0.0)


def _hits(recipe: Recipe, results: Results) -> Iterator[tuple[str, pl.DataFrame, str]]:
    """Name, hits (source, row, suite, name, share, removed) and file of every corpus and mixture."""
    for name, corpus in recipe.corpora.items():
        paths = [results.overlaps(name, shard) for shard in corpus_shards(recipe, name)]
        hits = read_parquets(paths, CORPUS_OVERLAPS)
        hits = hits.with_columns(removed=pl.lit(corpus.evaluation_overlap == "remove"))
        yield (
            f"corpus {name}",
            hits.rename({"document_id": "row"}),
            _relative(paths[0].parent, results),
        )
    for mixture, section in recipe.mixtures.items():
        compared = stages_of_mixture(recipe, mixture) if section.contamination.suites else ()
        for stage in list(compared)[:1]:  # the same in each
            path = results.contamination(mixture, stage)
            hits = read_parquet(path, CONTAMINATION).rename({"sample_id": "row"})
            yield f"mixture {mixture}", hits, _relative(path, results)


def retrieval(synthesis: Synthesis, results: Results) -> Table:
    """The index against exact search, duplicates and similarities among what it finds."""
    path = results.retrieval_quality(synthesis.needed_encoder, synthesis.corpus)
    quality = read_object(path)
    file = _relative(path, results)
    ranks = list(quality["recall"])
    with_duplicates = max(rank for rank in map(int, ranks) if rank <= DUPLICATE_RANKS)
    return Table(
        name="retrieval",
        title="Retrieval",
        caption=f"Neighbours of {quality['queries']} of the corpus's own documents. Recall: share of the "
        "exact nearest that the index finds among as many. Duplicates: share of those found that nearly "
        "repeat a better one. Similarity of the neighbour at that rank: quantiles over the documents asked "
        "for.",
        columns=("Encoder", "Corpus", "Rank", "Recall (%)", "Duplicates (%)",
                 *(f"Similarity, {float(level):.0%}" for level in quality["scores"][ranks[0]])),
        rows=tuple(
            row_of(
                synthesis.needed_encoder,
                synthesis.corpus,
                number_cell(int(rank)),
                number_cell(100 * quality["recall"][rank], 1, file),
                number_cell(100 * quality["duplicates"], 1, file)
                if int(rank) == with_duplicates
                else "",
                *(number_cell(score, 3, file) for score in quality["scores"][rank].values()),
            )
            for rank in ranks
        ),
    )  # fmt: skip


def synthesis_steps(recipe: Recipe, results: Results, generator: str) -> list[Step]:
    """What became of everything that the synthesis with a generator read or asked, over its shards."""
    if recipe.synthesis is None:
        return []
    found: list[Step] = []
    for step in steps_of(recipe):
        paths = [
            results.synthesis_drops(generator, step, shard)
            for shard in synthesis_shards(recipe, step)
        ]
        found += _steps(step, paths, results)
    return found


def funnel(recipe: Recipe, results: Results) -> list[tuple[str, str, int]]:
    """(part, what, rows) that corpora, synthesis and mixtures read and kept, in the workflow's order."""
    found: list[tuple[str, str, int]] = []
    by_corpus: dict[str, list[Step]] = {}
    for step in corpus_steps(recipe, results):
        by_corpus.setdefault(step.step, []).append(step)
    for corpus, steps in by_corpus.items():
        found.append((f"corpus {corpus}", "read", sum(step.rows for step in steps)))
        found.append((f"corpus {corpus}", "kept", _kept(steps)))
    for generator in recipe.generators:
        made = synthesis_steps(recipe, results, generator)
        found += [
            (
                generator,
                f"{kind.replace('_', ' ')} kept",
                # A step counts what it reads on the way, such as chunks, beside what it makes.
                _kept([s for s in made if s.step == s.source == kind]),
            )
            for kind in steps_of(recipe)
        ]
    accounts = [
        row
        for _, row in accounting(recipe, results)
        if recipe.mixtures[row["mixture"]].vocabulary is None
    ]
    last = {row["mixture"]: row["stage"] for row in accounts}
    for mixture, stage in last.items():
        rows = [row for row in accounts if (row["mixture"], row["stage"]) == (mixture, stage)]
        for what, key in (("read", "rows_in"), ("kept", "kept"), ("samples", "samples")):
            found.append((f"mixture {mixture}", what, sum(row[key] for row in rows)))
    return found


def _kept(steps: Sequence[Step]) -> int:
    return sum(step.rows for step in steps if step.outcome == "kept")


def _steps(step: str, paths: Sequence[Path], results: Results) -> Iterator[Step]:
    """Counts summed over shards, in the order of first appearance."""
    frame = read_parquets(paths, DROPS)
    sums = frame.group_by("source", "reason", maintain_order=True).agg(
        pl.col("rows").sum(), pl.col("tokens").sum()
    )
    file = _relative(paths[0] if len(paths) == 1 else paths[0].parent, results)
    for source, reason, rows, tokens in sums.rows():
        yield Step(step, source, reason, rows, tokens, file)


def steps_table(name: str, title: str, caption: str, steps: Sequence[Step]) -> Table:
    """Steps as a table."""
    return Table(
        name=name,
        title=title,
        caption=caption,
        columns=("Step", "Source", "Outcome", "Rows", "Tokens"),
        rows=tuple(
            row_of(
                step.step.replace("_", " "),
                step.source.replace("_", " "),
                step.outcome,
                step.rows,
                step.tokens or "",
                file=step.file,
            )
            for step in steps
        ),
    )


def usage(recipe: Recipe, results: Results) -> Table | None:
    """Requests and tokens of the generators, and what they cost where the recipe names a price."""
    if recipe.synthesis is None:
        return None
    body: list[tuple[Cell, ...]] = []
    for name, generator in recipe.generators.items():
        price = generator.price
        for step in steps_of(recipe):
            paths = [results.usage(name, step, shard) for shard in synthesis_shards(recipe, step)]
            file = _relative(paths[0].parent, results)
            for call, sums in summed_usage(paths).items():
                asked = [sums[key] for key in USED]
                usd = number_cell(price.usd(*asked[1:]), 2, file) if price else ""
                names = (name, step.replace("_", " "), call.replace("_", " "))
                body.append(row_of(*names, *asked, usd, file=file))
    return Table(
        name="usage_of_generators",
        title="Requests of the synthesis",
        caption="Answered requests and their tokens as the server counts them; USD at the recipe's price, "
        "empty where it names none.",
        columns=("Generator", "Step", "Call", "Requests", "Prompt tokens", "Completion tokens",
                 "USD"),
        rows=tuple(body),
    )  # fmt: skip


USED = ("requests", "prompt_tokens", "completion_tokens")


def summed_usage(paths: Sequence[Path]) -> dict[str, Counter[str]]:
    """Call -> its USED over the files that a step of the synthesis leaves of each shard."""
    sums: dict[str, Counter[str]] = {}
    for path in paths:
        for call, used in read_object(path).items():
            sums.setdefault(call, Counter()).update(used)
    return sums


# ---------------------------------------------------------------------------------------- training


def metrics_files(recipe: Recipe, results: Results) -> dict[str, Path]:
    """Checkpoint -> what its training wrote at each step."""
    return {checkpoint: results.metrics(checkpoint) for checkpoint in trained_checkpoints(recipe)}


def training(recipe: Recipe, results: Results) -> Table:
    """What each stage trained on, for how long, and its loss."""
    body: list[tuple[Cell, ...]] = []
    for checkpoint, path in metrics_files(recipe, results).items():
        rows, stage = read_lines(path), recipe.stage(checkpoint)
        assert stage is not None
        file = _relative(path, results)
        name = checkpoint.partition("/")[0]
        body.append(
            row_of(
                recipe.models[name].label,
                stage.name,
                number_cell(stage.length),
                len(rows),
                rows[-1]["tokens"],
                number_cell(rows[0]["loss"], 3, file),
                number_cell(rows[-1]["loss"], 3, file),
                number_cell(sum(row["seconds"] for row in rows), 1, file),
                number_cell(max(row["memory_gb"] for row in rows), 2, file),
                file=file,
            )
        )
    return Table(
        name="training",
        title="Training by stage",
        caption="Losses are means over the targets of the first and of the last step, in nats. Seconds are "
        "those of the steps; memory is the first process's peak.",
        columns=("Model", "Stage", "Length", "Steps", "Tokens", "First loss", "Last loss", "Seconds",
                 "Memory (GB)"),
        rows=tuple(body),
    )  # fmt: skip
