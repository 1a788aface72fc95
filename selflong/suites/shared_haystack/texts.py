"""Texts of shared haystacks: RULER's."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.ruler.generator import suite_sources
from selflong.suites.ruler.texts import texts_of_tasks
from selflong.suites.shared_haystack.section import SharedHaystack


def texts(suite: SharedHaystack, download: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of what needles are hidden in."""
    return texts_of_tasks(suite.tasks, 0, suite_sources(suite.named_files))
