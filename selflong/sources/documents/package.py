"""Documents that an installed Python package carries."""

from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

from selflong.formats import DOCUMENTS, table, write_parquet
from selflong.recipe.section import Positive
from selflong.sources.documents.packages import READERS
from selflong.sources.documents.section import DocumentSection, Size

BYTES_PER_TOKEN = 4.05
"""Of the packages' text by SmolLM2's tokenizer."""


class PackageDocuments(DocumentSection):
    """Documents that an installed Python package carries; `reader` names the function that reads them."""

    length_power: ClassVar[float] = 0.5
    """336 documents between 500 and 3,800 tokens have a mean of 1,806."""

    kind: Literal["package"]
    reader: Literal[tuple(READERS)]  # type: ignore[valid-type]
    """What reads which package."""
    licence: str
    maximum_documents: Positive | None = None
    """The first of its documents alone."""

    @property
    def label(self) -> str:
        return self.reader

    @property
    def packages(self) -> tuple[str, ...]:
        return READERS[self.reader].packages

    def fetch(self, folder: Path, token_variable: str) -> list[Path]:
        read = islice(READERS[self.reader].read(), self.maximum_documents)
        rows = [{**row, "language": "en"} for row in read]
        path = folder / f"{self.reader}.parquet"
        write_parquet(table(rows, DOCUMENTS), path, DOCUMENTS)
        return [path]

    def size(self) -> Size:
        reader = READERS[self.reader]
        kept = min(reader.documents, self.maximum_documents or reader.documents)
        tokens = reader.tokens * kept // reader.documents
        return Size(kept, tokens, round(tokens * BYTES_PER_TOKEN))
