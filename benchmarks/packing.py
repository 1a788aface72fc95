"""Packing: fill and speed on a million samples, beside TRL's best-fit decreasing on the same lengths.

    python benchmarks/packing.py

Prints one JSON line. Lengths, an assumption: long samples log-normal (sigma of the logarithm 1) with mean
66.7k and cut at the stage, short ones log-normal with median 350 and mean 900 tokens as Tulu-v2's, in the
paper's proportions (69,000 long inputs and 10,000 long outputs to 326,154 rows of Tulu-v2 and about 2 million
of Infinity-Instruct). fill and fill_bound: tokens over the room of the sequences made, and of the fewest that
any packing could make. seconds_per_million: CPU time to assign. speed_ratio: TRL's time a sample / ours; TRL
packs the first 20,000 lengths (a thousand rows at a time, so its time grows with the rows) as one-byte
tokens, which it copies as it goes; ours assigns all and copies nothing. trl_fill: of those 20,000.
"""

import json
import tempfile
import time

import numpy as np

from selflong.mixture.pack import pack

LENGTH = 262_144
SAMPLES = 1_000_000
TRL_SAMPLES = 20_000
LONG_SHARE = 79_000 / (79_000 + 326_154 + 2_000_000)
LONG_MEAN, LONG_SIGMA = 66_700, 1.0
SHORT_MEDIAN, SHORT_MEAN = 350, 900


def fewest_sequences(tokens: np.ndarray, length: int) -> int:
    """A number of sequences that no packing can go below (Martello and Toth, Knapsack Problems, bound L2).

    For a threshold a: samples above length - a need a sequence each; so do those above length / 2, and what
    these leave is all the room that samples of at least a find in them.
    """
    sizes = np.sort(tokens.astype(np.int64))[::-1]
    if len(sizes) == 0:
        return 0
    sums = np.concatenate([[0], np.cumsum(sizes)])
    ascending = sizes[::-1]

    def above(limit: np.ndarray | float) -> np.ndarray:
        return len(sizes) - np.searchsorted(ascending, limit, side="right")

    thresholds = np.unique(np.concatenate([[0], ascending[ascending <= length // 2]]))
    alone = above(length - thresholds)
    large = above(np.full(len(thresholds), length // 2))
    least = len(sizes) - np.searchsorted(ascending, thresholds, side="left")
    room = (large - alone) * length - (sums[large] - sums[alone])
    small = sums[np.maximum(least, large)] - sums[large]
    return int((large + np.maximum(0, -((room - small) // length))).max())


def lengths_of_the_paper(samples: int, length: int, seed: int) -> np.ndarray:
    """int64 [samples], each from 16 to `length`."""
    rng = np.random.default_rng(seed)
    long = rng.random(samples) < LONG_SHARE
    short_sigma = np.sqrt(2 * np.log(SHORT_MEAN / SHORT_MEDIAN))
    tokens = rng.lognormal(np.log(SHORT_MEDIAN), short_sigma, samples)
    mean_of_logarithm = np.log(LONG_MEAN) - LONG_SIGMA**2 / 2
    tokens[long] = rng.lognormal(mean_of_logarithm, LONG_SIGMA, int(long.sum()))
    return np.clip(tokens.astype(np.int64), 16, length)


def trl(tokens: np.ndarray) -> tuple[float, float]:
    """Seconds and fill of TRL's pack_dataset."""
    import datasets
    import pyarrow as pa
    from trl import pack_dataset

    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(tokens)])
    ids = pa.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1], dtype=np.int8))
    with tempfile.TemporaryDirectory() as folder:
        dataset = datasets.Dataset(pa.table({"input_ids": ids}))
        start = time.process_time()
        packed = pack_dataset(
            dataset, LENGTH, "bfd", map_kwargs={"cache_file_name": f"{folder}/packed.arrow"}
        )
        seconds = time.process_time() - start
        return seconds, float(offsets[-1] / (len(packed) * LENGTH))


def main() -> None:
    tokens = lengths_of_the_paper(SAMPLES, LENGTH, seed=1)
    start = time.process_time()
    sequence = pack(tokens, LENGTH)
    seconds = time.process_time() - start
    trl_seconds, trl_fill = trl(tokens[:TRL_SAMPLES])
    total = int(tokens.sum())
    print(
        json.dumps(
            {
                "fill": round(total / ((int(sequence.max()) + 1) * LENGTH), 5),
                "fill_bound": round(total / (fewest_sequences(tokens, LENGTH) * LENGTH), 5),
                "seconds_per_million": round(seconds * 1e6 / SAMPLES, 2),
                "speed_ratio": round(trl_seconds / TRL_SAMPLES / (seconds / SAMPLES), 1),
                "trl_fill": round(trl_fill, 4),
                "samples": SAMPLES,
                "length": LENGTH,
            }
        )
    )


if __name__ == "__main__":
    main()
