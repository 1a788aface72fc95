"""A question with its answer, as the generator writes both after reading a piece of a document."""

import re
from collections.abc import Set
from dataclasses import replace

from selflong.llm import Answer, Result
from selflong.synthesis.agent import trouble
from selflong.synthesis.quality import TRUNCATED, find_instruction

UNREADABLE = "no question and answer"

_REPLY = re.compile(
    r"^\W*question\s*:[\s*]*(.+?)\s*^\W*answer\s*:[\s*]*(.+)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)


def read_pair(
    result: Result, piece: str, example_names: Set[str] = frozenset()
) -> tuple[tuple[str, str] | None, str]:
    """Question and answer in a reply after reading `piece`, or None and the reason.

    example_names: in the prompt's examples.
    """
    if not isinstance(result, Answer):
        return None, trouble(result)
    if result.finish_reason != "stop":
        return None, TRUNCATED
    found = _REPLY.search(result.text)
    if found is None:
        return None, UNREADABLE
    question, reason = find_instruction(replace(result, text=found[1]), piece, example_names)
    return ((question, found[2].strip()), "") if question else (None, reason)
