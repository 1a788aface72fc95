"""A stage's training data: what every source gives, chosen, packed and accounted for."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from selflong.formats import (
    ACCOUNTING,
    CONTAMINATION,
    KINDS,
    SEQUENCES,
    PackedFiles,
    publish,
    read_parquet,
    table,
    write_json,
    write_parquet,
)
from selflong.job import UserError
from selflong.lengths import histogram
from selflong.mixture import duplicates, select
from selflong.mixture.pack import pack
from selflong.mixture.prepare import (
    HITS,
    HITS_FILE,
    ROWS,
    ROWS_FILE,
    SIGNATURES_FILE,
    Settings,
    Task,
    plan,
    prepare_all,
)
from selflong.recipe.mixture import Mixture
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.tokens import Tokenizer

CONTAMINATED = "contaminated"
"""Reason of rows that the evaluation holds too."""

log = logging.getLogger(__name__)


def build_mixture(
    *,
    recipe: Recipe,
    mixture_name: str,
    stage_name: str,
    sample_files: dict[str, list[Path]],
    tokenizer: Tokenizer,
    evaluation_texts: Path | None,
    output: Path,
    accounting: Path,
    contamination: Path,
    work: Path,
    processes: int = 1,
) -> None:
    """Publish the packed folder of a mixture's stage, its accounting and what it shares with the evaluation.

    `sample_files` gives each entry's files, or folders in which the recipe's glob finds them (none for a
    package). `work` keeps prepared chunks of rows: an interrupted build goes on from the last whole one, and
    the stages of a mixture share them where they share the folder. The result is the same for any number of
    processes. Needs 4 bytes of memory a permutation and row, and a few hundred bytes a row besides.
    """
    mixture = recipe.mixtures[mixture_name]
    stages = stages_of_mixture(recipe, mixture_name)
    if stage_name not in stages:
        raise UserError(
            f"no stage {stage_name} trains on mixture {mixture_name}; there are {list(stages)}"
        )
    _check_tokenizers(recipe, mixture_name)
    tasks = plan(mixture, sample_files, tokenizer, evaluation_texts, work)
    prepare_all(tasks, Settings(mixture, tokenizer, evaluation_texts), processes)
    rows = _gather(tasks, mixture)
    _mark_dropped(rows, tasks, mixture)
    _choose(rows, mixture, stage_name, stages, recipe.seed)
    table_of_sources = _account(rows.frame(), mixture, mixture_name, stage_name)
    write_parquet(table_of_sources, accounting, ACCOUNTING)
    write_parquet(_contamination_report(tasks, mixture), contamination, CONTAMINATION)
    if not rows.counts.any():
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
    _write_packed(rows, tasks, stages[stage_name], tokenizer, output)


def _check_tokenizers(recipe: Recipe, mixture_name: str) -> None:
    """Tokenised sequences fit no tokenizer but their own."""
    trained = {
        recipe.root(f"{name}/{stage.name}")
        for name, model in recipe.models.items()
        for stage in model.stages
        if stage.mixture == mixture_name
    }
    if recipe.synthesis is not None:
        trained.add(recipe.root(recipe.resolve(recipe.synthesis.target)))
    for name, entry in recipe.mixtures[mixture_name].entries.items():
        made_for = entry.source.tokenised_for
        if made_for is not None and recipe.root(recipe.resolve(made_for)) not in trained:
            raise UserError(
                f"mixtures.{mixture_name}.entries.{name}: the source is tokenised for {made_for}, but "
                f"the mixture is for {', '.join(sorted(trained))}: use another source"
            )


# ------------------------------------------------------------------------------- choosing samples


@dataclass
class _Rows:
    """Every row of every source, in the order of the recipe."""

    entries: list[str]
    """Of each task, as the kinds."""
    kinds: list[str]
    task: np.ndarray
    prepared: np.ndarray
    """Whether a row has tokens."""
    place: np.ndarray
    """Position among the prepared rows of its task."""
    sample_ids: pl.Series
    tokens: np.ndarray
    loss_tokens: np.ndarray
    keys: pl.Series
    reasons: np.ndarray
    """Object: why a row is left out, None while it is not."""
    counts: np.ndarray
    """How often a row is taken."""

    def remaining(self) -> np.ndarray:
        return np.flatnonzero(self.reasons == None)  # noqa: E711 - elementwise

    def frame(self) -> pl.DataFrame:
        names = pl.Series(self.entries, dtype=pl.String)
        return pl.DataFrame(
            {
                "source": names.gather(self.task),
                "tokens": self.tokens,
                "loss_tokens": self.loss_tokens,
                "reason": pl.Series(self.reasons.tolist(), dtype=pl.String),
                "count": self.counts,
            }
        )


def _gather(tasks: list[Task], mixture: Mixture) -> _Rows:
    frames = [read_parquet(task.folder / ROWS_FILE, ROWS) for task in tasks]
    whole = pl.concat(frames) if frames else table([], ROWS)
    prepared = [frame["reason"].is_null().to_numpy() for frame in frames]
    return _Rows(
        entries=[task.entry for task in tasks],
        kinds=[mixture.entries[task.entry].source.samples_kind for task in tasks],
        prepared=np.concatenate([np.empty(0, bool), *prepared]),
        task=np.repeat(np.arange(len(tasks)), [len(frame) for frame in frames]),
        place=np.concatenate([[], *(np.cumsum(mask) - 1 for mask in prepared)]).astype(np.int64),
        sample_ids=whole["sample_id"],
        tokens=whole["tokens"].to_numpy().copy(),
        loss_tokens=whole["loss_tokens"].fill_null(0).to_numpy().copy(),
        keys=whole["key"],
        reasons=np.array(whole["reason"].to_list(), dtype=object),
        counts=np.zeros(len(whole), dtype=np.int64),
    )


def _mark_dropped(rows: _Rows, tasks: list[Task], mixture: Mixture) -> None:
    """Rows that the evaluation holds too, then duplicates: what the recipe names first stays."""
    if mixture.contamination.remove:
        hit = pl.concat(
            [pl.Series("sample_id", [], dtype=pl.String)]
            + [read_parquet(task.folder / HITS_FILE, HITS)["sample_id"] for task in tasks]
        )
        remaining = rows.remaining()
        mask = rows.sample_ids.gather(remaining).is_in(hit.unique().implode()).to_numpy()
        rows.reasons[remaining[mask]] = CONTAMINATED
    remaining = rows.remaining()
    rows.reasons[remaining[duplicates.find_exact(rows.keys.gather(remaining))]] = duplicates.EXACT
    remaining = rows.remaining()
    bounds = np.searchsorted(rows.task[remaining], np.arange(len(tasks) + 1))
    near = duplicates.find_near(
        [task.folder / SIGNATURES_FILE for task in tasks],
        [rows.place[remaining[start:end]] for start, end in itertools.pairwise(bounds)],
        mixture.deduplication,
    )
    rows.reasons[remaining[near]] = duplicates.NEAR


def _choose(
    rows: _Rows, mixture: Mixture, stage: str, stages: Mapping[str, int], seed: int
) -> None:
    remaining = rows.remaining()
    rows.reasons[remaining] = select.leave_out(
        mixture,
        stage,
        stages,
        rows.sample_ids.gather(remaining),
        rows.tokens[remaining],
        seed,
    )
    remaining = rows.remaining()
    names = np.array(rows.entries, dtype=object)[rows.task[remaining]]
    for name, entry in mixture.entries.items():
        own = remaining[names == name]
        rows.counts[own] = select.repeats(
            entry, rows.sample_ids.gather(own), rows.tokens[own], seed
        )
        rows.reasons[own[rows.counts[own] == 0]] = select.BEYOND_WEIGHT


# ------------------------------------------------------------------------------------- publishing


def _account(rows: pl.DataFrame, mixture: Mixture, mixture_name: str, stage: str) -> pl.DataFrame:
    """formats.ACCOUNTING"""
    total = int((rows["tokens"] * rows["count"]).sum())
    accounts = []
    for name, entry in mixture.entries.items():
        own = rows.filter(pl.col("source") == name)
        kept = own.filter(pl.col("reason").is_null())
        tokens = int((kept["tokens"] * kept["count"]).sum())
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
                "loss_tokens": int((kept["loss_tokens"] * kept["count"]).sum()),
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


def _write_packed(
    rows: _Rows, tasks: list[Task], length: int, tokenizer: Tokenizer, output: Path
) -> None:
    """Pack the chosen samples and copy their tokens to their places, a chunk at a time."""
    chosen = np.repeat(np.arange(len(rows.counts)), rows.counts)
    tokens = rows.tokens[chosen]
    sequence = pack(tokens, length)
    order = np.lexsort((np.arange(len(chosen)), sequence))
    offsets = np.empty(len(chosen), dtype=np.int64)
    offsets[order] = np.cumsum(tokens[order]) - tokens[order]
    total = int(tokens.sum())
    log.info(
        "%d samples in %d sequences of %d: %.2f%% filled",
        len(chosen),
        sequence.max() + 1,
        length,
        100 * total / ((int(sequence.max()) + 1) * length),
    )
    with publish(output) as folder:
        folder.mkdir()
        ids = np.lib.format.open_memmap(folder / PackedFiles.INPUT_IDS, "w+", np.uint32, (total,))
        roles = np.lib.format.open_memmap(folder / PackedFiles.ROLES, "w+", np.uint8, (total,))
        row_bounds = np.searchsorted(rows.task, np.arange(len(tasks) + 1))
        chosen_bounds = np.searchsorted(chosen, row_bounds)
        for number, task in enumerate(tasks):
            own = slice(row_bounds[number], row_bounds[number + 1])
            taken = slice(chosen_bounds[number], chosen_bounds[number + 1])
            _copy_chunk(
                task,
                rows.tokens[own][rows.prepared[own]],
                rows.place[chosen[taken]],
                offsets[taken],
                ids,
                roles,
            )
        ids.flush()
        roles.flush()
        write_json(tokenizer.vocabulary_digest, folder / PackedFiles.VOCABULARY)
        write_parquet(
            _sequences(rows, chosen[order], sequence[order]),
            folder / PackedFiles.SEQUENCES,
            SEQUENCES,
        )


def _copy_chunk(
    task: Task,
    prepared_tokens: np.ndarray,
    places: np.ndarray,
    offsets: np.ndarray,
    ids: np.ndarray,
    roles: np.ndarray,
) -> None:
    """Copy the samples at `places` of a chunk to `offsets` of the packed arrays."""
    if len(places) == 0:
        return
    bounds = np.concatenate([[0], np.cumsum(prepared_tokens)])
    chunk_ids = np.load(task.folder / PackedFiles.INPUT_IDS, mmap_mode="r")
    chunk_roles = np.load(task.folder / PackedFiles.ROLES, mmap_mode="r")
    for place, offset in zip(places.tolist(), offsets.tolist(), strict=True):
        start, end = int(bounds[place]), int(bounds[place + 1])
        ids[offset : offset + end - start] = chunk_ids[start:end]
        roles[offset : offset + end - start] = chunk_roles[start:end]


def _sequences(rows: _Rows, chosen: np.ndarray, sequence: np.ndarray) -> pl.DataFrame:
    """formats.SEQUENCES of samples that are ordered by their sequence."""
    kinds = pl.Series(rows.kinds, dtype=pl.String)
    samples = pl.DataFrame(
        {
            "sequence_id": sequence,
            "tokens": rows.tokens[chosen],
            "sample_ids": rows.sample_ids.gather(chosen),
            "kinds": kinds.gather(rows.task[chosen]).cast(pl.Enum(KINDS)),
        }
    )
    grouped = samples.group_by("sequence_id", maintain_order=True).agg(
        pl.col("tokens").cum_sum().alias("ends"),
        pl.col("tokens").sum(),
        pl.col("sample_ids"),
        pl.col("kinds"),
    )
    return grouped.with_columns(
        (pl.col("tokens").cum_sum() - pl.col("tokens")).alias("offset"),
        pl.concat_list(pl.lit(0, dtype=pl.Int64), "ends").alias("document_bounds"),
    ).select(list(SEQUENCES))
