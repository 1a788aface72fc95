"""Long work says where it stands in one form, once a minute."""

import logging

import pytest

from selflong.llm import Usage
from selflong.llm.progress import Progress as RequestProgress
from selflong.progress import Progress, state


def test_a_state_says_what_how_many_how_fast_and_how_long_yet() -> None:
    assert state("corpus", "documents", 1500, 4000, 10) == (
        "corpus: 1,500 of 4,000 documents, 150 documents/s, 0:00:17 left"
    )
    assert state("full/1k", "steps", 3, 7, 8000, "loss 2.5") == (
        "full/1k: 3 of 7 steps, 0.000375 steps/s, loss 2.5, 2:57:47 left"
    )
    assert state("lines", "documents", 30, None, 10) == "lines: 30 documents, 3 documents/s"


def test_what_was_there_before_makes_nothing_faster() -> None:
    assert state("rows", "chunks", 12, 20, 4, before=10) == (
        "rows: 12 of 20 chunks, 0.5 chunks/s, 0:00:16 left"
    )


def test_a_line_a_minute_without_a_terminal_and_one_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr("selflong.progress.time.monotonic", lambda: now)
    progress, requests = Progress("rows", "chunks", 400), RequestProgress("m", Usage(answered=1))
    for second in range(1, 301):
        now = float(second)
        progress.advance()
        requests.show()
    assert [line.partition(":")[0] for line in caplog.messages] == ["rows", "m"] * 5
    progress.close()
    assert caplog.messages[-1] == "rows: 300 of 400 chunks, 1 chunks/s, 0:01:40 left"
