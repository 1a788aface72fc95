"""A stage's training data: what every source gives, chosen, packed and accounted for."""

import itertools
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl

from selflong.formats import (
    ACCOUNTING,
    CONTAMINATION,
    read_parquet,
    table,
    write_parquet,
)
from selflong.histograms import histogram
from selflong.job import UserError, sole_owner
from selflong.mixture import duplicates, select
from selflong.mixture.pack import Pieces, joined, place
from selflong.mixture.rendered_sources import (
    HITS,
    HITS_FILE,
    SIGNATURES_FILE,
    Settings,
    Task,
    render_all,
    tasks_of,
)
from selflong.mixture.rows import Rows, gather
from selflong.mixture.write import count_packed, write_packed
from selflong.recipe.mixture import Deduplication, Mixture, MixtureEntry
from selflong.recipe.recipe import Recipe, stages_of_mixture, tokens_of_stage
from selflong.tokens import Tokenizer

CONTAMINATED = "contaminated"
"""Reason of rows that the evaluation holds too."""

log = logging.getLogger(__name__)


def build_mixture(
    *,
    recipe: Recipe,
    mixture_name: str,
    stage_name: str,
    sample_files: dict[str, list[Path]] | None = None,
    tokenizer: Tokenizer | None,
    evaluation_texts: Path | None = None,
    output: Path,
    accounting: Path,
    contamination: Path,
    work: Path,
    processes: int = 1,
) -> None:
    """Publish the packed folder of a mixture's stage, its accounting and what it shares with the evaluation.

    `sample_files` gives each entry's files, or folders in which the recipe's glob finds them (none for a
    package). Token ids that stand for no text need no tokenizer. `work` keeps prepared chunks of rows: an
    interrupted build goes on from the last whole one, and stages and mixtures that share the folder and a
    source share its chunks. The result is the same for any number of processes. Needs 4 bytes of memory a
    permutation and row, and a few hundred bytes a row besides.
    """
    mixture = recipe.mixtures[mixture_name]
    stages = stages_of_mixture(recipe, mixture_name)
    if stage_name not in stages:
        raise UserError(
            f"no stage {stage_name} trains on mixture {mixture_name}; there are {list(stages)}"
        )
    _check_tokenizers(recipe, mixture_name)
    tasks = tasks_of(mixture, sample_files or {}, tokenizer, evaluation_texts, work)
    # Stages and mixtures that are built at once share the chunks of a source: one prepares them, the others
    # wait. All ask in one order, so that none waits for another in a circle.
    with ExitStack() as owned:
        for folder in sorted({task.folder.parent for task in tasks}):
            owned.enter_context(sole_owner(folder, wait=True))
        render_all(tasks, Settings(mixture, tokenizer, evaluation_texts), processes)
    rows = gather(tasks, mixture)
    _mark_dropped(rows, tasks, mixture)
    stage_tokens = tokens_of_stage(recipe, mixture_name, stage_name)
    _choose(rows, mixture, stage_name, stages, stage_tokens, recipe.seed)
    pieces = _place(rows, mixture, stages[stage_name], recipe.seed)
    count_packed(rows, tasks, pieces, mixture.document_masks)
    table_of_sources = _account(rows.frame(), mixture, mixture_name, stage_name)
    write_parquet(table_of_sources, accounting, ACCOUNTING)
    write_parquet(_contamination_report(tasks, mixture), contamination, CONTAMINATION)
    if len(pieces.sample) == 0:
        dropped = (
            table_of_sources.select("dropped")
            .explode("dropped")
            .unnest("dropped")
            .drop_nulls("reason")
        )
        raise UserError(
            f"mixture {mixture_name} leaves no sample for stage {stage_name}: "
            f"{dict(dropped.group_by('reason', maintain_order=True).agg(pl.col('rows').sum()).iter_rows())}"
        )
    write_packed(rows, tasks, pieces, mixture.document_masks, stages[stage_name], tokenizer, output)


def _check_tokenizers(recipe: Recipe, mixture_name: str) -> None:
    """Tokenised sequences fit no tokenizer but their own."""
    trained = {
        recipe.root(f"{name}/{stage.name}")
        for name, model in recipe.models.items()
        for stage in model.stages
        if stage.mixture == mixture_name
    }
    for name, entry in recipe.mixtures[mixture_name].entries.items():
        made_for = entry.source.tokenised_for
        if made_for and trained.isdisjoint(
            recipe.root(recipe.resolve(model)) for model in made_for
        ):
            raise UserError(
                f"mixtures.{mixture_name}.entries.{name}: the source is tokenised for "
                f"{', '.join(made_for)}, but "
                f"the mixture is for {', '.join(sorted(trained))}: use another source"
            )


# ------------------------------------------------------------------------------- choosing samples


def _mark_dropped(rows: Rows, tasks: list[Task], mixture: Mixture) -> None:
    """Rows that the evaluation holds too, then duplicates: what the recipe names first stays."""
    if mixture.contamination.remove:
        hit = pl.concat(
            [pl.Series("sample_id", [], dtype=pl.String)]
            + [read_parquet(task.folder / HITS_FILE, HITS)["sample_id"] for task in tasks]
        )
        remaining = rows.remaining()
        mask = rows.sample_ids.gather(remaining).is_in(hit.unique().implode()).to_numpy()
        rows.reasons[remaining[mask]] = CONTAMINATED
    if mixture.deduplication is not None:
        _mark_duplicates(rows, tasks, mixture.deduplication)


def _mark_duplicates(rows: Rows, tasks: list[Task], settings: Deduplication) -> None:
    remaining = rows.remaining()
    rows.reasons[remaining[duplicates.find_exact(rows.keys.gather(remaining))]] = duplicates.EXACT
    remaining = rows.remaining()
    bounds = np.searchsorted(rows.task[remaining], np.arange(len(tasks) + 1))
    near = duplicates.find_near(
        [task.folder / SIGNATURES_FILE for task in tasks],
        [rows.place[remaining[start:end]] for start, end in itertools.pairwise(bounds)],
        settings,
    )
    rows.reasons[remaining[near]] = duplicates.NEAR


def _choose(
    rows: Rows,
    mixture: Mixture,
    stage: str,
    stages: Mapping[str, int],
    stage_tokens: int,
    seed: int,
) -> None:
    length = stages[stage]
    cuts = np.array([mixture.entries[name].cuts for name in rows.entries], dtype=bool)[rows.task]
    remaining = rows.remaining()
    rows.reasons[remaining] = select.leave_out(
        mixture,
        stage,
        stages,
        rows.sample_ids.gather(remaining),
        np.where(cuts, np.minimum(rows.tokens, length), rows.tokens)[remaining],
        seed,
    )
    for name, entry in mixture.entries.items():
        own = _remaining_of(rows, name)
        usable = rows.tokens[own]
        if entry.packing == "single_document":
            usable = usable // length * length
            rows.reasons[own[usable == 0]] = select.SHORTER
            own, usable = own[usable > 0], usable[usable > 0]
        rows.counts[own] = select.repeats(
            entry, rows.sample_ids.gather(own), usable, stage_tokens, seed
        )
        rows.reasons[own[rows.counts[own] == 0]] = select.BEYOND_WEIGHT


def _remaining_of(rows: Rows, entry: str) -> np.ndarray:
    """int64: the remaining rows of an entry."""
    remaining = rows.remaining()
    own = np.array([name == entry for name in rows.entries], dtype=bool)
    return remaining[own[rows.task[remaining]]]


def _place(rows: Rows, mixture: Mixture, length: int, seed: int) -> Pieces:
    """Whole samples of all entries together, then the sequences of each entry that are its own."""
    groups: dict[str, list[str]] = {}
    for name, entry in mixture.entries.items():
        groups.setdefault("" if entry.packing == "best_fit" else name, []).append(name)
    return joined(
        [_placed(rows, names, mixture.entries[names[0]], length, seed) for names in groups.values()]
    )


def _placed(rows: Rows, names: list[str], entry: MixtureEntry, length: int, seed: int) -> Pieces:
    """The sequences of entries with the packing of `entry`."""
    own = np.sort(np.concatenate([_remaining_of(rows, name) for name in names]))
    if entry.packing.startswith("concatenated"):
        own = own[np.argsort(select.draw(rows.sample_ids.gather(own), seed), kind="stable")]
    chosen = np.repeat(own, rows.counts[own])
    return place(entry.packing, chosen, rows.tokens[chosen], length)


# ------------------------------------------------------------------------------------- publishing


def _account(rows: pl.DataFrame, mixture: Mixture, mixture_name: str, stage: str) -> pl.DataFrame:
    """formats.ACCOUNTING"""
    total = int(rows["packed"].sum())
    accounts = []
    for name, entry in mixture.entries.items():
        own = rows.filter(pl.col("source") == name)
        kept = own.filter(pl.col("reason").is_null())
        tokens = int(kept["packed"].sum())
        dropped = (
            own.filter(pl.col("reason").is_not_null())
            .group_by("reason", maintain_order=True)
            .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("tokens").sum())
            .sort("reason")
        )
        accounts.append(
            {
                "mixture": mixture_name,
                "stage": stage,
                "source": name,
                "kind": entry.source.samples_kind,
                "rows_in": len(own),
                "dropped": dropped.to_dicts(),
                "kept": len(kept),
                "samples": int(kept["count"].sum()),
                "tokens": tokens,
                "loss_tokens": int(kept["packed_loss"].sum()),
                "share": tokens / total if total else 0.0,
                "lengths": _histogram(kept["tokens"].to_numpy(), kept["count"].to_numpy()),
            }
        )
        log.info("%s: %d of %d rows, %d tokens", name, len(kept), len(own), tokens)
    return table(accounts, ACCOUNTING)


def _histogram(tokens: np.ndarray, counts: np.ndarray) -> list[dict[str, int]]:
    bins = histogram(tokens, counts)
    return [{"length": length, "samples": samples} for length, samples in bins.items()]


def _contamination_report(tasks: list[Task], mixture: Mixture) -> pl.DataFrame:
    """formats.CONTAMINATION"""
    parts = [table([], CONTAMINATION)]
    for task in tasks:
        hits = read_parquet(task.folder / HITS_FILE, HITS)
        parts.append(
            hits.with_columns(
                pl.lit(task.entry).alias("source"),
                pl.lit(mixture.contamination.remove).alias("removed"),
            ).select(list(CONTAMINATION))
        )
    return pl.concat(parts)
