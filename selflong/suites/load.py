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
    shared_tokens: int = 0
    """Of the prompts' tokens those of a beginning that the server has read before."""
    looked_back: float = 0.5
    """How far the tokens that are read look back on average, as a share of the length."""

    @property
    def read_tokens(self) -> int:
        """Of the prompts."""
        return self.prompt_tokens - self.shared_tokens


def supported(lengths: Iterable[int], supports: int | None) -> list[int]:
    """Those of `lengths` that a model is asked at."""
    return [length for length in lengths if supports is None or length <= supports]
