"""What the generator's word about a chunk counts as."""

import pytest

from selflong.synthesis.summaries import read_summary

NOTHING_OF_USE = "[Document 1] IRRELEVANT\n[Document 2]: irrelevant."


@pytest.mark.parametrize(
    ("text", "finish_reason", "expected"),
    [
        ("Grain was dear.", "stop", ("Grain was dear.", "kept")),
        ("Irrelevant.", "stop", ("Irrelevant.", "irrelevant")),
        ("", "stop", ("", "irrelevant")),
        ("Grain was dear. Timber w", "length", ("Grain was dear.", "cut")),
        ("Grain was dear. Timber w", "content_filter", ("Grain was dear.", "cut")),
        ("Grain w", "content_filter", ("Grain w", "cut")),
        ("", "length", ("nothing was said (length)", "failed")),
        (" ", "no content", ("nothing was said (no content)", "failed")),
        ("", "tool_calls", ("nothing was said (tool_calls)", "failed")),
        (NOTHING_OF_USE, "stop", (NOTHING_OF_USE, "irrelevant")),
        (
            f"{NOTHING_OF_USE}\nGrain was dear. [Document 3]",
            "stop",
            ("Grain was dear. [Document 3]", "kept"),
        ),
        ("[Document 7]", "stop", ("[Document 7]", "irrelevant")),
        (
            "Document 1\n[Document 2], [Document 3]",
            "length",
            ("Document 1\n[Document 2], [Document 3]", "irrelevant"),
        ),
        (
            "Grain was dear.\n\nTimber was not.",
            "stop",
            ("Grain was dear.\n\nTimber was not.", "kept"),
        ),
    ],
)
def test_only_a_whole_answer_is_kept_whole(
    text: str, finish_reason: str, expected: tuple[str, str]
) -> None:
    assert read_summary(text, finish_reason) == expected
