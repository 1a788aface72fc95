"""Sizes of indexes against what FAISS writes."""

import faiss
import numpy as np
import pytest

from selflong.job import UserError
from selflong.plan.retrieval import CHOICES, index_bytes

ROWS, DIMENSIONS = 2_000, 32
# Threads that wait for each other spin: on a busy machine one is faster.
faiss.omp_set_num_threads(1)
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIMENSIONS)).astype(np.float32)


@pytest.mark.parametrize(
    "factory",
    [
        "Flat",
        "SQfp16",
        "SQ8",
        "IVF32,Flat",
        "IVF32,SQ8",
        "IVF32,PQ4x4",
        "IVF32_HNSW32,SQ8",
        "HNSW32",
        "HNSW32,SQ8",
    ],
)
def test_the_size_of_an_index(factory: str) -> None:
    index = faiss.index_factory(DIMENSIONS, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(VECTORS)
    index.add(VECTORS)
    written = len(faiss.serialize_index(index))
    assert index_bytes(factory, ROWS, DIMENSIONS) == pytest.approx(written, rel=0.02)


def test_every_choice_of_the_plan_has_a_size() -> None:
    sizes = [index_bytes(choice, 9_672_101, 4096) for choice in CHOICES]
    assert min(sizes) > 4e9


def test_an_unknown_index_is_named() -> None:
    with pytest.raises(UserError, match="NSG32"):
        index_bytes("NSG32,Flat", ROWS, DIMENSIONS)
