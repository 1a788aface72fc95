"""What one part of a corpus reads: the files of its sources in equal stretches.

`collect` brings a source into one folder and lists its files in source.json; everything after it reads
files only. The files of all sources, in the recipe's order, form one long row of documents, and part k of
n is the k-th of n equal stretches of it: the order of the documents does not depend on the number of parts.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import DOCUMENTS, read_object, write_json
from selflong.job import UserError
from selflong.sources.documents.section import DocumentSection
from selflong.sources.text import whole_characters

SOURCE_FILE = "source.json"
BATCH_ROWS = 4096
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def collect(source: DocumentSection, folder: Path, token_variable: str) -> None:
    """Fetch a source's files, into `folder` where they are not at hand; list them in source.json there."""
    files = [
        {
            "path": str(
                path.relative_to(folder) if path.is_relative_to(folder) else path.resolve()
            ),
            "bytes": path.stat().st_size,
            "rows": _parquet_rows(path),
        }
        for path in source.fetch(folder, token_variable)
    ]
    write_json({"label": source.label, "files": files}, folder / SOURCE_FILE)


def _parquet_rows(path: Path) -> int | None:
    """Rows of a parquet file; None for JSON lines, whose rows are not known before they are read."""
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return None
    if path.suffix != ".parquet":
        raise UserError(f"{path}: must be .parquet or .jsonl")
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from None


@dataclass(frozen=True)
class Stretch:
    """A part's share of a file: rows `start` to `stop` of parquet, or the lines that begin in those bytes."""

    source: str
    path: Path
    rows: bool
    start: int
    stop: int


def stretches(sources: Iterable[Path], part: int, parts: int) -> list[Stretch]:
    """What part `part` of `parts` reads, `sources` being the source.json files in the recipe's order."""
    files = [
        (content["label"], source.parent / file["path"], file["bytes"], file["rows"])
        for source in sources
        for content in [read_object(source)]
        for file in content["files"]
    ]
    total = sum(size for _, _, size, _ in files)
    begin, end = part * total // parts, (part + 1) * total // parts
    found = []
    offset = 0
    for name, path, size, rows in files:
        first, last = (min(max(cut - offset, 0), size) for cut in (begin, end))
        offset += size
        if rows is not None and size > 0:
            first, last = (-(-cut * rows // size) for cut in (first, last))
        if first < last:
            found.append(Stretch(name, path, rows is not None, first, last))
    return found


def rows_of(stretches: Iterable[Stretch]) -> int | None:
    """How many documents they hold; None where lines must be read to know it."""
    stretches = list(stretches)
    if not all(stretch.rows for stretch in stretches):
        return None
    return sum(stretch.stop - stretch.start for stretch in stretches)


def read(stretch: Stretch, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Batches of a stretch's rows with `columns`, typed as in DOCUMENTS; null where the file lacks a column.

    Raises UserError where id or text is missing, or a column does not fit its type.
    """
    batches = _parquet_batches(stretch, columns) if stretch.rows else _line_batches(stretch)
    for batch in batches:
        for name in ("id", "text"):
            if name not in batch.columns:
                raise UserError(f"{stretch.path}: column {name!r} is missing; documents need it")
        absent = [pl.lit(None).alias(name) for name in columns if name not in batch.columns]
        try:
            yield batch.with_columns(absent).select(
                pl.col(name).cast(DOCUMENTS[name]) for name in columns
            )
        except pl.exceptions.PolarsError as error:
            raise UserError(f"{stretch.path}: {str(error).splitlines()[0]}") from None


def _parquet_batches(stretch: Stretch, columns: list[str]) -> Iterator[pl.DataFrame]:
    rows = pl.scan_parquet(stretch.path)
    present = [name for name in columns if name in rows.collect_schema().names()]
    rows = rows.select(present).slice(stretch.start, stretch.stop - stretch.start)
    try:
        yield from rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(
            f"{stretch.path}: damaged ({str(error).splitlines()[0]}): fetch or make it again"
        ) from None


def _line_batches(stretch: Stretch) -> Iterator[pl.DataFrame]:
    with stretch.path.open("rb") as stream:
        if stretch.start > 0:  # the line that this byte is in belongs to the stretch before
            stream.seek(stretch.start - 1)
            stream.readline()
        while stream.tell() < stretch.stop:
            lines: list[bytes] = []
            while len(lines) < BATCH_ROWS and stream.tell() < stretch.stop:
                lines.append(stream.readline())
            yield _parse_lines(lines, stretch.path)


def _parse_lines(lines: list[bytes], path: Path) -> pl.DataFrame:
    text = b"".join(lines)
    if not _SURROGATE.search(text):  # polars reads half a pair as NUL
        with suppress(pl.exceptions.PolarsError):
            return pl.read_ndjson(io.BytesIO(text), infer_schema_length=None)
    # Slower, but it says which line is wrong.
    return pl.from_dicts([_parse_line(line, path) for line in lines], infer_schema_length=None)


def _parse_line(line: bytes, path: Path) -> dict[str, Any]:
    shown = line[:40].decode(errors="replace")
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise UserError(f"{path}: the line {shown!r} is not UTF-8: convert the file") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not JSON lines, see the line {shown!r}") from None
    if not isinstance(row, dict):
        raise UserError(f"{path}: lines must hold objects, not {shown!r}")
    return {k: whole_characters(v) if isinstance(v, str) else v for k, v in row.items()}
