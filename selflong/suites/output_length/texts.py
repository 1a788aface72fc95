"""What the suite on output length asks about."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.output_length.prompts import TOPICS
from selflong.suites.output_length.section import OutputLength


def texts(suite: OutputLength, download: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of each topic."""
    for topic in TOPICS:
        yield "topic", topic
