"""The cache survives kills at any byte, damage and many writers."""

import hashlib
import multiprocessing
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.llm import Answer, Cache, Refusal


def key_of(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def answer(name: object, text: str = "text") -> Answer:
    return Answer(key_of(name).hex(), text, 3, 2, "stop")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
token_ids = st.none() | st.lists(st.integers(0, 200_000), max_size=5).map(tuple)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(texts, token_ids, st.booleans()), max_size=8))
def test_everything_stored_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, results: list[tuple[str, tuple[int, ...], bool]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    stored: dict[bytes, Answer | Refusal] = {}
    with Cache(folder) as cache:
        for number, (text, ids, refused) in enumerate(results):
            key = key_of(number)
            stored[key] = (
                Refusal(key.hex(), text, 400)
                if refused
                else Answer(key.hex(), text, 7, 11, "length", ids)
            )
            cache.put(key, stored[key])
            assert cache.get(key) == stored[key]
    with Cache(folder) as cache:
        assert len(cache) == len(stored)
        assert {key: cache.get(key) for key in stored} == stored
        answered = sum(isinstance(result, Answer) for result in stored.values())
        assert (cache.prompt_tokens, cache.completion_tokens) == (7 * answered, 11 * answered)


def test_a_write_cut_at_any_byte_loses_that_answer_alone(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        cache.put(key_of(1), answer(1))
        whole_size = next(tmp_path.glob("*.segment")).stat().st_size
        cache.put(key_of(2), answer(2))
    (segment,) = tmp_path.glob("*.segment")
    content = segment.read_bytes()
    for size in range(whole_size, len(content)):
        segment.write_bytes(content[:size])
        with Cache(tmp_path) as cache:
            assert cache.get(key_of(1)) == answer(1)
            assert cache.get(key_of(2)) is None


def test_after_a_torn_write_the_next_process_goes_on(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        cache.put(key_of(1), answer(1))
        cache.put(key_of(2), answer(2))
    (segment,) = tmp_path.glob("*.segment")
    os.truncate(segment, segment.stat().st_size - 1)
    with Cache(tmp_path) as cache:
        cache.put(key_of(2), answer(2))
    with Cache(tmp_path) as cache:
        assert cache.get(key_of(1)) == answer(1)
        assert cache.get(key_of(2)) == answer(2)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_byte_never_gives_a_wrong_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with Cache(folder) as cache:
        for number in range(3):
            cache.put(key_of(number), answer(number, f"answer {number}"))
    (segment,) = folder.glob("*.segment")
    content = bytearray(segment.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    segment.write_bytes(content)
    with Cache(folder) as cache:
        found = [cache.get(key_of(number)) for number in range(3)]
    right = [answer(number, f"answer {number}") for number in range(3)]
    assert sum(one == other for one, other in zip(found, right, strict=True)) == 2
    assert found.count(None) == 1


def test_damage_behind_the_back_of_an_open_cache_is_found_too(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        cache.put(key_of(1), answer(1))
        cache.put(key_of(2), answer(2))
        (segment,) = tmp_path.glob("*.segment")
        content = segment.read_bytes()
        segment.write_bytes(content.replace(b"text", b"Text", 1))
        assert cache.get(key_of(1)) is None
        assert key_of(1) not in cache
        assert cache.get(key_of(2)) == answer(2)


@pytest.mark.parametrize("text", [["a", "list"], "half of a character \ud83d", None])
def test_what_an_earlier_version_stored_unchecked_is_asked_again_once(
    tmp_path: Path, text: Any
) -> None:
    with Cache(tmp_path) as cache:
        cache.put(key_of(1), answer(1, text))
    with Cache(tmp_path) as cache:
        assert cache.get(key_of(1)) is None
        cache.put(key_of(1), answer(1, "right"))
        assert cache.get(key_of(1)) == answer(1, "right")
    for _ in range(2):
        with Cache(tmp_path) as cache:
            assert cache.get(key_of(1)) == answer(1, "right")


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.segment").write_text("not ours")
    (tmp_path / "000007.segment").write_bytes(b"")
    with Cache(tmp_path) as cache:
        cache.put(key_of(1), answer(1))
    assert (tmp_path / "000008.segment").exists()


def test_a_folder_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be read"):
        Cache(tmp_path / "file")


def _write(folder: Path, writer: int, count: int) -> None:
    with Cache(folder) as cache:
        for number in range(count):
            cache.put(key_of((writer, number)), answer((writer, number)))


def test_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, writer, 200)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    with Cache(tmp_path) as cache:
        assert len(cache) == 600
        for writer in range(3):
            for number in range(200):
                assert cache.get(key_of((writer, number))) == answer((writer, number))


def test_the_first_of_two_answers_stands_for_every_reader(tmp_path: Path) -> None:
    with Cache(tmp_path) as first, Cache(tmp_path) as second:
        first.put(key_of(1), answer(1, "first"))
        second.put(key_of(1), answer(1, "second"))
    for _ in range(2):
        with Cache(tmp_path) as cache:
            stored = cache.get(key_of(1))
            assert isinstance(stored, Answer)
            assert stored.text == "first"
            assert cache.prompt_tokens == 6  # both were paid for


def test_opening_without_storing_leaves_no_file(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        assert cache.get(key_of(1)) is None
    assert list(tmp_path.iterdir()) == []


def _fill_until_full(folder: Path) -> None:
    # The file-size limit stands for the full disk: write() stops in mid-record just the same.
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
    with Cache(folder) as cache:
        cache.put(key_of(1), answer(1))
        with pytest.raises(UserError, match="make room"):
            cache.put(key_of(2), answer(2, "x" * 6_000))
        cache.put(key_of(3), answer(3))


def test_a_full_disk_is_said_and_harms_no_other_answer(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_fill_until_full, args=(tmp_path,)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    with Cache(tmp_path) as cache:
        assert cache.get(key_of(1)) == answer(1)
        assert cache.get(key_of(2)) is None
        assert cache.get(key_of(3)) == answer(3)
