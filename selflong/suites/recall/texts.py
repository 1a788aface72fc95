"""The suite on recall draws sequences of a made language: it asks about no text."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.recall.section import RecallSuite


def texts(suite: RecallSuite, download: Path | None) -> Iterator[tuple[str, str]]:
    """None."""
    return iter(())
