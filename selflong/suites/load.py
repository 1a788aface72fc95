"""What a suite asks of one model, as the estimate counts it."""

from collections.abc import Iterable
from dataclasses import dataclass

ANSWERED_SHARE = 0.36
"""Tokens of an answer over those that it may have: three checkpoints on the laptop recipe's suites."""


@dataclass(frozen=True)
class Load:
    """Requests of one length."""

    length: int
    """Tokens of a request with its answer."""
    requests: int
    prompt_tokens: int
    answer_tokens: int
    """Expected: most answers end before they must."""


def supported(lengths: Iterable[int], supports: int | None) -> list[int]:
    """Those of `lengths` that a model is asked at."""
    return [length for length in lengths if supports is None or length <= supports]
