"""Which documents the corpus keeps, in three steps that never hold more than one batch of text.

1. `scan`, a job for each part: read a part's documents once, note why a document falls out, its tokens
   and two hashes.
2. `select`, one job over those notes: drop duplicates across all parts and draw the sample.
3. `write`, a job for each part: read the part once more and write what was kept.

Which documents are kept depends on their ids and texts alone: among documents with the same text the one
whose id hashes lowest stays, and the sample is the documents whose ids hash lowest. Ten million
documents are 0.5 GB of notes.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xxhash

from selflong.corpus.stretches import BATCH_ROWS, Stretch, read, rows_of, stretches
from selflong.decontamination.overlaps import EvaluationTexts
from selflong.formats import (
    CORPUS_OVERLAPS,
    DOCUMENTS,
    DROPS,
    TOKEN_COUNTS,
    parquet_writer,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.progress import Progress
from selflong.recipe.corpus import Corpus, DocumentFilters
from selflong.tokens import Tokenizer

KEPT = "kept"
EVALUATION_OVERLAP = "evaluation overlap"
ABSENT = "no "
REASONS = (
    KEPT,
    "empty",
    "no language",
    "language",
    "no language score",
    "language score",
    "no score",
    "score",
    "too short",
    "too long",
    EVALUATION_OVERLAP,
    "duplicate id",
    "duplicate text",
    "not sampled",
)

# A row for each document that a part reads, in the order of reading.
NOTES: dict[str, Any] = {
    "source": pl.String,
    "id": pl.String,
    "id_high": pl.UInt64,  # hash of the id; the lowest are sampled
    "id_low": pl.UInt64,
    "text_high": pl.UInt64,
    "text_low": pl.UInt64,
    "tokens": pl.Int64,
    "reason": pl.Enum(REASONS),
}

# The same rows with the final reason.
SELECTION: dict[str, Any] = {
    "source": pl.String,
    "id": pl.String,
    "tokens": pl.Int64,
    "reason": pl.Enum(REASONS),
}


# ------------------------------------------------------------------------------------------- scan


def scan(
    *,
    sources: Sequence[Path],
    part: int,
    parts: int,
    corpus: Corpus,
    seed: int,
    tokenizer: Tokenizer,
    evaluation_texts: Path,
    notes: Path,
    overlaps: Path,
) -> None:
    """Write the NOTES of part `part` of `parts`, and what its documents share with the evaluation.

    `sources` are the source.json files in the recipe's order; another `seed` draws another sample;
    `evaluation_texts` holds formats.EVALUATION_TEXTS, and `overlaps` gets formats.CORPUS_OVERLAPS.
    """
    filters = corpus.filters
    evaluation = EvaluationTexts(evaluation_texts, corpus.overlap_ngram)
    columns = ["id", "text", *_filtered_columns(filters)]
    noted = [pl.DataFrame(schema=NOTES)]
    hits = [pl.DataFrame(schema=dict(CORPUS_OVERLAPS))]
    mine = stretches(sources, part, parts)
    progress = Progress(f"part {part}", "documents", rows_of(mine))
    for stretch in mine:
        for batch in read(stretch, columns):
            _check_ids(batch, stretch)
            documents = batch.with_columns(
                pl.lit(stretch.source).alias("source"), pl.col("text").fill_null("")
            )
            hits.append(_overlaps(documents, evaluation))
            overlapping = hits[-1]["document_id"].to_list()
            leave_out = overlapping if corpus.evaluation_overlap == "remove" else []
            noted.append(_note(documents, filters, leave_out, seed, tokenizer))
            progress.advance(len(batch))
    progress.close()
    write_parquet(pl.concat(hits), overlaps, CORPUS_OVERLAPS)
    write_parquet(pl.concat(noted), notes, NOTES)


def _overlaps(documents: pl.DataFrame, evaluation: EvaluationTexts) -> pl.DataFrame:
    """formats.CORPUS_OVERLAPS of documents: a row for each text that one of them shares words with."""
    rows = [
        {"source": source, "document_id": document, **hit}
        for source, document, text in documents.select("source", "id", "text").iter_rows()
        for hit in evaluation.hits(text)
    ]
    return table(rows, CORPUS_OVERLAPS)


def _filtered_columns(filters: DocumentFilters) -> list[str]:
    wanted = {
        "language": filters.language,
        "language_score": filters.minimum_language_score,
        "score": filters.minimum_score,
    }
    return [name for name, value in wanted.items() if value is not None]


def _check_ids(batch: pl.DataFrame, stretch: Stretch) -> None:
    if batch["id"].null_count() > 0:
        raise UserError(f"{stretch.path}: a document has no id; give each one an id of its own")


def _note(
    batch: pl.DataFrame,
    filters: DocumentFilters,
    leave_out: Collection[str],
    seed: int,
    tokenizer: Tokenizer,
) -> pl.DataFrame:
    ids = _hashes(batch["id"], seed)
    texts = _hashes(batch["text"], 0)
    notes = batch.with_columns(
        id_high=ids[:, 0],
        id_low=ids[:, 1],
        text_high=texts[:, 0],
        text_low=texts[:, 1],
        tokens=tokenizer.count_many(batch["text"].to_list()),
    )
    return notes.with_columns(reason=_first_reason(filters, leave_out)).select(list(NOTES))


def _absent(column: str) -> str:
    """The reason of documents without a value by which the recipe filters; they count with those below it."""
    return ABSENT + column.replace("_", " ")


def _passes(column: str, filters: DocumentFilters) -> pl.Expr:
    if column == "language":
        return pl.col(column) == filters.language
    return pl.col(column) >= getattr(filters, f"minimum_{column}")


def _hashes(values: pl.Series, seed: int) -> np.ndarray:
    """uint64 [values, 2]: 128-bit XXH3, the same on every machine and with every version."""
    digests = b"".join(xxhash.xxh3_128_digest(value.encode(), seed) for value in values)
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def _first_reason(filters: DocumentFilters, leave_out: Collection[str]) -> pl.Expr:
    """The first reason that a document falls out for; "kept" where it passes all filters."""
    fails = [("empty", pl.col("text").str.strip_chars() == "")]
    for name in _filtered_columns(filters):
        fails.append((_absent(name), pl.col(name).is_null()))
        fails.append((name.replace("_", " "), ~_passes(name, filters)))
    fails.append(("too short", pl.col("tokens") < filters.minimum_tokens))
    if filters.maximum_tokens is not None:
        fails.append(("too long", pl.col("tokens") > filters.maximum_tokens))
    fails.append((EVALUATION_OVERLAP, pl.col("id").is_in(list(leave_out))))
    reasons = [pl.when(fail).then(pl.lit(reason)) for reason, fail in fails]
    return pl.coalesce(*reasons, pl.lit(KEPT)).cast(NOTES["reason"])


# ----------------------------------------------------------------------------------------- select


def select(
    *,
    notes: Sequence[Path],
    filters: DocumentFilters,
    sample: int | None,
    outputs: Sequence[Path],
    drops: Path,
) -> None:
    """Settle the reasons over the notes of all parts: a SELECTION for each part, and the table of drops."""
    rows = pl.concat([pl.scan_parquet(path) for path in notes])
    keys = rows.select(pl.exclude("id", "source", "tokens")).collect()
    reasons = _final_reasons(keys, filters.drop_exact_duplicates, sample)
    del keys
    start = 0
    counts = []
    for path, output in zip(notes, outputs, strict=True):
        part = read_parquet(path, NOTES)
        final = reasons.slice(start, len(part))
        start += len(part)
        part = part.with_columns(reason=final)
        write_parquet(part, output, SELECTION)
        counts.append(_count_reasons(part))
    total = pl.concat(counts).with_columns(pl.col("reason").cast(pl.String))
    _check_columns(total, filters)
    total = total.with_columns(pl.col("reason").str.strip_prefix(ABSENT))
    total = total.group_by("source", "reason").sum().sort("source", "reason")
    write_parquet(total, drops, DROPS)


def _check_columns(counts: pl.DataFrame, filters: DocumentFilters) -> None:
    """UserError where no document of a source has a value by which the recipe filters."""
    for name in _filtered_columns(filters):
        for source, reasons in counts.group_by("source", maintain_order=True):
            if set(reasons["reason"]) - {"empty"} == {_absent(name)}:
                raise UserError(
                    f"source {source[0]}: no document has a {name}, by which the recipe filters; "
                    "remove that filter, or give the column"
                )


def _final_reasons(keys: pl.DataFrame, drop_duplicates: bool, sample: int | None) -> pl.Series:
    # Sorted by the hash of the id, what `first` means no longer depends on the order of reading.
    hashes = ["id_high", "id_low", "text_high", "text_low"]
    passing = keys.with_row_index("row").filter(pl.col("reason") == KEPT).sort(hashes)
    passing = passing.with_columns(
        reason=pl.when(~pl.struct("id_high", "id_low").is_first_distinct())
        .then(pl.lit("duplicate id"))
        .otherwise(pl.lit(KEPT))
    )
    if drop_duplicates:
        left = pl.col("reason") == KEPT
        repeated = ~pl.struct("reason", "text_high", "text_low").is_first_distinct()
        passing = passing.with_columns(
            reason=pl.when(left & repeated)
            .then(pl.lit("duplicate text"))
            .otherwise(pl.col("reason"))
        )
    if sample is not None:
        left = pl.col("reason") == KEPT
        passing = passing.with_columns(
            reason=pl.when(left & (left.cum_sum() > sample))
            .then(pl.lit("not sampled"))
            .otherwise(pl.col("reason"))
        )
    final = keys["reason"].to_physical().to_numpy().copy()
    final[passing["row"].to_numpy()] = (
        passing["reason"].cast(NOTES["reason"]).to_physical().to_numpy()
    )
    return pl.Series("reason", REASONS, dtype=NOTES["reason"]).gather(final)


def _count_reasons(part: pl.DataFrame) -> pl.DataFrame:
    return part.group_by("source", "reason").agg(
        rows=pl.len().cast(pl.Int64), tokens=pl.col("tokens").sum()
    )


# ------------------------------------------------------------------------------------------ write


def write(
    *,
    sources: Sequence[Path],
    part: int,
    parts: int,
    selection: Path,
    documents: Path,
    token_counts: Path,
) -> None:
    """Write the kept documents of a part (DOCUMENTS), and beside them their tokens (TOKEN_COUNTS).

    Raises UserError when a source changed since it was scanned.
    """
    rows = read_parquet(selection, SELECTION)
    start = 0
    progress = Progress(f"part {part}", "documents", len(rows))
    with parquet_writer(documents, DOCUMENTS, BATCH_ROWS) as append:
        for stretch in stretches(sources, part, parts):
            for batch in read(stretch, list(DOCUMENTS)):
                settled = rows.slice(start, len(batch))
                start += len(batch)
                if not batch["id"].equals(settled["id"]):
                    raise UserError(
                        f"{stretch.path} changed since it was scanned: remove {selection} and start again"
                    )
                append(batch.filter(settled["reason"] == KEPT))
                progress.advance(len(batch))
    progress.close()
    write_parquet(rows.filter(pl.col("reason") == KEPT), token_counts, TOKEN_COUNTS)
