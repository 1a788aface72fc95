"""What the needle grid asks about, in RULER's essays (`selflong.suites.ruler.generator`)."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.needle_grid.prompts import wording_of
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.ruler.generator.sources import haystack_text, suite_sources


def texts(suite: NeedleGrid, download: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of the haystack, the needle and the question."""
    wording = wording_of(suite)
    yield "essays", haystack_text(suite_sources(suite.named_files).essays)
    yield "needle", wording.needle
    yield "question", wording.question
