"""Rows of a downloaded benchmark, and the length that each counts at."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.suites.stored_rows import length_of, may_be_of, parquet_rows

LENGTHS = [2**power for power in range(12, 21)]


def test_rows_come_in_the_order_of_the_files_wherever_they_lie(tmp_path: Path) -> None:
    for name, values in {"b/1.parquet": [3], "b/0.parquet": [1, 2]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pl.DataFrame({"value": values, "other": 0}).write_parquet(tmp_path / name)
    assert [row["value"] for row in parquet_rows(tmp_path, ["value"])] == [1, 2, 3]
    with pytest.raises(UserError, match=r"0\.parquet: column 'prompt' is missing"):
        next(parquet_rows(tmp_path, ["prompt"]))


def test_a_download_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no parquet file"):
        next(parquet_rows(tmp_path, ["prompt"]))


@settings(deadline=None)
@given(st.integers(0, 2**21), st.lists(st.sampled_from(LENGTHS), min_size=1, unique=True))
def test_a_length_holds_the_tokens_of_its_upper_half(tokens: int, lengths: list[int]) -> None:
    holding = [length for length in lengths if length / 2 < tokens <= length]
    assert length_of(tokens, lengths) == (holding[0] if holding else None)


@settings(deadline=None)
@given(st.integers(1, 2**20), st.floats(1, 8))
def test_what_has_a_length_is_not_ruled_out_by_its_characters(tokens: int, ratio: float) -> None:
    if length_of(tokens, LENGTHS) is not None:
        assert may_be_of(int(tokens * ratio), LENGTHS)
