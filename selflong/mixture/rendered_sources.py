"""Every source in chunks of rows: rendered, with what finds duplicates and overlap; done once, resumable."""

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from selflong.decontamination.overlaps import EvaluationTexts
from selflong.formats import (
    CONTAMINATION,
    PackedFiles,
    digest,
    file_sha256,
    publish,
    table,
    write_parquet,
)
from selflong.job import end_with_parent
from selflong.mixture import VERSION
from selflong.mixture.render import Prepared, packed_loss_tokens, render
from selflong.progress import Progress
from selflong.recipe.mixture import Mixture, MixtureEntry
from selflong.similarity import exact_key, signatures
from selflong.sources.conversations.rows import Chunk, Row, Sequence
from selflong.tokens import Tokenizer

ROWS = {
    "sample_id": pl.String,
    "reason": pl.String,  # null for a row that is prepared
    "tokens": pl.Int64,
    "loss_tokens": pl.Int64,
    "documents": pl.List(pl.Int64),  # tokens of each document in it
    "key": pl.Binary,  # of exact duplicates; null where none are looked for
}
HITS = {name: CONTAMINATION[name] for name in CONTAMINATION if name not in ("source", "removed")}
ROWS_FILE, HITS_FILE, SIGNATURES_FILE = "rows.parquet", "hits.parquet", "signatures.npy"


@dataclass(frozen=True)
class Settings:
    """What a worker needs beside its task."""

    mixture: Mixture
    tokenizer: Tokenizer | None
    evaluation_texts: Path | None


@dataclass(frozen=True)
class Task:
    """A chunk of an entry's rows and the folder of what comes of it."""

    entry: str
    chunk: Chunk
    folder: Path


def tasks_of(
    mixture: Mixture,
    sample_files: Mapping[str, list[Path]],
    tokenizer: Tokenizer | None,
    evaluation_texts: Path | None,
    work: Path,
) -> list[Task]:
    """All chunks, in the order of the recipe; a folder's name tells all that its content depends on."""
    texts = (
        file_sha256(evaluation_texts) if evaluation_texts and mixture.contamination.suites else None
    )
    common = [
        VERSION,
        tokenizer.digest if tokenizer else None,
        mixture.deduplication.digest if mixture.deduplication else None,
        mixture.contamination.digest,
        texts,
    ]
    tasks = []
    for name, entry in mixture.entries.items():
        files = entry.source.input_files(sample_files.get(name, []))
        seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        key = digest([*common, _prepared_by(entry), seen])
        for number, chunk in enumerate(entry.source.chunks(files)):
            tasks.append(Task(name, chunk, work / f"{name}-{key}" / str(number)))
    return tasks


def _prepared_by(entry: MixtureEntry) -> list[Any]:
    """What of an entry its chunks depend on: not its weight, in which mixtures of one source differ."""
    return [
        entry.source.digest,
        entry.minimum_turns,
        entry.minimum_tokens,
        entry.maximum_tokens,
        entry.packing == "as_given",
    ]


_worker: tuple[Settings, EvaluationTexts] | None = None


def _evaluation_texts(settings: Settings) -> EvaluationTexts:
    contamination = settings.mixture.contamination
    return EvaluationTexts(settings.evaluation_texts, contamination.ngram, contamination.suites)


def _start_worker(settings: Settings) -> None:
    global _worker  # noqa: PLW0603 - a process of the pool keeps its index
    end_with_parent()
    _worker = settings, _evaluation_texts(settings)


def _work(task: Task) -> None:
    assert _worker is not None
    _render_chunk(task, *_worker)


def render_all(tasks: list[Task], settings: Settings, processes: int) -> None:
    waiting = [task for task in tasks if not task.folder.exists()]
    progress = Progress("rows", "chunks", len(tasks), len(tasks) - len(waiting))
    if processes == 1 or len(waiting) < 2:
        texts = _evaluation_texts(settings)
        for task in waiting:
            _render_chunk(task, settings, texts)
            progress.advance()
        progress.close()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(processes, len(waiting)), context, _start_worker, (settings,)
    ) as pool:
        for _ in pool.map(_work, waiting):
            progress.advance()
    progress.close()


def _render_chunk(task: Task, settings: Settings, texts: EvaluationTexts) -> None:
    """Render a chunk's rows and note what finds their duplicates and their overlap with the evaluation."""
    entry = settings.mixture.entries[task.entry]
    rows: list[dict[str, Any]] = []
    hits: list[dict[str, Any]] = []
    kept: list[Prepared] = []
    duplicates, suites = settings.mixture.deduplication, settings.mixture.contamination.suites
    for row in _rows_of(entry, task):
        found = render(row, entry, settings.tokenizer)
        if not isinstance(found, Prepared):
            rows.append(
                {"sample_id": found.sample_id, "reason": found.reason, "tokens": found.tokens}
            )
            continue
        kept.append(found)
        rows.append(
            {
                "sample_id": found.sample_id,
                "tokens": len(found.rendered.ids),
                "loss_tokens": packed_loss_tokens(
                    found.kind, found.rendered.roles, found.documents
                ),
                "documents": found.documents,
                "key": exact_key(found.compared()) if duplicates else None,
            }
        )
        if suites:
            hits += [{"sample_id": found.sample_id, **hit} for hit in texts.hits(found.whole())]
    with publish(task.folder) as folder:
        folder.mkdir()
        write_parquet(table(rows, ROWS), folder / ROWS_FILE, ROWS)
        write_parquet(table(hits, HITS), folder / HITS_FILE, HITS)
        empty = np.empty(0, np.uint32)
        ids = np.concatenate([empty, *(found.rendered.ids for found in kept)])
        roles = np.concatenate([empty.astype(np.uint8), *(found.rendered.roles for found in kept)])
        np.save(folder / PackedFiles.INPUT_IDS, ids)
        np.save(folder / PackedFiles.ROLES, roles)
        if duplicates:
            np.save(
                folder / SIGNATURES_FILE,
                signatures(
                    [found.compared() for found in kept],
                    duplicates.ngram,
                    duplicates.permutations,
                    duplicates.seed,
                ),
            )


def _rows_of(entry: MixtureEntry, task: Task) -> Iterator[Row]:
    """The rows of a chunk; where they are packed again, the documents of those that hold several."""
    for row in entry.source.read(task.entry, task.chunk):
        if isinstance(row, Sequence) and entry.packing != "as_given":
            yield from row.documents
        else:
            yield row
