"""How good retrieval is: recall of the index, duplicates among what it finds, scores by rank."""

from pathlib import Path
from typing import Any

import numpy as np

from selflong.formats import write_json
from selflong.retrieval.index import ExactSearcher, Vectors, open_index, sample_rows

RANKS = (1, 10, 100, 1000)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUERIES = 500
DUPLICATE_SCORE = 0.98
DUPLICATE_RANKS = 100


def measure_retrieval(*, index: Path, output: Path) -> None:
    """Write quality.json: the index is asked for the neighbours of a sample of the documents themselves.

    recall: share of the exact k nearest that the index finds among its first k. duplicates: share of the
    first 100 found whose similarity to a better one is at least 0.98. scores: quantiles of the
    similarity at a rank. A document is no neighbour of its own.
    """
    searcher, vectors = open_index(index)
    sample = sample_rows(vectors.ids, QUERIES)
    queries = vectors.take(sample)
    depth = min(max(RANKS) + 1, len(vectors))
    exact_scores, exact = ExactSearcher(vectors).search(queries, depth)
    found_scores, found = searcher.search(queries, depth)
    exact, _ = _without(sample, exact, exact_scores)
    found, found_scores = _without(sample, found, found_scores)
    ranks = [rank for rank in RANKS if rank < depth]
    report: dict[str, Any] = {
        "queries": len(sample),
        "recall": {str(rank): recall(exact, found, rank) for rank in ranks},
        "duplicates": _duplicates(vectors, found[:, :DUPLICATE_RANKS]),
        "scores": {
            str(rank): dict(
                zip(
                    map(str, QUANTILES),
                    np.quantile(found_scores[:, rank - 1], QUANTILES).round(4).tolist(),
                    strict=True,
                )
            )
            for rank in ranks
        },
    }
    write_json(report, output)


def _without(
    queries: np.ndarray, rows: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leave each query's own row out, or the last one where it was not found."""
    own = rows == queries[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~own].reshape(shape), scores[~own].reshape(shape)


def recall(exact: np.ndarray, found: np.ndarray, depth: int) -> float:
    """Mean share of the first `depth` exact neighbours that are among the first `depth` found."""
    shares = [
        len(np.intersect1d(best[:depth], own[:depth])) / depth
        for best, own in zip(exact, found, strict=True)
    ]
    return float(np.mean(shares))


def _duplicates(vectors: Vectors, found: np.ndarray) -> float:
    shares = []
    for rows in found:
        own = vectors.take(rows[rows >= 0])
        alike = np.tril(own @ own.T, k=-1).max(axis=1, initial=-1) >= DUPLICATE_SCORE
        shares.append(float(alike.mean()) if len(own) > 0 else 0.0)
    return float(np.mean(shares))
