"""Texts of single documents out of shards that are too large to hold."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random

import polars as pl
import pyarrow.parquet as pq

from selflong.job import UserError


def read_texts(shards: Sequence[Path], ids: Collection[str]) -> dict[str, str]:
    """Text by id; UserError where a document is in no shard."""
    wanted = pl.DataFrame({"id": sorted(set(ids))}, schema={"id": pl.String}).lazy()
    texts: dict[str, str] = {}
    for shard in shards:
        found = pl.scan_parquet(shard).select("id", "text").join(wanted, on="id", how="semi")
        frame = found.collect(engine="streaming")
        texts.update(zip(frame["id"].to_list(), frame["text"].to_list(), strict=True))
    for document in ids:
        if document not in texts:
            raise UserError(
                f"document {document!r} is in none of the corpus' shards: make the retrieval again"
            )
    return texts


class DocumentDraw:
    """Random documents over all shards, each as likely as any other."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._ends = list(accumulate(pq.read_metadata(shard).num_rows for shard in shards))
        if not self._ends or self._ends[-1] == 0:
            raise UserError("the corpus holds no document: see its filters in the recipe")

    def row(self, random: Random) -> int:
        """Row of a random document, counted over all shards."""
        return random.randrange(self._ends[-1])

    def read(self, rows: Collection[int]) -> dict[int, tuple[str, str]]:
        """Id and text by row."""
        by_shard: dict[int, list[int]] = {}
        for row in sorted(set(rows)):
            by_shard.setdefault(bisect_right(self._ends, row), []).append(row)
        found: dict[int, tuple[str, str]] = {}
        for shard, members in by_shard.items():
            start = self._ends[shard - 1] if shard else 0
            frame = (
                pl.scan_parquet(self._shards[shard])
                .select("id", "text")
                .with_row_index("row", offset=start)
                .filter(pl.col("row").is_in(members))
                .collect(engine="streaming")
            )
            for row, identifier, text in frame.iter_rows():
                found[row] = (identifier, text)
        return found
