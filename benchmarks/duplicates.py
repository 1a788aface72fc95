"""Near-duplicates: recall and false drops on planted pairs, speed beside peers, growth with the rows.

    python benchmarks/duplicates.py

Prints one JSON line. recall: of 100,000 planted pairs, those with a Jaccard similarity of at least the
threshold + 0.1, the share whose second row is dropped; false_drops: of the rows that resemble no other by
more than the threshold - 0.1, the share that is dropped. ratio_to_datasketch and ratio_to_peer (datatrove's
MinHash from signatures to clusters, on disk as it always works, its words cut at white space): their CPU
time / ours for the same texts, n-grams and permutations (datatrove's are 18 bands of 7, as ours), from texts
to the rows to keep. seconds (CPU) and peak_gb (above the texts) at 250,000, 500,000 and 1,000,000 rows of 100
words, each in a process of its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from selflong.similarity import find_duplicates

NGRAM, THRESHOLD, PERMUTATIONS = 5, 0.8, 128
WORDS = 100
VOCABULARY = 50_000
COMPARED_ROWS = 10_000
PLANTED_ROWS = 200_000
ROWS = (250_000, 500_000, 1_000_000)


def planted(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts, and the Jaccard similarity (float64 [rows]) of each to its only relative before it, else 0.

    The first half are unrelated texts of random words, the second half copies of them, shuffled, each with
    the words from a random place on replaced: of the `count` n-grams, `kept` are shared, so that the
    similarity is kept / (2 count - kept).
    """
    rng = np.random.default_rng(seed)
    vocabulary = np.array([f"w{number:x}" for number in range(VOCABULARY)], dtype=object)
    half = rows // 2
    originals = rng.integers(0, VOCABULARY, (rows - half, WORDS))
    origins = rng.permutation(rows - half)[:half]
    copies = originals[origins]
    same_words = rng.integers(WORDS // 2, WORDS + 1, half)
    replaced = np.arange(WORDS) >= same_words[:, None]
    copies[replaced] = rng.integers(0, VOCABULARY, int(replaced.sum()))
    count, kept = WORDS - NGRAM + 1, same_words - NGRAM + 1
    texts = [" ".join(vocabulary[row]) for block in (originals, copies) for row in block]
    return texts, np.concatenate([np.zeros(rows - half), kept / (2 * count - kept)])


def quality(texts: list[str], similarity: np.ndarray) -> tuple[float, float]:
    """Recall above threshold + 0.1, and share of false drops below threshold - 0.1."""
    dropped = find_duplicates(texts, NGRAM, THRESHOLD, PERMUTATIONS) >= 0
    recall = dropped[similarity >= THRESHOLD + 0.1].mean()
    return float(recall), float(dropped[similarity <= THRESHOLD - 0.1].mean())


def own(texts: list[str]) -> int:
    """Rows to keep by this project."""
    return int((find_duplicates(texts, NGRAM, THRESHOLD, PERMUTATIONS) < 0).sum())


def datasketch(texts: list[str]) -> int:
    """Rows to keep by datasketch, as its documentation shows, with its batched update."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    kept = 0
    for number, text in enumerate(texts):
        words = text.lower().split()
        grams = {" ".join(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([gram.encode() for gram in grams])
        if not index.query(signature):
            index.insert(number, signature)
            kept += 1
    return kept


class _Words:
    """datatrove's word tokenizer for English wants a spaCy model; white space is faster, and enough here."""

    def word_tokenize(self, text: str) -> list[str]:
        """Words of a text."""
        return text.split()


def datatrove(texts: list[str]) -> int:
    """Rows to keep by datatrove's three steps of MinHash."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashing import HashConfig

    # Its other hash function does not run with xxhash 4.
    hashes = HashConfig(hash_fc="sha1", precision=64)
    config = MinhashConfig(n_grams=NGRAM, num_buckets=18, hashes_per_bucket=7, hash_config=hashes)

    def documents() -> Iterator[Document]:
        for number, text in enumerate(texts):
            yield Document(text=text, id=str(number))

    with tempfile.TemporaryDirectory() as folder:
        # A language whose words need no model, for the constructor.
        signatures = MinhashDedupSignature(f"{folder}/signatures", config, language="grt_Beng")
        signatures.word_tokenizer = _Words()
        signatures.run(documents())
        for bucket in range(config.num_buckets):
            MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(
                rank=bucket, world_size=config.num_buckets
            )
        MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config).run()
        return sum(1 for _ in MinhashDedupFilter(f"{folder}/remove").run(documents()))


def seconds_of(method: Callable[[list[str]], int], texts: list[str]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    method(texts)
    return time.process_time() - start


def growth(rows: int) -> tuple[float, float]:
    """Seconds, and the most gigabytes that the process held above its texts."""
    texts, _ = planted(rows, seed=3)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    seconds = seconds_of(own, texts)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return seconds, (peak - before) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.parse_args()
    os.environ |= {"LOGURU_LEVEL": "ERROR", "RAYON_NUM_THREADS": "1"}
    own(["Tables that are made once should not count."])
    recall, false_drops = quality(*planted(PLANTED_ROWS, seed=1))
    texts, _ = planted(COMPARED_ROWS, seed=2)
    times = {method.__name__: seconds_of(method, texts) for method in (own, datasketch, datatrove)}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        grown = pool.map(growth, ROWS, chunksize=1)
    print(
        json.dumps(
            {
                "recall": round(recall, 4),
                "false_drops": round(false_drops, 5),
                "ratio_to_datasketch": round(times["datasketch"] / times["own"], 1),
                "ratio_to_peer": round(times["datatrove"] / times["own"], 1),
                "peer": "datatrove",
                "rows": ROWS,
                "seconds": [round(seconds, 1) for seconds, _ in grown],
                "peak_gb": [round(peak, 2) for _, peak in grown],
            }
        )
    )


if __name__ == "__main__":
    main()
