"""What every source of conversations is to the rest of the project."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.recipe.section import Download, External, Positive, Repository, Revision
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION

if TYPE_CHECKING:
    from selflong.sources.conversations.rows import Chunk, Row


@dataclass(frozen=True)
class Size:
    """Of a source, before anything is left out."""

    rows: int
    tokens: int


def size_of_files(paths: Iterable[Path], tokens_per_row: int) -> Size:
    """That of files whose rows nobody has counted."""
    text = sum(path.stat().st_size for path in paths) / COMPRESSION
    tokens = max(1, round(text / BYTES_PER_TOKEN))
    return Size(max(1, tokens // tokens_per_row), tokens)


@dataclass(frozen=True)
class Synthesised:
    """What the synthesis makes for a source."""

    generator: str
    samples: str
    """long_input, long_output, document_tasks or multi_hop"""
    instruction_position: str | None = None
    """Where the instruction is moved to from before the documents."""
    family: str | None = None
    """Of document_tasks those alone."""


class ConversationSection(External, ABC):
    """A source of what a mixture trains on."""

    @property
    def samples_kind(self) -> str:
        """The kind of its samples (formats.KINDS)."""
        return "short"

    @property
    def synthesised(self) -> Synthesised | None:
        """Where the synthesis makes its rows."""
        return None

    @property
    def tokenised_for(self) -> list[str]:
        """Models whose tokenizer made its rows, where they are tokens already; another one is refused."""
        return []

    @property
    def vocabulary(self) -> int | None:
        """How many token ids its rows are made of, where those stand for no text; None where it is text."""
        return None

    @property
    def of_corpus(self) -> str | None:
        """The corpus of the recipe whose documents its rows are."""
        return None

    @property
    def mean_document(self) -> int | None:
        """Tokens of a document inside of a row, which may hold several; None where a row is one."""
        return None

    @property
    def download_bytes(self) -> float:
        """What the hub sends, by published counts."""
        return 0.0

    @property
    def packages(self) -> tuple[str, ...]:
        """Installed packages that it reads."""
        return ()

    @abstractmethod
    def size(self) -> Size | None:
        """What is known of it before it is read; None where only the synthesis or a corpus says."""

    def input_files(self, given: Iterable[Path]) -> list[Path]:
        """The files that hold its rows: `given` ones, or those in the given folders that it names."""
        pattern = getattr(self, "files", "*.parquet")
        given = list(given)
        files: list[Path] = []
        for path in given:
            files.extend(matching_files(path, pattern) if path.is_dir() else [path])
        files = [path for path in files if self._holds_rows(path)]
        if not files:
            raise UserError(
                f"no file matches {pattern!r} in {', '.join(map(str, given)) or 'nothing'}"
            )
        return files

    def _holds_rows(self, path: Path) -> bool:
        return True

    def chunks(self, files: Iterable[Path]) -> "list[Chunk]":
        """Its rows in chunks, in the order of the files."""
        found: list[Chunk] = []
        names: set[str] = set()
        for path in files:
            name = self._name(path).encode(errors="surrogateescape").decode(errors="replace")
            while name in names:
                name += "'"
            names.add(name)
            found.extend(self.chunks_of_file(path, name))
        return found

    def _name(self, path: Path) -> str:
        return path.stem

    @abstractmethod
    def chunks_of_file(self, path: Path, name: str) -> "Iterator[Chunk]":
        """The rows of a file in chunks; `name` is the file's in sample ids."""

    @abstractmethod
    def read(self, entry: str, chunk: "Chunk") -> "Iterator[Row]":
        """The rows of a chunk, each with an id that tells entry, file and row.

        Raises UserError where a column is missing or a file is damaged.
        """


class HubRows(ConversationSection):
    """What sources of files at the hub have in common, beside how they read them."""

    repository: Repository
    revision: Revision
    rows: Positive
    """Published number of rows: what the plan counts with before anything is downloaded."""
    tokens: Positive
    """Of all rows together, as published or estimated."""
    gated: bool = False
    """Whether its conditions must be accepted at the hub before it is downloaded."""

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, getattr(self, "files", None))

    @property
    def download_bytes(self) -> float:
        return self.tokens * BYTES_PER_TOKEN * COMPRESSION

    def size(self) -> Size:
        return Size(self.rows, self.tokens)
