"""What every source of documents is to the rest of the project."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from selflong.recipe.section import Licensed

BYTES_PER_TOKEN = 4.6
"""Of English text: FineWeb-Edu's published bytes over its published tokens."""
COMPRESSION = 0.33
"""Parquet with zstd over text, as the documents of the laptop recipe come out."""


@dataclass(frozen=True)
class Size:
    """Of documents, before filters."""

    rows: int
    tokens: int
    bytes: int
    """Of their text."""
    downloaded: int = 0
    """Bytes that the hub sends."""

    def __add__(self, other: "Size") -> "Size":
        return Size(
            self.rows + other.rows, self.tokens + other.tokens, self.bytes + other.bytes,
            self.downloaded + other.downloaded,
        )  # fmt: skip

    def part(self, rows: int) -> "Size":
        """Of so many of the rows, drawn by chance; all are downloaded."""
        share = min(1.0, rows / self.rows)
        return Size(
            min(rows, self.rows), round(self.tokens * share), round(self.bytes * share),
            self.downloaded,
        )  # fmt: skip


class DocumentSection(Licensed, ABC):
    """A source of documents."""

    length_power: ClassVar[float] = -0.5
    """The number of documents falls with their length to this power less one: on the web with -1.5."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the source in tables."""

    @property
    def inputs(self) -> list[Path]:
        """Files of the user's that the source reads."""
        return []

    @property
    def packages(self) -> tuple[str, ...]:
        """Installed packages that it reads."""
        return ()

    @abstractmethod
    def fetch(self, folder: Path, token_variable: str) -> list[Path]:
        """The parquet or JSONL files with the documents; what the source makes or downloads lies in `folder`.

        The hub's access token is read from the environment variable `token_variable`. Raises UserError where
        there is nothing.
        """

    @abstractmethod
    def size(self) -> Size:
        """What is known of the documents before they are fetched."""
