"""Files that pass between stages: whole or absent, and of their schema."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from selflong import formats
from selflong.job import UserError

SCHEMA = {"id": pl.String, "tokens": pl.Int64}


def test_parquet_comes_back_as_it_was(tmp_path: Path) -> None:
    frame = pl.DataFrame({"tokens": [1, None], "id": ["a", "b"]}, schema_overrides=SCHEMA)
    formats.write_parquet(frame, tmp_path / "deep" / "rows.parquet", SCHEMA)
    back = formats.read_parquet(tmp_path / "deep" / "rows.parquet", SCHEMA)
    assert back.columns == ["id", "tokens"]
    assert back.equals(frame.select("id", "tokens"))


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": ["a"] * 1000, "tokens": range(1000)}, schema=SCHEMA)
    for name in ("one", "two"):
        formats.write_parquet(frame, tmp_path / name, SCHEMA)
    assert formats.file_sha256(tmp_path / "one") == formats.file_sha256(tmp_path / "two")


@pytest.mark.parametrize(
    "frame, message",
    [
        (pl.DataFrame({"id": ["a"]}), "column 'tokens' is missing"),
        (
            pl.DataFrame({"id": ["a"], "tokens": [1.5]}),
            "column 'tokens' is Float64, it must be Int64",
        ),
    ],
)
def test_another_schema_is_refused_and_nothing_is_written(
    tmp_path: Path, frame: pl.DataFrame, message: str
) -> None:
    path = tmp_path / "rows.parquet"
    with pytest.raises(UserError, match=message):
        formats.write_parquet(frame, path, SCHEMA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group_rows, groups", [(1, 4), (4, 2), (100, 1)])
def test_frames_are_written_in_row_groups(tmp_path: Path, group_rows: int, groups: int) -> None:
    path = tmp_path / "rows.parquet"
    frames = [pl.DataFrame({"id": ["a", "b"], "tokens": [n, n]}, schema=SCHEMA) for n in range(4)]
    with formats.parquet_writer(path, SCHEMA, group_rows) as append:
        for frame in frames:
            append(frame)
        assert not path.exists()
    assert formats.read_parquet(path, SCHEMA).equals(pl.concat(frames))
    assert parquet.read_metadata(path).num_row_groups == groups


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: run the stage"):
        formats.read_parquet(tmp_path / "rows.parquet", SCHEMA)


def test_rows_with_unknown_keys_are_an_error() -> None:
    with pytest.raises(ValueError, match="tokns"):
        formats.table([{"id": "a", "tokns": 1}], SCHEMA)
    assert formats.table([{"id": "a"}], SCHEMA).row(0) == ("a", None)


def test_every_schema_makes_a_table() -> None:
    schemas = [
        value
        for value in vars(formats).values()
        if isinstance(value, dict) and value and all(isinstance(key, str) for key in value)
    ]
    assert len(schemas) >= 10
    for schema in schemas:
        if all(isinstance(kind, pl.DataType | type(pl.String)) for kind in schema.values()):
            assert formats.table([], schema).schema == pl.Schema(schema)


def _write_half(path: Path) -> None:
    with formats.publish(path) as partial:
        partial.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    formats.write_text("old", path)
    process = multiprocessing.get_context("fork").Process(target=_write_half, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with formats.publish(tmp_path / "file") as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import os, sys
from pathlib import Path
from selflong import formats

calls = 0

def count(event, arguments):
    # Die just before the chosen call that renames or removes something.
    global calls
    if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
        calls += 1
        if calls == int(sys.argv[2]):
            os._exit(9)

path = Path(sys.argv[1])
with formats.publish(path) as partial:
    partial.mkdir()
    (partial / "new").write_text("new")
    sys.addaudithook(count)
"""


@pytest.mark.parametrize("death", range(1, 8))
def test_a_folder_that_is_replaced_is_lost_at_no_moment(tmp_path: Path, death: int) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    child = subprocess.run([sys.executable, "-c", INTERRUPTED, str(path), str(death)], check=False)
    formats._clear_up(path)
    assert {file.name for file in path.iterdir()} - {".xxh3"} in ({"old"}, {"new"})
    assert [place.name for place in tmp_path.iterdir()] == ["folder"]
    assert child.returncode == (9 if death <= 5 else 0)


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(OSError), formats.publish(path) as partial:
        partial.mkdir()
        (tmp_path / f".folder.{os.getpid()}.replaced").write_text("in the way")
    assert [file.name for file in path.iterdir()] == ["old"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with formats.publish(tmp_path / "folder") as partial:
            partial.mkdir()
            np.save(partial / f"{name}.npy", np.arange(3))
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert names == {"new.npy", ".xxh3"}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
def test_a_digest_survives_json_and_the_order_of_keys(value: object) -> None:
    def reversed_keys(item: object) -> object:
        if isinstance(item, dict):
            return {key: reversed_keys(item[key]) for key in reversed(item)}
        return [reversed_keys(inner) for inner in item] if isinstance(item, list) else item

    again = json.loads(json.dumps(reversed_keys(value)))
    assert formats.digest(again) == formats.digest(value)


@given(values, values)
def test_other_values_have_other_digests(first: object, second: object) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (formats.digest(first) == formats.digest(second)) == same
