"""Sizes of indexes by formula against what FAISS writes."""

import faiss
import numpy as np
import pytest

from selflong.estimate.index import index_cost
from selflong.job import UserError
from selflong.recipe.loading import parse
from selflong.recipe.retrieval import Encoder

ROWS, DIMENSIONS = 20_000, 32
# Threads that wait for each other spin: on a busy machine one is faster.
faiss.omp_set_num_threads(1)


def encoder_of(factory: str) -> Encoder:
    settings = {"weights": "package:any", "dimensions": DIMENSIONS, "maximum_tokens": 64}
    return parse(Encoder, {**settings, "index": factory, "probes": 8}, "test")


@pytest.mark.parametrize("factory", ["SQfp16", "SQ8", "IVF32,Flat", "IVF32,SQ8", "IVF32,PQ4x4"])
def test_the_size_of_an_index(factory: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSIONS)).astype(np.float32)
    index = faiss.index_factory(DIMENSIONS, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    cost = index_cost(encoder_of(factory), ROWS)
    # Codebooks do not grow with the vectors, and are not counted.
    assert cost.index_bytes == pytest.approx(len(faiss.serialize_index(index)), rel=0.02)
    assert cost.embedding_bytes == 2 * DIMENSIONS * ROWS


def test_an_exact_search_needs_no_index() -> None:
    cost = index_cost(encoder_of("Flat"), ROWS)
    assert (cost.index_bytes, cost.build_flops) == (0, 0)
    assert cost.search_flops == 2 * DIMENSIONS * ROWS


@pytest.mark.parametrize("factory", ["NSG32,Flat", "HNSW32", "nonsense"])
def test_an_unknown_index_is_named(factory: str) -> None:
    with pytest.raises(UserError, match=factory):
        index_cost(encoder_of(factory), ROWS)
