"""A disk that fills up while something is written: one sentence, nothing torn, and a rerun that is whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from selflong.formats import (
    new_array,
    parquet_writer,
    publish,
    read_parquet,
    write_json,
    write_parquet,
    write_text,
)
from selflong.job import UserError, disk_errors_as_sentences
from selflong.llm import Answer, Cache
from tests.small_disk import FILLER, fill, small_disk

SCHEMA = {"value": pl.Float64}
NUMBERS = np.random.default_rng(1).random(20_000)
KEYS = [bytes([number]) * 32 for number in range(40)]


def answer(key: bytes) -> Answer:
    return Answer(key.hex(), key.hex() * 30, 1, 2, "stop")


def rows(path: Path) -> None:
    with parquet_writer(path, SCHEMA) as append:
        for part in np.split(NUMBERS, 10):
            append(pl.DataFrame({"value": part}))


def folder_of(write: Callable[[Path], object]) -> Callable[[Path], None]:
    def published(path: Path) -> None:
        with publish(path) as partial:
            partial.mkdir()
            write(partial / "file")

    return published


def cache(folder: Path) -> None:
    with Cache(folder) as stored:
        for key in KEYS:
            if key not in stored:
                stored.put(key, answer(key))


def index(path: Path) -> None:
    made = faiss.IndexFlatL2(8)
    made.add(NUMBERS[:16_000].reshape(-1, 8).astype(np.float32))
    faiss.write_index(made, str(path))


WRITES: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text("x" * 150_000, path),
    "JSON": lambda path: write_json(NUMBERS[:9000].tolist(), path),
    "parquet": lambda path: write_parquet(pl.DataFrame({"value": NUMBERS}), path, SCHEMA),
    "parquet, row by row": rows,
    "an array": folder_of(lambda path: np.save(path.with_suffix(".npy"), NUMBERS)),
    "a mapped array": folder_of(lambda path: new_array(path, np.float64, NUMBERS.shape)),
    "tensors": folder_of(lambda path: save_file({"a": NUMBERS}, path)),
    "an index": folder_of(index),
    "answers": cache,
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.parametrize("name", WRITES)
def test_what_does_not_fit_is_a_sentence_and_fits_later(disk: Path, name: str) -> None:
    path, write = disk / "made", WRITES[name]
    fill(disk, 8192 + 50_000)
    with pytest.raises(UserError) as mistake, disk_errors_as_sentences():
        write(path)
    assert "No space left on device" in str(mistake.value)
    assert "\n" not in str(mistake.value)
    if name != "answers":
        assert not path.exists()
        assert [left.name for left in disk.iterdir()] == [FILLER]
    (disk / FILLER).unlink()
    write(path)
    if name.startswith("parquet"):
        assert read_parquet(path, SCHEMA)["value"].to_list() == NUMBERS.tolist()
    if name == "answers":
        with Cache(path) as stored:
            assert [stored.get(key) for key in KEYS] == [answer(key) for key in KEYS]
