"""Texts of single documents out of shards that are too large to hold."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
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

NAMING = 16
"""Documents that are kept for each name: those that say it most often."""


@dataclass(frozen=True)
class SampleShard:
    """A shard of samples that are made of drawn documents: what it reads, and where its files go."""

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
        self.tokens = tokens
        """int64 [documents] by row."""
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

    def row(
        self, random: Random, longest: int, setting: str = "synthesis.long_input.lengths.minimum"
    ) -> int:
        """Row, counted over all shards, of a random document of at most `longest` tokens.

        setting: of the recipe, which gives them more room.
        """
        fitting = int(np.searchsorted(self._tokens, longest, side="right"))
        if fitting == 0:
            raise UserError(
                f"no document of the corpus has at most {longest} tokens, as a sample of the synthesis "
                f"needs: raise {setting}"
            )
        return int(self._rows[random.randrange(fitting)])

    def naming(self, longest: Mapping[str, int]) -> dict[str, list[int]]:
        """Rows of the documents in which a name stands, NAMING of each at most, those that say it most often
        first; a name that is a part of a word counts too.

        longest: name -> the most tokens of such a document. All texts are read once, whatever the number of
        names (by Aho-Corasick).
        """
        found: dict[str, list[int]] = {}
        if longest:
            for name, row in _most(pl.concat(self._mentions(longest))).select("name", "row").rows():
                found.setdefault(name, []).append(row)
        return found

    def _mentions(self, longest: Mapping[str, int]) -> Iterator[pl.DataFrame]:
        # Of two names that begin at the same place the longer one is meant.
        names = pl.Series(sorted(longest, key=lambda name: (-len(name), name)))
        most = pl.LazyFrame({"name": longest.keys(), "longest": longest.values()})
        for shard, start in zip(self._shards, [0, *self._ends], strict=False):
            mentions = (
                pl.scan_parquet(shard)
                .select("text")
                .with_row_index("row", offset=start)
                .select(
                    "row",
                    name=pl.col("text").str.extract_many(pl.lit(names).implode(), leftmost=True),
                )
                .explode("name")
                .drop_nulls("name")
                .group_by("row", "name")
                .len("mentions")
                .join(most, on="name")
                .collect(engine="streaming")
            )
            tokens = pl.Series(self.tokens[mentions["row"].to_numpy()])
            yield _most(mentions.filter(tokens <= mentions["longest"]))

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


def _most(mentions: pl.DataFrame) -> pl.DataFrame:
    """Of each name the NAMING rows with the most mentions, the first ones where several have as many."""
    ordered = mentions.sort("name", "mentions", "row", descending=[False, True, False])
    return ordered.group_by("name", maintain_order=True).head(NAMING)
