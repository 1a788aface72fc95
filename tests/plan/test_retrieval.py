"""Sizes of indexes against what FAISS writes."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from selflong.job import UserError
from selflong.plan.machines import H100
from selflong.plan.retrieval import CHOICES, alternatives, index_bytes, index_use
from selflong.recipe import load_recipe

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


def test_every_choice_of_the_plan_has_a_size_and_a_time() -> None:
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "selflong.yaml")
    encoder = recipe.encoders["e5_mistral"]
    uses = {}
    for chosen in [encoder, *alternatives(encoder)]:
        uses[chosen.index] = index_use(chosen, 9_672_101, 1000, H100)
        size = index_bytes(chosen.index, 9_672_101, 4096) if chosen.index != "Flat" else 0
        assert uses[chosen.index].disk == pytest.approx(size, rel=0.02)
    assert set(uses) == {encoder.index, *CHOICES}
    assert uses["Flat"].build_seconds == 0
    assert uses["Flat"].search_seconds < uses["SQ8"].search_seconds
    assert uses["IVF16384,PQ512"].disk < uses["IVF16384,SQ8"].disk < uses["IVF16384,Flat"].disk


def test_an_unknown_index_is_named() -> None:
    with pytest.raises(UserError, match="NSG32"):
        index_bytes("NSG32,Flat", ROWS, DIMENSIONS)
