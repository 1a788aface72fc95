"""Exact and approximate indexes: right neighbours, mergeable, resumable, blind to the sharding."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.estimate.index import index_cost
from selflong.formats import EMBEDDING_IDS, table, write_parquet
from selflong.job import UserError
from selflong.recipe.retrieval import Encoder
from selflong.retrieval import index as index_module
from selflong.retrieval.index import ExactSearcher, Vectors, build_index, open_index, sample_rows
from tests.retrieval.conftest import make_encoder

DIMENSIONS = 32


def make_shards(folder: Path, vectors: np.ndarray, cuts: list[int]) -> list[Path]:
    """Vectors, cut before the given rows, as `encode_shard` would have written them."""
    bounds = [0, *cuts, len(vectors)]
    shards = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        shard = folder / str(number)
        shard.mkdir(parents=True)
        np.save(shard / "embeddings.npy", vectors[start:stop])
        ids = [{"id": f"d{row:06}"} for row in range(start, stop)]
        write_parquet(table(ids, EMBEDDING_IDS), shard / "ids.parquet", EMBEDDING_IDS)
        shards.append(shard)
    return shards


def random_vectors(count: int, dimensions: int = DIMENSIONS, seed: int = 0) -> np.ndarray:
    """float16, of length one, in clusters, as embeddings of real texts are."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(20, dimensions))
    vectors = centres[generator.integers(20, size=count)]
    vectors += 0.7 * generator.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def encoder_for(index: str, dimensions: int = DIMENSIONS, **settings_: object) -> Encoder:
    return make_encoder(dimensions=dimensions, index=index, **settings_)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 200), max_size=4).map(sorted),
    k=st.integers(1, 220),
    block_rows=st.integers(1, 90),
)
def test_exact_search_is_a_sorted_product(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], k: int, block_rows: int
) -> None:
    vectors = random_vectors(200)
    queries = random_vectors(5, seed=1)
    shards = make_shards(tmp_path_factory.mktemp("shards"), vectors, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "BLOCK_BYTES", 4 * DIMENSIONS * block_rows)
        scores, rows = ExactSearcher(Vectors(shards)).search(queries, k)
    expected = queries.astype(np.float32) @ vectors.astype(np.float32).T
    best = np.sort(expected, axis=1)[:, ::-1][:, :k]
    found = min(k, 200)
    np.testing.assert_allclose(scores[:, :found], best, atol=1e-5)
    np.testing.assert_allclose(
        np.take_along_axis(expected, rows[:, :found], axis=1), best, atol=1e-5
    )
    assert (rows[:, found:] == -1).all()
    assert all(len(set(row[:found])) == found for row in rows.tolist())


def test_rows_are_taken_across_shards(tmp_path: Path) -> None:
    vectors = random_vectors(100)
    whole = Vectors(make_shards(tmp_path, vectors, [0, 30, 30, 99]))
    rows = np.array([99, 0, 29, 30, 98, 5])
    np.testing.assert_array_equal(whole.take(rows), vectors[rows])
    np.testing.assert_array_equal(whole.rows(25, 100), vectors[25:])
    assert whole.ids[30] == "d000030"


@pytest.mark.parametrize(
    ("factory", "settings_", "least_recall"),
    [
        ("SQ8", {}, 0.9),
        ("IVF16,Flat", {"probes": 16}, 0.999),
        ("IVF16,SQ8", {"probes": 8}, 0.8),
        ("PCA16,IVF8,SQ8", {"probes": 8}, 0.3),
    ],
)
def test_approximate_index_finds_the_neighbours_whatever_the_sharding(
    tmp_path: Path, factory: str, settings_: dict[str, int], least_recall: float
) -> None:
    vectors = random_vectors(2000)
    queries = vectors[:50].astype(np.float32)
    encoder = encoder_for(factory, index_training_sample=1000, **settings_)
    found = []
    for name, cuts in (("one", []), ("many", [0, 300, 301, 1500])):
        shards = make_shards(tmp_path / name / "shards", vectors, cuts)
        build_index(
            shards=shards,
            encoder=encoder,
            output=tmp_path / name / "index",
            work=tmp_path / name / "work",
        )
        assert not list((tmp_path / name / "work").glob("*/*"))
        searcher, whole = open_index(tmp_path / name / "index")
        found.append(searcher.search(queries, 20))
    np.testing.assert_array_equal(found[0][1], found[1][1])
    # A projection's last bits depend on the size of the block, and so may the last step of a code.
    np.testing.assert_allclose(found[0][0], found[1][0], atol=2e-3)
    _, exact = ExactSearcher(whole).search(queries, 20)
    shared = [len(set(own) & set(best)) / 20 for own, best in zip(found[0][1], exact, strict=True)]
    assert np.mean(shared) >= least_recall


def test_index_is_found_after_its_results_folder_was_moved(tmp_path: Path) -> None:
    vectors = random_vectors(500)
    shards = make_shards(tmp_path / "results/embeddings", vectors, [200])
    encoder = encoder_for("IVF8,SQ8", probes=8)
    build_index(
        shards=shards, encoder=encoder, output=tmp_path / "results/index", work=tmp_path / "work"
    )
    shutil.move(tmp_path / "results", tmp_path / "moved")
    shutil.rmtree(tmp_path / "work")
    searcher, whole = open_index(tmp_path / "moved/index")
    assert len(whole) == 500
    _, rows = searcher.search(vectors[:5].astype(np.float32), 1)
    assert rows[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_killed_build_keeps_trained_index_and_filled_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = make_shards(tmp_path / "shards", random_vectors(900), [300, 600])
    encoder = encoder_for("IVF8,SQ8", probes=8)
    done: list[int] = []
    fill = index_module._fill

    def fill_until_the_last(vectors: Vectors, number: int, trained: Path) -> faiss.Index:
        if number == 2 and done == [0, 1]:
            raise KeyboardInterrupt
        done.append(number)
        return fill(vectors, number, trained)

    monkeypatch.setattr(index_module, "_fill", fill_until_the_last)
    with pytest.raises(KeyboardInterrupt):
        build_index(
            shards=shards, encoder=encoder, output=tmp_path / "index", work=tmp_path / "work"
        )
    assert not (tmp_path / "index").exists()
    monkeypatch.setattr(index_module, "_train", lambda *_: pytest.fail("trained again"))
    done.append(-1)  # from now on the last shard is filled
    build_index(shards=shards, encoder=encoder, output=tmp_path / "index", work=tmp_path / "work")
    assert done == [0, 1, -1, 2]
    assert open_index(tmp_path / "index")[0].index.ntotal == 900  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("factory", "settings_", "sentence"),
    [
        ("HNSW32", {}, "cannot be trained .* and merged from shards"),
        ("IVF5000,SQ8", {"probes": 4}, "fewer lists than vectors"),
        ("IVF8,SQ8", {}, "give `probes`"),
    ],
)
def test_impossible_index_is_one_sentence(
    tmp_path: Path, factory: str, settings_: dict[str, int], sentence: str
) -> None:
    shards = make_shards(tmp_path / "shards", random_vectors(300), [])
    encoder = encoder_for(factory, **settings_)
    with pytest.raises(UserError, match=sentence) as caught:
        build_index(
            shards=shards, encoder=encoder, output=tmp_path / "index", work=tmp_path / "work"
        )
    assert "\n" not in str(caught.value)


def test_embeddings_of_another_encoder_are_refused(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", random_vectors(10), [])
    with pytest.raises(UserError, match="have 32 dimensions, the recipe says 64"):
        build_index(
            shards=shards,
            encoder=encoder_for("Flat", 64),
            output=tmp_path / "index",
            work=tmp_path / "work",
        )


def test_exact_index_stores_no_second_copy(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", random_vectors(100), [50])
    build_index(
        shards=shards,
        encoder=encoder_for("Flat"),
        output=tmp_path / "index",
        work=tmp_path / "work",
    )
    assert [path.name for path in (tmp_path / "index").glob("[!.]*")] == ["index.json"]
    searcher, _ = open_index(tmp_path / "index")
    assert isinstance(searcher, ExactSearcher)


def test_sample_is_drawn_by_id_not_by_row() -> None:
    ids = pl.Series([f"d{number}" for number in range(1000)])
    forward = set(ids.gather(sample_rows(ids, 100)))
    backward = ids.reverse()
    assert forward == set(backward.gather(sample_rows(backward, 100)))
    assert len(forward) == 100


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF64,SQ8", "IVF64,Flat"])
def test_planned_bytes_are_those_on_disk(tmp_path: Path, factory: str) -> None:
    vectors = random_vectors(5000, 64)
    shards = make_shards(tmp_path / "shards", vectors, [2000])
    encoder = encoder_for(factory, 64, probes=4 if "IVF" in factory else None)
    build_index(shards=shards, encoder=encoder, output=tmp_path / "index", work=tmp_path / "work")
    written = json.loads((tmp_path / "index/index.json").read_text())["bytes"]
    cost = index_cost(encoder, 5000)
    assert cost.index_bytes == pytest.approx(written, rel=0.02)
    embeddings = sum((shard / "embeddings.npy").stat().st_size for shard in shards)
    assert cost.embedding_bytes == pytest.approx(embeddings, rel=0.01)
