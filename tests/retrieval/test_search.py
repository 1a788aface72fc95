"""Enough documents for each instruction, in a stable order, with or without the seed document."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.formats import (
    INSTRUCTIONS,
    RETRIEVED,
    TOKEN_COUNTS,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import encode_queries
from selflong.retrieval.index import build_index, open_index
from selflong.retrieval.quality import measure_retrieval
from selflong.retrieval.search import SPARE, Catalog, retrieve
from selflong.retrieval.search import _Filler as Filler
from tests.retrieval.conftest import count_words, embed, make_encoder, split
from tests.retrieval.test_index import make_shards, random_vectors


def write_instructions(rows: list[tuple[str, str, int]], path: Path) -> Path:
    """Instruction, seed document and target of each sample."""
    samples = [
        {
            "sample_id": f"s{number}",
            "family": "evidence",
            "instruction": instruction,
            "seed_document_id": seed,
            "seed_start": 0,
            "seed_end": 1,
            "target_tokens": target,
        }
        for number, (instruction, seed, target) in enumerate(rows)
    ]
    write_parquet(table(samples, INSTRUCTIONS), path, INSTRUCTIONS)
    return path


def instructions_about(passages: dict[str, str], path: Path, count: int = 24) -> Path:
    names = list(passages)[:: len(passages) // count][:count]
    targets = np.random.default_rng(1).integers(60, 4000, size=count)
    targets[0] = 10  # less than its seed document
    targets[1] = 10**6  # more than the corpus
    rows = [
        (f"Which documents tell about {' '.join(passages[name].split()[:12])}?", name, int(target))
        for name, target in zip(names, targets, strict=True)
    ]
    return write_instructions(rows, path)


def find(
    instructions: Path,
    shards: list[Path],
    token_counts: list[Path],
    encoder: Encoder,
    folder: Path,
    include_seed_document: bool = True,
    hard_negatives: float = 0.0,
) -> pl.DataFrame:
    build_index(shards=shards, encoder=encoder, output=folder / "index", work=folder / "work")
    output = folder / "retrieved.parquet"
    retrieve(
        instructions=instructions,
        index=folder / "index",
        token_counts=token_counts,
        encoder=encoder,
        weights=None,
        include_seed_document=include_seed_document,
        hard_negatives=hard_negatives,
        device="cpu",
        batch_size=8,
        output=output,
    )
    return read_parquet(output, RETRIEVED)


@pytest.mark.parametrize("include", [True, False])
def test_documents_fill_the_target_best_first(
    tmp_path: Path,
    passages: dict[str, str],
    shards: list[Path],
    token_counts: Path,
    encoder: Encoder,
    include: bool,
) -> None:
    instructions = instructions_about(passages, tmp_path / "instructions.parquet")
    found = find(instructions, shards, [token_counts], encoder, tmp_path, include)
    asked = read_parquet(instructions, INSTRUCTIONS)
    assert found["sample_id"].equals(asked["sample_id"])
    words = {name: len(text.split()) for name, text in passages.items()}
    queries = encode_queries(asked["instruction"].to_list(), encoder, None, "cpu", 8)
    _, vectors = open_index(tmp_path / "index")
    products = queries.astype(np.float32) @ vectors.rows(0, len(vectors)).T
    for row, (sample, seed, target) in enumerate(
        asked.select("sample_id", "seed_document_id", "target_tokens").iter_rows()
    ):
        own = found.row(row, named=True)
        assert own["sample_id"] == sample
        ids = own["document_ids"]
        assert own["tokens"] == [words[name] for name in ids]
        assert (seed in ids) == include
        # By hand: the seed document first of all where it is wanted, then the best that are not longer than
        # the target until it is met.
        order = sorted(
            (name for name in passages if name != seed and words[name] <= target),
            key=lambda name: (-round(float(products[row][row_of(vectors.ids, name)]), 5), name),
        )
        filled = words[seed] if include else 0
        needed = 0
        while filled < target and needed < len(order):
            filled += words[order[needed]]
            needed += 1
        expected = set(order[: needed + SPARE]) | ({seed} if include else set())
        assert expected == set(ids)
        assert own["scores"] == sorted(own["scores"], reverse=True)
        ties = list(zip([-score for score in own["scores"]], ids, strict=True))
        assert ties == sorted(ties)


def row_of(ids: pl.Series, name: str) -> int:
    return int(ids.index_of(name) or 0)


@pytest.mark.parametrize("index", ["Flat", "IVF8,SQ8"])
def test_other_sharding_finds_the_same(
    tmp_path: Path, passages: dict[str, str], index: str
) -> None:
    # The embeddings are the same ones in other shards.
    encoder = make_encoder(index=index, probes=8 if index != "Flat" else None)
    whole = embed(passages, encoder, tmp_path / "whole")
    vectors = np.load(whole / "embeddings.npy")
    ids = pl.read_parquet(whole / "ids.parquet")
    instructions = instructions_about(passages, tmp_path / "instructions.parquet")
    found = []
    for name, cuts in (("a", []), ("b", [1, 150]), ("c", list(range(20, 300, 20)))):
        shards = make_shards(tmp_path / name / "shards", vectors, cuts)
        bounds = [0, *cuts, len(vectors)]
        counts = []
        for number, shard in enumerate(shards):
            own = ids.slice(bounds[number], bounds[number + 1] - bounds[number])
            own.write_parquet(shard / "ids.parquet")
            part = {document: passages[document] for document in own["id"]}
            counts.append(count_words(part, tmp_path / name / f"counts/{number}.parquet"))
        found.append(find(instructions, shards, counts, encoder, tmp_path / name))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_embedding_in_other_shards_finds_the_same(
    tmp_path: Path, passages: dict[str, str], encoder: Encoder, token_counts: Path
) -> None:
    instructions = instructions_about(passages, tmp_path / "instructions.parquet")
    found = [
        find(
            instructions,
            split(passages, encoder, tmp_path / f"{parts}/shards", parts),
            [token_counts],
            encoder,
            tmp_path / str(parts),
        )
        for parts in (1, 4)
    ]
    for one, other in zip(found[0]["document_ids"], found[1]["document_ids"], strict=True):
        assert set(one) == set(other)


def test_equal_documents_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    texts = {f"copy {number:02}": "the harbour of the capital" for number in range(40)}
    texts = dict(sorted(texts.items(), key=lambda item: hash(item[0])))
    texts["seed"] = "rainfall in the highlands"
    encoder = make_encoder()
    shards = split(texts, encoder, tmp_path / "shards", 3)
    counts = [count_words(texts, tmp_path / "counts.parquet")]
    instructions = write_instructions([("a harbour", "seed", 62)], tmp_path / "i.parquet")
    found = find(instructions, shards, counts, encoder, tmp_path, include_seed_document=False)
    # 62 tokens of documents of 5: the first 13 of the 40 that tie, and those to spare.
    expected = [f"copy {number:02}" for number in range(13 + SPARE)]
    assert found["document_ids"][0].to_list() == expected


def test_hard_negatives_are_like_the_seed_document_and_not_like_the_instruction(
    tmp_path: Path,
) -> None:
    texts = {f"harbour {number:02}": "the harbour of the capital" for number in range(30)}
    texts |= {f"rain {number:02}": "rainfall in the high hills" for number in range(30)}
    texts["seed"] = "rainfall in the highlands"
    encoder = make_encoder()
    shards = split(texts, encoder, tmp_path / "shards", 2)
    counts = [count_words(texts, tmp_path / "counts.parquet")]
    instructions = write_instructions([("a harbour", "seed", 62)], tmp_path / "i.parquet")
    found = find(instructions, shards, counts, encoder, tmp_path, hard_negatives=0.5)
    # Half of the 62 tokens are the seed's 4 and six documents of 5, the other half seven of 5.
    harbours = [f"harbour {number:02}" for number in range(6 + SPARE)]
    rain = [f"rain {number:02}" for number in range(7)]
    ids = found["document_ids"][0].to_list()
    assert set(ids) == {*harbours, *rain, "seed"}
    assert ids[-SPARE - 7 : -SPARE] == rain
    assert [name for name in ids if name.startswith("harbour")] == harbours


@settings(max_examples=60, deadline=None)
@given(
    targets=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    tokens=st.lists(st.integers(1, 90), min_size=60, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=3).map(sorted),
    include=st.booleans(),
)
def test_filling_never_falls_short_while_documents_are_left(
    tmp_path_factory: pytest.TempPathFactory,
    targets: list[int],
    tokens: list[int],
    cuts: list[int],
    include: bool,
) -> None:
    folder = tmp_path_factory.mktemp("filling")
    shards = make_shards(folder, random_vectors(60), cuts)
    build_index(
        shards=shards,
        encoder=make_encoder(dimensions=32),
        output=folder / "index",
        work=folder / "work",
    )
    searcher, vectors = open_index(folder / "index")
    rows = [{"id": name, "tokens": count} for name, count in zip(vectors.ids, tokens, strict=True)]
    write_parquet(table(rows, TOKEN_COUNTS), folder / "counts.parquet", TOKEN_COUNTS)
    catalog = Catalog.load(vectors.ids, [folder / "counts.parquet"])
    queries = random_vectors(len(targets), seed=2).astype(np.float32)
    seeds = np.arange(len(targets))
    filler = Filler(catalog, queries, np.array(targets), seeds)
    if include:
        filler.include(np.einsum("ij,ij->i", queries, vectors.take(seeds)))
    for query, (documents, scores) in enumerate(filler.fill(searcher)):
        own = np.array(tokens)[documents]
        assert len(set(documents.tolist())) == len(documents) == len(scores)
        assert (query in documents) == include
        if own.sum() < targets[query]:
            short = np.array(tokens) <= targets[query]
            short[query] = include
            assert len(documents) == short.sum()
        elif len(documents) > SPARE + 1:
            others = own[documents != query]
            assert own.sum() - others[-SPARE - 1 :].sum() < targets[query]


def test_token_counts_of_another_corpus_are_refused(
    tmp_path: Path, passages: dict[str, str], shards: list[Path], encoder: Encoder
) -> None:
    other = count_words({"x": "another corpus"}, tmp_path / "counts.parquet")
    instructions = instructions_about(passages, tmp_path / "instructions.parquet")
    with pytest.raises(UserError, match="are not those of the index"):
        find(instructions, shards, [other], encoder, tmp_path)


def test_unknown_seed_document_is_named(
    tmp_path: Path, shards: list[Path], token_counts: Path, encoder: Encoder
) -> None:
    instructions = write_instructions([("harbours", "nowhere", 100)], tmp_path / "i.parquet")
    with pytest.raises(UserError, match="seed document 'nowhere' is not in the corpus"):
        find(instructions, shards, [token_counts], encoder, tmp_path)


def test_quality_report_tells_recall_duplicates_and_scores(tmp_path: Path) -> None:
    import json

    vectors = random_vectors(1200)
    vectors[600:] = vectors[:600]  # each document has a twin
    shards = make_shards(tmp_path / "shards", vectors, [500])
    reports = {}
    for factory, probes in (("Flat", None), ("IVF32,SQ8", 1), ("IVF32,SQ8", 32)):
        folder = tmp_path / f"{factory}-{probes}"
        encoder = make_encoder(dimensions=32, index=factory, probes=probes)
        build_index(shards=shards, encoder=encoder, output=folder / "index", work=folder / "work")
        measure_retrieval(index=folder / "index", output=folder / "quality.json")
        reports[factory, probes] = json.loads((folder / "quality.json").read_text())
    exact, narrow, wide = reports.values()
    assert exact["recall"]["100"] == 1.0
    assert narrow["recall"]["1000"] < 0.6
    assert wide["recall"]["1000"] > 0.9
    assert exact["scores"]["1"]["0.5"] == pytest.approx(1.0, abs=2e-3)  # the twin
    assert exact["scores"]["100"]["0.5"] < exact["scores"]["10"]["0.5"]
    assert exact["duplicates"] > 0.45
