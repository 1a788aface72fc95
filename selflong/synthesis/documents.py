"""Texts of single documents out of shards that are too large to hold."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from selflong.formats import SAMPLES, TOKEN_COUNTS, read_parquet, table, write_parquet
from selflong.job import UserError
from selflong.synthesis.statistics import Tally


@dataclass(frozen=True)
class SampleShard:
    """A shard of samples that are each made of one document: what it reads, and where its files go."""

    shard: int
    documents: Sequence[Path]
    """The corpus' shards."""
    token_counts: Sequence[Path]
    """TOKEN_COUNTS of each by the trained model's tokenizer."""
    samples: Path
    drops: Path
    usage: Path

    def write(self, rows: list[dict[str, Any]], tally: Tally) -> None:
        """Publish the samples (SAMPLES), what became of documents and calls (DROPS), and the usage."""
        tally.write(self.drops, self.usage)
        write_parquet(table(rows, SAMPLES), self.samples, SAMPLES)


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
    """Random documents over all shards, each that is short enough as likely as any other."""

    def __init__(self, shards: Sequence[Path], token_counts: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._ends = list(accumulate(pq.read_metadata(shard).num_rows for shard in shards))
        counts = [read_parquet(path, TOKEN_COUNTS)["tokens"].to_numpy() for path in token_counts]
        tokens = np.concatenate([np.empty(0, np.int64), *counts])
        if len(tokens) == 0:
            raise UserError("the corpus holds no document: see its filters in the recipe")
        self._rows = np.argsort(tokens, kind="stable")
        self._tokens = tokens[self._rows]

    def row_of_long(self, random: Random, shortest: int) -> int:
        """Row, counted over all shards, of a random document of at least `shortest` tokens."""
        first = int(np.searchsorted(self._tokens, shortest, side="left"))
        if first == len(self._tokens):
            raise UserError(
                f"no document of the corpus has {shortest} tokens: lower "
                "synthesis.document_tasks.minimum_tokens"
            )
        return int(self._rows[random.randrange(first, len(self._tokens))])

    def row(self, random: Random, longest: int) -> int:
        """Row, counted over all shards, of a random document of at most `longest` tokens."""
        fitting = int(np.searchsorted(self._tokens, longest, side="right"))
        if fitting == 0:
            raise UserError(
                f"no document of the corpus has at most {longest} tokens, as a sample of the synthesis "
                "needs: raise synthesis.long_input.lengths.minimum"
            )
        return int(self._rows[random.randrange(fitting)])

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
