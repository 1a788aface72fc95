"""What the published RULER sets ask about: the texts of RULER's tasks."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.ruler.generator import packaged_sources
from selflong.suites.ruler.texts import texts_of_tasks

QUESTIONS = 500
"""Of each question task."""


def texts(suite: PublishedRulerSuite, download: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of what the sets ask about."""
    return texts_of_tasks(suite.asked_tasks, QUESTIONS, packaged_sources())
