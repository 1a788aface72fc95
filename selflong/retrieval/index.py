"""Find the nearest documents: exactly, or by a FAISS index on disk.

`Flat` searches the embeddings where they lie, block by block, so it is exact, needs no second copy of them
and holds one block in memory. Any other factory string that FAISS can merge is trained on a sample, filled
shard by shard, merged, and searched from disk through memory mapping.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import polars as pl
import torch
import xxhash
from faiss.contrib.ondisk import merge_ondisk

from selflong.formats import (
    EMBEDDING_IDS,
    digest,
    publish,
    read_array,
    read_object,
    read_parquet,
    remove,
    write_json,
)
from selflong.job import UserError, disk_errors_as_sentences, sole_owner
from selflong.progress import Progress
from selflong.recipe.retrieval import EXACT, Encoder
from selflong.retrieval import BLOCK_BYTES
from selflong.retrieval.encode import EMBEDDINGS, IDS

QUERIES_AT_ONCE = 1024
"""Of an exact search, whose products with a block are held at once."""

_NOTHING = np.finfo(np.float32).min
"""What a heap of FAISS holds in place of a score where nothing was found yet."""

INDEX = "index.faiss"
LISTS = "index.ivfdata"
DESCRIPTION = "index.json"

SAMPLE_SEED = 1


class Vectors:
    """The embeddings of all shards as one long array that stays on disk."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """`shards` are the folders that `encode_shard` wrote, in order."""
        ids = [read_parquet(shard / IDS, EMBEDDING_IDS)["id"] for shard in shards]
        self.ids: pl.Series = pl.concat(ids)
        """Id of each row."""
        self._shards = [
            read_array(shard / EMBEDDINGS, np.float16, 2, rows=len(own) > 0)
            for shard, own in zip(shards, ids, strict=True)
        ]
        for shard, own, vectors in zip(shards, ids, self._shards, strict=True):
            if len(own) != len(vectors):
                raise UserError(
                    f"{shard}: {IDS} and {EMBEDDINGS} differ in rows; remove the folder"
                )
        self.starts = np.cumsum([0, *map(len, self._shards)])
        """First row of each shard, and the number of rows."""
        self.dimensions: int = self._shards[0].shape[1]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows(self, start: int, stop: int, found: np.ndarray | None = None) -> np.ndarray:
        """float32 [stop - start, dimensions], in `found` where it is given."""
        if found is None:
            found = np.empty((stop - start, self.dimensions), dtype=np.float32)
        place = 0
        for first, shard in zip(self.starts, self._shards, strict=False):
            piece = shard[max(start - first, 0) : max(stop - first, 0)]
            # NumPy needs eight times as long to make single precision of half.
            torch.from_numpy(found[place : place + len(piece)]).copy_(torch.from_numpy(piece))
            place += len(piece)
        return found

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 [rows, dimensions] of any rows."""
        found = np.empty((len(rows), self.dimensions), dtype=np.float32)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for number, shard in enumerate(self._shards):
            own = owner == number
            found[own] = shard[rows[own] - self.starts[number]]
        return found

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """First row and float32 [rows, dimensions] of each block between two rows; the next overwrites it."""
        size = max(1, BLOCK_BYTES // (4 * self.dimensions))
        held = np.empty((min(size, stop - start), self.dimensions), dtype=np.float32)
        for first in range(start, stop, size):
            last = min(first + size, stop)
            yield first, self.rows(first, last, held[: last - first])


class Searcher(Protocol):
    """What finds nearest vectors."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Inner products (float32) and rows (int64; -1 where fewer were found) [queries, k], best first."""
        ...


@dataclass(frozen=True)
class ExactSearcher:
    """Compares each query with every vector, a block of vectors at a time."""

    vectors: Vectors

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        slices = [slice(n, n + QUERIES_AT_ONCE) for n in range(0, len(queries), QUERIES_AT_ONCE)]
        heaps = [faiss.ResultHeap(len(queries[own]), k, keep_max=True) for own in slices]
        for first, block in self.vectors.blocks(0, len(self.vectors)):
            for own, heap in zip(slices, heaps, strict=True):
                scores, rows = _better(queries[own], block, k, worst=heap.D[:, 0])
                heap.add_result(scores, np.where(rows < 0, -1, rows + first))
        for heap in heaps:
            heap.finalize()
        scores = np.concatenate([heap.D for heap in heaps])
        return scores, np.concatenate([heap.I for heap in heaps])


def _better(
    queries: np.ndarray, block: np.ndarray, k: int, worst: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a block has that beats the worst of the k best so far: scores and rows [queries, most of a query].

    After the first blocks few rows do, so that nothing needs to be sorted out block by block.
    """
    if (worst == _NOTHING).any():
        found: tuple[np.ndarray, np.ndarray] = faiss.knn(
            queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        return found
    products = queries @ block.T
    better = np.flatnonzero(products > worst[:, None])
    query, row = np.divmod(better, len(block))
    counts = np.bincount(query, minlength=len(queries))
    place = np.arange(len(query)) - (np.cumsum(counts) - counts)[query]
    scores = np.full((len(queries), max(1, counts.max())), -np.inf, dtype=np.float32)
    rows = np.full(scores.shape, -1, dtype=np.int64)
    scores[query, place], rows[query, place] = products.reshape(-1)[better], row
    return scores, rows


@dataclass(frozen=True)
class IndexSearcher:
    """Asks a FAISS index that is mapped from disk."""

    index: faiss.Index

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found: tuple[np.ndarray, np.ndarray] = self.index.search(
            np.ascontiguousarray(queries, dtype=np.float32), k
        )
        return found


# --------------------------------------------------------------------------------------- building


def build_index(*, shards: Sequence[Path], encoder: Encoder, output: Path, work: Path) -> None:
    """Build the recipe's index over the shards' embeddings into the folder `output`.

    Always writes index.json, which tells where the embeddings lie; index.faiss (and index.ivfdata for
    inverted lists) unless the index is exact. A job that is killed keeps its trained index and its filled
    shards in `work`.
    """
    vectors = Vectors(shards)
    if encoder.dimensions != vectors.dimensions:
        raise UserError(
            f"the embeddings have {vectors.dimensions} dimensions, the recipe says {encoder.dimensions}: "
            "encode the documents again"
        )
    if "IVF" in encoder.index and encoder.probes is None:
        raise UserError(
            f"index {encoder.index!r}: give `probes`, the lists to visit for each query"
        )
    if encoder.index != EXACT:
        with sole_owner(work):
            _build(vectors, encoder, output, work)
    files = [output / name for name in (INDEX, LISTS) if (output / name).exists()]
    description = {
        "factory": encoder.index,
        "probes": encoder.probes,
        "vectors": len(vectors),
        "dimensions": vectors.dimensions,
        "bytes": sum(path.stat().st_size for path in files),
        "embeddings": [os.path.relpath(shard, output) for shard in shards],
    }
    write_json(description, output / DESCRIPTION)


def _build(vectors: Vectors, encoder: Encoder, output: Path, work: Path) -> None:
    key = digest({"encoder": encoder.digest, "ids": digest(vectors.ids.to_list())})
    folder = work / key
    trained = folder / "trained.faiss"
    if not trained.exists():
        _write_index(_train(vectors, encoder), trained)
    filled = [folder / f"{number}.faiss" for number in range(len(vectors.starts) - 1)]
    missing = [number for number, path in enumerate(filled) if not path.exists()]
    progress = Progress("index", "shards", len(filled), len(filled) - len(missing))
    for number in missing:
        _write_index(_fill(vectors, number, trained), filled[number])
        progress.advance()
    progress.close()
    merged = folder / "merged"
    merged.mkdir(exist_ok=True)
    _merge(trained, filled, merged)
    output.mkdir(parents=True, exist_ok=True)
    for name in (LISTS, INDEX):
        if (merged / name).exists():
            with publish(output / name) as partial:
                shutil.move(merged / name, partial)
    remove(folder)


def _write_index(index: faiss.Index, path: Path) -> None:
    with publish(path) as partial:
        faiss.write_index(index, str(partial))


def _train(vectors: Vectors, encoder: Encoder) -> faiss.Index:
    rows = sample_rows(vectors.ids, encoder.index_training_sample or len(vectors))
    try:
        index = faiss.index_factory(vectors.dimensions, encoder.index, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(vectors.take(rows))
        index.check_compatible_for_merge(index)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition(": ")[2]
        raise UserError(
            f"index {encoder.index!r} cannot be trained on {len(rows)} vectors of {vectors.dimensions} "
            f"dimensions and merged from shards (FAISS: {reason}); take Flat, SQ8, or inverted lists such as "
            "IVF1024,SQ8 with fewer lists than vectors to train on"
        ) from None
    return index


def sample_rows(ids: pl.Series, count: int) -> np.ndarray:
    """int64 [at most count]: rows whose ids hash lowest, in that order, however the rows are ordered."""
    hashes = np.array([xxhash.xxh3_64_intdigest(id.encode(), SAMPLE_SEED) for id in ids], np.uint64)
    return np.argsort(hashes, kind="stable")[:count]


def _fill(vectors: Vectors, number: int, trained: Path) -> faiss.Index:
    index = faiss.read_index(str(trained))
    start, stop = (int(row) for row in vectors.starts[number : number + 2])
    for first, block in vectors.blocks(start, stop):
        if _has_lists(index):
            index.add_with_ids(block, np.arange(first, first + len(block)))
        else:
            index.add(block)
    return index


def _has_lists(index: faiss.Index) -> bool:
    return faiss.try_extract_index_ivf(index) is not None


def _merge(trained: Path, filled: Sequence[Path], folder: Path) -> None:
    """Merge in the shards' order; inverted lists are merged on disk, other codes in memory."""
    index = faiss.read_index(str(trained))
    if _has_lists(index):
        needed = sum(path.stat().st_size for path in filled)
        if shutil.disk_usage(folder).free < needed:
            # FAISS writes the lists through a mapping, behind which no disk may fill up.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        merge_ondisk(index, [str(path) for path in filled], str(folder / LISTS))
    else:
        for path in filled:
            index.merge_from(faiss.read_index(str(path)))
    faiss.write_index(index, str(folder / INDEX))


# -------------------------------------------------------------------------------------- searching


def open_index(folder: Path) -> tuple[Searcher, Vectors]:
    """The searcher that `build_index` made, and the vectors behind it."""
    description = read_object(folder / DESCRIPTION)
    try:
        factory, probes = str(description["factory"]), description["probes"]
        shards = [folder / shard for shard in description["embeddings"]]
    except (KeyError, TypeError):
        raise UserError(f"{folder / DESCRIPTION} describes no index: {_AGAIN}") from None
    with disk_errors_as_sentences():
        vectors = Vectors(shards)
    if factory == EXACT:
        return ExactSearcher(vectors), vectors
    try:
        return IndexSearcher(_read_index(folder, probes)), vectors
    except (RuntimeError, TypeError):
        raise UserError(f"{folder / INDEX} is no index of FAISS: {_AGAIN}") from None


_AGAIN = "remove its folder, and start again"


def _read_index(folder: Path, probes: int | None) -> faiss.Index:
    path = str(folder / INDEX)
    if not (folder / LISTS).exists():
        return faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
    if probes is None:
        raise TypeError("inverted lists are visited in part")
    index = faiss.read_index(path, faiss.IO_FLAG_ONDISK_SAME_DIR | faiss.IO_FLAG_READ_ONLY)
    faiss.extract_index_ivf(index).nprobe = probes
    return index
