"""For each instruction, the documents nearest to it, as many as fill its target length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from selflong.formats import (
    INSTRUCTIONS,
    RETRIEVED,
    TOKEN_COUNTS,
    read_parquet,
    read_parquets,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import encode_queries
from selflong.retrieval.index import Searcher, Vectors, open_index

# Scores that agree to so many decimals are ties, which the documents' ids settle: half-precision embeddings
# are no finer, and the last bits of a product depend on the size of the block that it was computed in.
DECIMALS = 5

QUERIES_AT_ONCE = 8192
HEADROOM = 1.5  # documents asked for at first, over what documents of the mean length would need
FEWEST = 64
SPARE = 8
"""Documents given beyond those that fill a target."""


@dataclass(frozen=True)
class Catalog:
    """What retrieval knows of each document, by row of the index."""

    ids: pl.Series
    tokens: np.ndarray
    """int64 [documents]"""
    ranks: np.ndarray
    """int64 [documents]: place of the id in alphabetical order"""

    @classmethod
    def load(cls, ids: pl.Series, token_counts: Sequence[Path]) -> "Catalog":
        """Join the index's ids with the token counts of the same shards, in the same order."""
        counts = read_parquets(token_counts, TOKEN_COUNTS)
        if not counts["id"].equals(ids):
            raise UserError(
                f"{token_counts[0].parent}: its documents are not those of the index; "
                "encode the documents again"
            )
        ranks = ids.rank("ordinal").to_numpy().astype(np.int64)
        return cls(ids, counts["tokens"].to_numpy(), ranks)

    def rows(self, ids: pl.Series) -> np.ndarray:
        """int64 [ids]: row of each id; UserError where one is not in the corpus."""
        places = pl.DataFrame({"id": self.ids}).with_row_index("row")
        found = pl.DataFrame({"id": ids}).join(places, on="id", how="left", maintain_order="left")
        if (missing := found.filter(pl.col("row").is_null())).height > 0:
            raise UserError(
                f"seed document {missing['id'][0]!r} is not in the corpus that is indexed"
            )
        return found["row"].to_numpy().astype(np.int64)


def retrieve(
    *,
    instructions: Path,
    index: Path,
    token_counts: Sequence[Path],
    encoder: Encoder,
    weights: Path | None = None,
    include_seed_document: bool,
    hard_negatives: float = 0.0,
    device: str,
    batch_size: int,
    output: Path,
    threads: int = 1,
) -> None:
    """Write for each of INSTRUCTIONS the documents that fill its target_tokens (RETRIEVED).

    Documents come best first, ties in the order of their ids, until their tokens reach the target; SPARE more
    follow, for the place that a document too long for the rest of a sample leaves. Documents longer than the
    whole target are passed over. The seed document is always among them, or never. Where the corpus is too
    small, all of it is returned. hard_negatives: share of the target for documents that are nearest to the
    seed document and not among these. weights: folder of what the hub gave. threads: of the CPU.
    """
    torch.set_num_threads(threads)
    rows = read_parquet(instructions, INSTRUCTIONS)
    searcher, vectors = open_index(index)
    catalog = Catalog.load(vectors.ids, token_counts)
    queries = encode_queries(
        rows["instruction"].to_list(), encoder, weights, device, batch_size
    ).astype(np.float32)
    seeds = catalog.rows(rows["seed_document_id"])
    targets = rows["target_tokens"].to_numpy()
    negative = np.round(hard_negatives * targets).astype(np.int64)
    filler = _Filler(catalog, queries, targets - negative, seeds)
    if include_seed_document:
        filler.include(np.einsum("ij,ij->i", queries, vectors.take(seeds)))
    found = filler.fill(searcher)
    if hard_negatives:
        # Those that the instruction has found, too, may all be among the nearest.
        taken = np.array([catalog.tokens[documents].sum() for documents, _ in found])
        near = _Filler(catalog, vectors.take(seeds), negative + taken, seeds).fill(searcher)
        found = [
            _with_negatives(own, _negatives(catalog, own[0], others, tokens), query, vectors)
            for own, (others, _), tokens, query in zip(found, near, negative, queries, strict=True)
        ]
    samples = [
        {
            "sample_id": sample,
            "document_ids": catalog.ids.gather(documents).to_list(),
            "scores": scores.tolist(),
            "tokens": catalog.tokens[documents].tolist(),
        }
        for sample, (documents, scores) in zip(rows["sample_id"], found, strict=True)
    ]
    write_parquet(table(samples, RETRIEVED), output, RETRIEVED)


Found = tuple[np.ndarray, np.ndarray]
"""Rows (int64) and scores (float32) of the documents of one query, best first."""


def _negatives(catalog: Catalog, found: np.ndarray, near: np.ndarray, tokens: int) -> np.ndarray:
    """Rows of the documents nearest to a seed that its instruction has not found, up to `tokens`."""
    others = near[~np.isin(near, found) & (catalog.tokens[near] <= tokens)]
    filled = np.cumsum(catalog.tokens[others])
    return others[: int(np.searchsorted(filled, tokens)) + 1]


def _with_negatives(
    found: Found, negatives: np.ndarray, query: np.ndarray, vectors: Vectors
) -> Found:
    """The documents that fill the sample, the negatives, and what is to spare."""
    rows, scores = found
    place = max(0, len(rows) - SPARE)
    own = (vectors.take(negatives) @ query).astype(np.float32)
    return np.insert(rows, place, negatives), np.insert(scores, place, own)


class _Filler:
    """Takes documents for each query until its target is reached."""

    def __init__(
        self, catalog: Catalog, queries: np.ndarray, targets: np.ndarray, seeds: np.ndarray
    ) -> None:
        self._catalog = catalog
        self._queries = queries
        self._targets = targets
        self._seeds = seeds
        self._seed_scores: np.ndarray | None = None

    def include(self, seed_scores: np.ndarray) -> None:
        """Count each query's seed document in, with its score."""
        self._seed_scores = np.round(seed_scores, DECIMALS)

    def fill(self, searcher: Searcher) -> list[Found]:
        found: list[Found | None] = [None] * len(self._queries)
        # Queries of like targets go together, so that one large target does not deepen all searches.
        order = np.argsort(self._targets, kind="stable")
        for start in range(0, len(order), QUERIES_AT_ONCE):
            waiting = order[start : start + QUERIES_AT_ONCE]
            depth = self._first_depth(int(self._targets[waiting].max()))
            while len(waiting) > 0:
                scores, rows = searcher.search(self._queries[waiting], depth)
                for query, documents in zip(
                    waiting, self._take(waiting, scores, rows), strict=True
                ):
                    found[query] = documents
                waiting = np.array([query for query in waiting if found[query] is None], np.int64)
                depth = min(2 * depth, len(self._catalog.ids))
        return [documents for documents in found if documents is not None]

    def _first_depth(self, target: int) -> int:
        needed = HEADROOM * target / max(self._catalog.tokens.mean(), 1)
        return int(min(max(needed, FEWEST), len(self._catalog.ids)))

    def _take(
        self, queries: np.ndarray, scores: np.ndarray, rows: np.ndarray
    ) -> Iterator[Found | None]:
        """The documents of each query; None where those found do not fill it and there are more."""
        there = rows >= 0
        exhausted = ~there[:, -1] | (rows.shape[1] == len(self._catalog.ids))
        scores = np.round(np.where(there, scores, np.float32(-2)), DECIMALS)
        # Of the documents that tie with the last one some may not have been found.
        certain = there & (exhausted[:, None] | (scores > scores[:, -1:]))
        certain &= rows != self._seeds[queries, None]
        # A document that is longer than the sample could only be cut, which is never done.
        certain &= self._catalog.tokens[rows] <= self._targets[queries, None]
        order = self._order(scores, rows)
        scores, rows, certain = (
            np.take_along_axis(values, order, axis=1) for values in (scores, rows, certain)
        )
        filled = np.cumsum(np.where(certain, self._catalog.tokens[rows], 0), axis=1)
        budgets = self._targets[queries]
        if self._seed_scores is not None:
            budgets = budgets - self._catalog.tokens[self._seeds[queries]]
        counts = np.cumsum(certain, axis=1, dtype=np.int32)
        for number, query in enumerate(queries):
            # All documents up to the first one that fills the budget, and some to choose from.
            first = int(np.searchsorted(filled[number], budgets[number]))
            stop = rows.shape[1]
            if first < stop:
                filling = counts[number, first] if budgets[number] > 0 else 0
                stop = int(np.searchsorted(counts[number], filling + SPARE, side="right"))
            if stop == rows.shape[1] and not exhausted[number]:
                yield None
                continue
            own = certain[number, :stop]
            yield self._with_seed(query, scores[number, :stop][own], rows[number, :stop][own])

    def _order(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Columns of each query's documents with ties in the order of their ids.

        The scores come in order, so each run of equal ones is sorted by itself: a stable sort of numbers
        that are nearly in order takes linear time.
        """
        runs = np.cumsum(np.diff(scores, axis=1, prepend=scores[:, :1]) != 0, axis=1)
        keys = runs * len(self._catalog.ids) + self._catalog.ranks[rows]
        return np.argsort(keys, axis=1, kind="stable")

    def _in_order(self, scores: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((self._catalog.ranks[rows], -scores))
        return scores[order], rows[order]

    def _with_seed(self, query: int, scores: np.ndarray, rows: np.ndarray) -> Found:
        if self._seed_scores is not None:
            scores = np.append(scores, self._seed_scores[query])
            rows = np.append(rows, self._seeds[query])
            scores, rows = self._in_order(scores, rows)
        return rows, scores.astype(np.float32)
