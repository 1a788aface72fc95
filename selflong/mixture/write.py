"""The packed folder of a stage: tokens copied to their places, and how many of them the loss counts."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from selflong.formats import (
    KINDS,
    SEQUENCES,
    PackedFiles,
    new_array,
    publish,
    write_json,
    write_parquet,
)
from selflong.mixture.pack import Pieces
from selflong.mixture.render import targets
from selflong.mixture.rendered_sources import Task
from selflong.mixture.rows import Rows
from selflong.tokens import Tokenizer

log = logging.getLogger(__name__)


def count_packed(rows: Rows, tasks: list[Task], pieces: Pieces, document_masks: bool) -> None:
    """Tokens of each row that train, and how many the loss counts."""
    loss = rows.loss_tokens[pieces.sample]
    # What was counted when the rows were prepared holds for whole ones with their own documents.
    other = (pieces.tokens < rows.tokens[pieces.sample]) | (not document_masks)
    opens = np.diff(pieces.sequence, prepend=-1) > 0
    unpredicted = np.where(opens | document_masks, 1, 0)
    for task, own in _by_task(rows, tasks, pieces):
        if not other[own].any():
            continue
        kind = rows.kinds[int(rows.task[pieces.sample[own[0]]])]
        roles = np.load(task.folder / PackedFiles.ROLES, mmap_mode="r")
        starts = _places(rows, pieces, own)
        for piece, start in zip(own[other[own]].tolist(), starts[other[own]].tolist(), strict=True):
            counted = targets(kind, roles[start : start + int(pieces.tokens[piece])])
            loss[piece] = int(counted[unpredicted[piece] :].sum())
    for total, counted in ((rows.packed, pieces.tokens), (rows.packed_loss, loss)):
        np.add.at(total, pieces.sample, counted)


def _by_task(rows: Rows, tasks: list[Task], pieces: Pieces) -> Iterator[tuple[Task, np.ndarray]]:
    """Each task with its pieces, where it has any."""
    of_piece = rows.task[pieces.sample]
    order = np.argsort(of_piece, kind="stable")
    bounds = np.searchsorted(of_piece[order], np.arange(len(tasks) + 1))
    for task, (start, end) in zip(tasks, itertools.pairwise(bounds), strict=True):
        if start < end:
            yield task, order[start:end]


def _places(rows: Rows, pieces: Pieces, own: np.ndarray) -> np.ndarray:
    """int64: where pieces of one task begin in its arrays of tokens."""
    task = rows.task[pieces.sample[own[0]]]
    first, end = np.searchsorted(rows.task, [task, task + 1])
    sizes = rows.tokens[first:end][rows.prepared[first:end]]
    begins = np.cumsum(sizes) - sizes
    return begins[rows.place[pieces.sample[own]]] + pieces.start[own]


def write_packed(
    rows: Rows,
    tasks: list[Task],
    pieces: Pieces,
    document_masks: bool,
    length: int,
    tokenizer: Tokenizer | None,
    output: Path,
) -> None:
    """Copy the tokens of all pieces to their places, a chunk at a time."""
    offsets = np.cumsum(pieces.tokens) - pieces.tokens
    total = int(pieces.tokens.sum())
    log.info(
        "%d pieces of samples in %d sequences of %d: %.2f%% filled",
        len(pieces.sample),
        pieces.sequences,
        length,
        100 * total / (pieces.sequences * length),
    )
    with publish(output) as folder:
        folder.mkdir()
        ids = new_array(folder / PackedFiles.INPUT_IDS, np.uint32, (total,))
        roles = new_array(folder / PackedFiles.ROLES, np.uint8, (total,))
        for task, own in _by_task(rows, tasks, pieces):
            places = _places(rows, pieces, own)
            _copy_chunk(task, places, pieces.tokens[own], offsets[own], ids, roles)
        ids.flush()
        roles.flush()
        if tokenizer is not None:
            write_json(tokenizer.vocabulary_digest, folder / PackedFiles.VOCABULARY)
        sequences = _sequences(rows, pieces, document_masks)
        write_parquet(sequences, folder / PackedFiles.SEQUENCES, SEQUENCES)


def _copy_chunk(
    task: Task,
    places: np.ndarray,
    tokens: np.ndarray,
    offsets: np.ndarray,
    ids: np.ndarray,
    roles: np.ndarray,
) -> None:
    """Copy pieces of so many tokens from `places` of a chunk to `offsets` of the packed arrays."""
    chunk_ids = np.load(task.folder / PackedFiles.INPUT_IDS, mmap_mode="r")
    chunk_roles = np.load(task.folder / PackedFiles.ROLES, mmap_mode="r")
    pieces = zip(places.tolist(), tokens.tolist(), offsets.tolist(), strict=True)
    for place_in_chunk, size, offset in pieces:
        ids[offset : offset + size] = chunk_ids[place_in_chunk : place_in_chunk + size]
        roles[offset : offset + size] = chunk_roles[place_in_chunk : place_in_chunk + size]


def _sequences(rows: Rows, pieces: Pieces, document_masks: bool) -> pl.DataFrame:
    """formats.SEQUENCES. Of a row that was cut each piece is a document; a whole one has its own. Without
    masks each sequence is one, with the name and the kind of its first."""
    kinds = pl.Series(rows.kinds, dtype=pl.String)
    samples = pl.DataFrame(
        {
            "sequence_id": pieces.sequence,
            "size": pieces.tokens,
            "cut": pieces.tokens < rows.tokens[pieces.sample],
            "tokens": rows.documents.gather(pieces.sample),
            "sample_ids": rows.sample_ids.gather(pieces.sample),
            "kinds": kinds.gather(rows.task[pieces.sample]).cast(pl.Enum(KINDS)),
        }
    )
    documents = samples.with_columns(
        pl.when("cut").then(pl.concat_list("size")).otherwise("tokens").alias("tokens")
    ).explode("tokens")
    grouped = documents.group_by("sequence_id", maintain_order=True).agg(
        pl.col("tokens").cum_sum().alias("ends"),
        pl.col("tokens").sum(),
        pl.col("sample_ids"),
        pl.col("kinds"),
    )
    if not document_masks:
        grouped = grouped.with_columns(
            pl.concat_list("tokens").alias("ends"),
            pl.col("sample_ids").list.head(1),
            pl.col("kinds").list.head(1),
        )
    return grouped.with_columns(
        (pl.col("tokens").cum_sum() - pl.col("tokens")).alias("offset"),
        pl.concat_list(pl.lit(0, dtype=pl.Int64), "ends").alias("document_bounds"),
    ).select(list(SEQUENCES))
