"""The schema of every file that passes between two stages, and the one way to publish a file.

A stage never imports another one: what it hands over is a file described here. A file is written under
a temporary name beside its final one and renamed when it is whole, so a final name never holds half a file.
"""

import csv
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from selflong.integrity import forget, record_file, record_folder
from selflong.job import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROVENANCE = pl.Struct(
    {
        "recipe_digest": pl.String,  # of the part of the recipe that the row depends on
        "prompt": pl.String,  # file name of the prompt
        "prompt_sha256": pl.String,
        "prompt_set_sha256": pl.String,  # of all prompts and rules of the generator's set
        "model": pl.String,
        "model_revision": pl.String,
        "server": pl.String,
        "server_version": pl.String,
        "seed": pl.Int64,
        "request_keys": pl.List(pl.String),
    }
)

# Content comes in parts, so that the role of each token is known after rendering.
MESSAGES = pl.List(
    pl.Struct(
        {
            "role": pl.String,  # system, user, assistant
            "parts": pl.List(
                pl.Struct({"kind": pl.String, "text": pl.String})
            ),  # prompt, document, response
        }
    )
)

# FineWeb-Edu's columns (https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu).
# Its token_count is GPT-2's.
DOCUMENTS = {
    "id": pl.String,
    "text": pl.String,
    "dump": pl.String,
    "url": pl.String,
    "file_path": pl.String,
    "language": pl.String,
    "language_score": pl.Float64,
    "token_count": pl.Int64,
    "score": pl.Float64,
    "int_score": pl.Int64,
}

# Stands beside each shard of documents, row by row in the same order.
TOKEN_COUNTS = {"id": pl.String, "tokens": pl.Int64}

# Stands beside embeddings.npy (float16 [rows, dimensions]), row by row in the same order.
EMBEDDING_IDS = {"id": pl.String}

INSTRUCTIONS = {
    "sample_id": pl.String,
    "family": pl.String,
    "instruction": pl.String,
    "closing": pl.String,  # on form and length: follows the instruction in the sample, null where it has none
    "seed_document_id": pl.String,
    "seed_start": pl.Int64,  # characters of the seed document's text
    "seed_end": pl.Int64,
    "target_tokens": pl.Int64,  # rendered input and the reserve for the answer, in the trained model's tokens
    "reader": pl.String,  # whom the answer is for, its form, its length and how that is said, by
    "form": pl.String,  # their names in the prompt set; null where the set asks for none
    "length": pl.String,
    "answer_words": pl.Int64,
    "provenance": PROVENANCE,
}

# What retrieval found for each sample, best first: enough documents to fill target_tokens. Hard negatives,
# where the recipe wants them, stand before the documents to spare; their scores are the instruction's, too.
RETRIEVED = {
    "sample_id": pl.String,
    "document_ids": pl.List(pl.String),
    "scores": pl.List(pl.Float32),
    "tokens": pl.List(pl.Int64),
}

SUMMARY_STATUSES = ("kept", "irrelevant", "cut", "failed")
SUMMARIES = {
    "summary_id": pl.String,
    "sample_id": pl.String,
    "parents": pl.List(
        pl.String
    ),  # summary ids, or "<document id>#<start>-<end>" in characters at depth 0
    "depth": pl.Int64,
    "text": pl.String,
    "status": pl.Enum(SUMMARY_STATUSES),
    "provenance": PROVENANCE,
}

# Of each long input that was kept: how long its answer is, and where what it says is from. A fact is a figure
# or a name that the instruction does not have.
ANSWERS = {
    "sample_id": pl.String,
    "words": pl.Int64,
    "content_in_documents": pl.Float64,  # share of the answer's content words
    "facts": pl.Int64,
    "facts_in_documents": pl.Int64,
    "facts_in_summaries": pl.Int64,
}

KINDS = ("long_input", "long_output", "short", "pretraining")
SAMPLES = {
    "sample_id": pl.String,
    "kind": pl.Enum(KINDS),
    "source": pl.String,
    "family": pl.String,
    "messages": MESSAGES,
    "document_ids": pl.List(pl.String),
    "tokens": pl.Int64,  # rendered with the target tokenizer's chat template
    "provenance": PROVENANCE,
}

# Of each question over two documents that was kept: what it was composed of.
HOPS = {
    "sample_id": pl.String,
    "question": pl.String,
    "answer": pl.String,  # alone, whatever form the sample's reply has
    "questions": pl.List(pl.String),  # on the first document, on the second one
    "answers": pl.List(pl.String),  # to each; the first one is what the second question is about
    "document_ids": pl.List(pl.String),
}

# One row per reason for which a stage left something out, or kept it ("kept").
DROPS = {"source": pl.String, "reason": pl.String, "rows": pl.Int64, "tokens": pl.Int64}


class TokenRole(IntEnum):
    """What a packed token is; the loss policy turns roles into targets at training time."""

    TEMPLATE = 0
    SYSTEM = 1
    PROMPT = 2
    DOCUMENT = 3
    RESPONSE = 4
    END = 5  # the token that ends a response


# What became of a mixture's sources in one stage: one row per source. Each dropped row has one reason:
# rows_in = kept + all dropped. A sample counts in `samples` and `tokens` as often as one pass trains on it.
ACCOUNTING = {
    "mixture": pl.String,
    "stage": pl.String,
    "source": pl.String,  # name of the mixture's entry
    "kind": pl.Enum(KINDS),
    "rows_in": pl.Int64,
    "dropped": pl.List(pl.Struct({"reason": pl.String, "rows": pl.Int64, "tokens": pl.Int64})),
    "kept": pl.Int64,
    "samples": pl.Int64,
    "tokens": pl.Int64,
    "loss_tokens": pl.Int64,
    "share": pl.Float64,  # of the stage's tokens
    # How many samples have at least `length` tokens and fewer than the next one's `length`.
    "lengths": pl.List(pl.Struct({"length": pl.Int64, "samples": pl.Int64})),
}

# One row per sample of a mixture and text of the evaluation that share an n-gram.
CONTAMINATION = {
    "source": pl.String,
    "sample_id": pl.String,
    "suite": pl.String,
    "name": pl.String,
    "shared_ngrams": pl.Int64,
    "share": pl.Float64,  # of the evaluation text's n-grams
    "excerpt": pl.String,
    "removed": pl.Boolean,
}

# One row per document of a corpus and text of the evaluation that share an n-gram.
CORPUS_OVERLAPS = {
    "source": pl.String,
    "document_id": pl.String,
    "suite": pl.String,
    "name": pl.String,
    "shared_ngrams": pl.Int64,
    "share": pl.Float64,  # of the evaluation text's n-grams
    "excerpt": pl.String,
}

# A packed folder holds input_ids.npy (uint32 [tokens]), roles.npy (uint8 [tokens]) and this table.
SEQUENCES = {
    "sequence_id": pl.Int64,
    "offset": pl.Int64,  # first token in input_ids.npy
    "tokens": pl.Int64,
    "document_bounds": pl.List(
        pl.Int64
    ),  # 0, ..., tokens: the packed samples; attention stays inside each
    "sample_ids": pl.List(pl.String),
    "kinds": pl.List(pl.Enum(KINDS)),
}

PREDICTIONS = {
    "suite": pl.String,
    "model": pl.String,  # <model>/<stage>
    "task": pl.String,
    "length": pl.Int64,  # tokens asked for
    "index": pl.Int64,
    "depth": pl.Float64,  # share of the context before the first needle; null where it has no meaning
    "prompt": pl.String,
    "prompt_tokens": pl.Int64,
    "answers": pl.List(pl.String),
    "prediction": pl.String,  # what is scored
    "reasoning": pl.String,  # what the model thought before, which is not; null where nothing is told apart
    "completion_tokens": pl.Int64,  # of both
    "score": pl.Float64,  # 0 to 1
    "precision": pl.String,  # of the weights that answered; null where nobody says it
    "request_key": pl.String,
}

# What the means are made of; a million tokens of prompt are read by nobody then.
SCORED = {
    name: PREDICTIONS[name]
    for name in ("suite", "model", "task", "length", "index", "depth", "score")
}

# Text of the evaluation's own sources (questions, haystacks), for the overlap with the training data.
EVALUATION_TEXTS = {"suite": pl.String, "name": pl.String, "text": pl.String}

# Means over predictions. Null depth: over all depths; task MEAN_OF_TASKS: mean of the tasks' means.
MEAN_OF_TASKS = "mean"
SCORES = {
    "suite": pl.String,
    "model": pl.String,  # <model>/<stage>
    "task": pl.String,
    "length": pl.Int64,
    "depth": pl.Float64,
    "mean": pl.Float64,  # 0 to 1, as low and high: the 95% interval by bootstrap over samples
    "low": pl.Float64,
    "high": pl.Float64,
    "samples": pl.Int64,
    "files": pl.List(pl.String),  # of the predictions, relative to the folder of the results
}


class PackedFiles:
    """Names inside a packed folder."""

    INPUT_IDS = "input_ids.npy"
    ROLES = "roles.npy"
    SEQUENCES = "sequences.parquet"
    VOCABULARY = "vocabulary.json"
    """Digest of the vocabulary that the ids belong to; none where the ids are no tokenizer's."""


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{ending}")


def _clear_up(path: Path) -> None:
    """Remove what processes that were killed left beside `path`; put back what they had moved aside."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        writer, _, ending = left.name.removeprefix(f".{path.name}.").partition(".")
        if not writer.isdigit() or Path(f"/proc/{writer}").exists():
            continue
        if ending == "replaced" and not path.exists():
            left.rename(path)
        elif ending in ("partial", "replaced"):
            remove(left)


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, else remove it.

    A folder made in the block replaces a folder of that name, which is moved aside until the new one stands
    in its place: whenever the process is killed, one of them is whole. Its digest is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_up(path)
    partial, replaced = _beside(path, "partial"), _beside(path, "replaced")
    remove(partial)
    try:
        yield partial
        if partial.is_dir() and not partial.is_symlink():
            record_folder(partial)
        if partial.is_dir() and path.is_dir():
            path.rename(replaced)
        if not partial.is_dir():
            forget(path)
        partial.replace(path)
    except BaseException:
        if replaced.exists() and not path.exists():
            replaced.rename(path)
        remove(partial)
        raise
    remove(replaced)
    # A folder that is not whole yet records its files when it is.
    if path.is_file() and not path.parent.name.endswith(".partial"):
        record_file(path)


def publish_folder(work: Path, path: Path) -> None:
    """Move a folder that became whole under `work` to its final name, on another file system too."""
    with publish(path) as partial:
        shutil.move(work, partial)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check(frame: pl.DataFrame, schema: Mapping[str, Any], place: str) -> pl.DataFrame:
    """`frame` with its columns in the schema's order; UserError where a column or its type differs."""
    missing = [name for name in schema if name not in frame.columns]
    if missing:
        raise UserError(f"{place}: column {missing[0]!r} is missing; it must hold {sorted(schema)}")
    for name, dtype in schema.items():
        if frame.schema[name] != dtype:
            raise UserError(f"{place}: column {name!r} is {frame.schema[name]}, it must be {dtype}")
    return frame.select(list(schema))


def table(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Rows as a frame of the schema; a key that the schema lacks is an error, a missing one is null."""
    unknown = {name for row in rows for name in row} - set(schema)
    if unknown:
        raise ValueError(f"rows hold {sorted(unknown)}, which the schema lacks")
    return pl.DataFrame(rows, schema=dict(schema), orient="row")


def write_parquet(frame: pl.DataFrame, path: Path, schema: Mapping[str, Any]) -> None:
    """Publish `frame` as parquet after checking it against `schema`."""
    whole = check(frame, schema, str(path))
    with publish(path) as partial:
        whole.write_parquet(partial, compression="zstd")


@contextmanager
def parquet_writer(
    path: Path, schema: Mapping[str, Any], group_rows: int = 1
) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield what appends a frame to a parquet file, which appears as `path` when the block ends well.

    Frames wait for each other until they make up a row group of `group_rows` at least.
    """
    import pyarrow.parquet as pq  # few jobs write row by row, and its import takes long

    oldest = pl.CompatLevel.oldest()
    arrow = pl.DataFrame(schema=dict(schema)).to_arrow(compat_level=oldest).schema
    waiting: list[pl.DataFrame] = []
    with publish(path) as partial, pq.ParquetWriter(partial, arrow, compression="zstd") as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pl.concat(waiting).to_arrow(compat_level=oldest))
                waiting.clear()

        def append(frame: pl.DataFrame) -> None:
            waiting.append(check(frame, schema, str(path)))
            if sum(map(len, waiting)) >= group_rows:
                flush()

        yield append
        flush()


def read_parquet(path: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Read the columns of `schema` from a parquet file and check them against it."""
    if not path.exists():
        raise UserError(f"{path} does not exist: run the stage that makes it first")
    try:
        present = pl.read_parquet_schema(path)
        columns = [name for name in schema if name in present]
        frame = pl.read_parquet(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError, ValueError):
        raise UserError(
            f"{path} is no readable parquet file: remove it and make it again"
        ) from None
    return check(frame, schema, str(path))


def read_parquets(paths: Iterable[Path], schema: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of several files of `schema`, one file after the other; none where there is no file."""
    return pl.concat([table([], schema), *(read_parquet(path, schema) for path in paths)])


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; UserError where the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run the stage that makes it first") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object in UTF-8: fetch it, or make it, again")
    return content


def new_array(path: Path, dtype: type, shape: tuple[int, ...]) -> "np.memmap[Any, Any]":
    """A new array in a file, mapped; OSError where the disk does not hold it.

    Its space is taken at once: where a disk fills up behind a mapping the process dies by a signal.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("rb+") as stream:
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


def read_array(
    path: Path, dtype: type, dimensions: int = 1, *, rows: bool = True
) -> "NDArray[Any]":
    """An array of so many dimensions, memory-mapped; UserError where the file holds none of this type.

    rows: whether it has any; an empty one cannot be mapped. Writing changes the copy in memory alone.
    """
    import numpy as np  # most jobs read no array, and its import takes time

    try:
        # torch does not take what is for reading alone.
        values = np.load(path, mmap_mode="c" if rows else None)
    except Exception:  # numpy reads the header as Python, which has many ways to be wrong
        values = None
    if values is None or values.dtype != dtype or values.ndim != dimensions:
        raise UserError(
            f"{path} holds no array of {dtype.__name__} in {dimensions} dimension(s): remove what it lies "
            "in, and make it again"
        )
    return values


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; UserError where a line is none."""
    with path.open("rb") as stream:
        lines = list(stream)
    try:
        rows = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        rows = [None]
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} holds a line that is no JSON object: remove it and make it again")
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table that stands beside the code; lines that begin with # are remarks."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def write_json(value: Any, path: Path) -> None:
    """Publish `value` as JSON, keys in order."""
    with publish(path) as partial:
        partial.write_text(
            json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def write_text(text: str, path: Path) -> None:
    """Publish `text`."""
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")


def digest(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
