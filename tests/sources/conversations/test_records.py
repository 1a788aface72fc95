"""Conversations in files: what is read, what is rejected with a reason, what ends with a sentence."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.sources.conversations.folder import FolderConversations
from selflong.sources.conversations.records import messages
from selflong.sources.conversations.rows import Conversation, Rejected, Row
from selflong.tokens import message

USER = {"role": "user", "content": "Where?"}
ANSWER = {"role": "assistant", "content": "There."}
READ = [message("user", "Where?"), message("assistant", "There.")]


def rows_of(path: Path, files: str = "*") -> list[Row]:
    source = FolderConversations(kind="folder", path=path, files=files)
    return [
        row
        for chunk in source.chunks(source.input_files([path]))
        for row in source.read("chats", chunk)
    ]


def written(folder: Path, *values: Any) -> list[Row]:
    lines = "".join(json.dumps({"messages": value}) + "\n" for value in values)
    (folder / "a.jsonl").write_text(lines)
    return rows_of(folder)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([USER, ANSWER], READ),
        ([USER, ANSWER, USER], READ),
        (json.dumps([USER, ANSWER]), READ),
        ({"role": ["user", "assistant"], "content": ["Where?", "There."]}, READ),
        ([USER, ANSWER | {"content": [{"type": "text", "text": "There."}]}], READ),
        (
            [USER | {"content": "bad \ud83d end"}, ANSWER],
            [message("user", "bad \ufffd end"), READ[1]],
        ),
        ([None], "no_conversation"),
        ("text", "no_conversation"),
        (["text"], "no_conversation"),
        (7, "no_conversation"),
        ({"role": "user"}, "no_conversation"),
        ({"role": ["user"], "content": []}, "no_conversation"),
        ("[" * 100_000, "no_conversation"),
        ([{"role": ["user"], "content": "x"}], "unknown_role"),
        ([{"role": "tool", "content": "x"}], "unknown_role"),
        ([{"content": "x"}], "unknown_role"),
        ([USER | {"content": None}], "empty_message"),
        ([USER | {"content": [{"type": "image"}]}], "empty_message"),
        (None, "no_response"),
        ([], "no_response"),
        ([USER], "no_response"),
    ],
)
def test_a_row_is_read_or_rejected_with_a_reason(tmp_path: Path, value: Any, expected: Any) -> None:
    (row,) = written(tmp_path, value)
    if isinstance(expected, str):
        assert row == Rejected("chats/a:0", "short", expected)
    else:
        assert row == Conversation("chats/a:0", "short", expected)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=JSON)
@settings(deadline=None)
def test_no_value_is_a_traceback(value: Any) -> None:
    found = messages(value, "messages")
    assert isinstance(found, str) or found[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"messages": [', "line 2 is not JSON"),
        (b'{"messages": "caf\xe9"}', "line 2 is not UTF-8"),
        (b"[1]", "line 2 must hold an object"),
        (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 2 is nested too deeply"),
        (b'{"text": 1}', "column 'messages' is missing"),
    ],
)
def test_a_damaged_line_is_named_in_a_sentence(tmp_path: Path, line: bytes, sentence: str) -> None:
    first = json.dumps({"messages": [USER, ANSWER]}).encode()
    (tmp_path / "a.jsonl").write_bytes(first + b"\n" + line + b"\n")
    with pytest.raises(UserError, match=sentence) as caught:
        rows_of(tmp_path)
    assert "a.jsonl" in str(caught.value)


def test_a_damaged_page_is_named_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [[USER, ANSWER | {"content": f"{number} " * 50}] for number in range(500)]
    pl.DataFrame({"messages": rows}).write_parquet(path)
    whole = bytearray(path.read_bytes())
    whole[200:400] = bytes(200)
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"a\.parquet is no readable parquet file"):
        rows_of(tmp_path)


def test_a_file_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    line = json.dumps({"messages": [USER, ANSWER]}).encode() + b"\n"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")).write_bytes(line)
    (row,) = rows_of(tmp_path)
    assert row.sample_id == "chats/caf\ufffd:0"


def test_a_json_file_is_a_list_of_records(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"messages": [USER, ANSWER]}, {"messages": []}]))
    first, second = rows_of(tmp_path)
    assert isinstance(first, Conversation) and first.messages == READ
    assert isinstance(second, Rejected)
    path.write_text("{}")
    with pytest.raises(UserError, match="must hold a list of objects"):
        rows_of(tmp_path)
    path.write_text("[")
    with pytest.raises(UserError, match="is not JSON"):
        rows_of(tmp_path)
