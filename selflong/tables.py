"""Tables in Markdown, CSV and LaTeX; every number carries the file that it came from."""

import csv
import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from selflong.formats import write_text

NOT_RUN = "not run"
NOT_SUPPORTED = "–"
NOT_ASKED = "not asked"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, the number behind it, and the file (below the results) it was counted from."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None
    file: str | None = None


@dataclass(frozen=True)
class Table:
    """A table as it is shown. `name` is its file name, `columns` its header."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: a row has {len(row)} cells")


def score_cell(mean: float, low: float, high: float, samples: int, file: str | None = None) -> Cell:
    """A score from 0 to 1 in per cent with its interval."""
    mean, low, high = 100 * mean, 100 * low, 100 * high
    text = f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    return Cell(text, mean, low, high, samples, file)


def perplexity_cell(
    mean: float, low: float, high: float, samples: int, file: str | None = None
) -> Cell:
    """The perplexity that a score from 0 to 1 is the inverse of, with its interval."""
    mean, low, high = 1 / mean, 1 / high, 1 / low
    text = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return Cell(text, mean, low, high, samples, file)


def number_cell(value: float, digits: int = 0, file: str | None = None) -> Cell:
    """A number with commas between the thousands."""
    return Cell(f"{value:,.{digits}f}", value, file=file)


def row_of(*values: str | int | Cell, file: str | None = None) -> tuple[Cell, ...]:
    """A row of a table: text as it is, whole numbers with commas, which were counted from `file`."""
    return tuple(_cell_of(value, file) for value in values)


def _cell_of(value: str | int | Cell, file: str | None) -> Cell:
    match value:
        case str():
            return Cell(value)
        case int():
            return number_cell(value, file=file)
    return value


def difference_cell(measured: Cell, published: float) -> Cell:
    """Measured minus published; the interval is the measured one's, since none is published."""
    assert measured.value is not None and measured.low is not None and measured.high is not None
    value, low, high = (x - published for x in (measured.value, measured.low, measured.high))
    return signed_cell(value, low, high, measured.samples, measured.file)


def signed_cell(
    value: float, low: float, high: float, samples: int | None, file: str | None = None
) -> Cell:
    """A difference in points of per cent with its interval."""
    text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
    return Cell(text, value, low, high, samples, file)


def to_markdown(table: Table) -> str:
    """A heading, the table, its caption."""
    lines = [f"### {markdown(table.title)}", "", _pipes(table.columns)]
    lines.append(_pipes(["---"] + ["---:"] * (len(table.columns) - 1)))
    lines += [_pipes([cell.text for cell in row]) for row in table.rows]
    return "\n".join([*lines, "", markdown(table.caption), ""])


def pipes(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table whose cells are Markdown already; the first row is its head."""
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield "|" + "---|" * len(row)


def _pipes(texts: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown, texts)) + " |"


def _line(text: str) -> str:
    """Text in one line, as a cell holds it."""
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Text as Markdown shows it, in one line: no markup, no link, no end of a cell."""
    shown = html.escape(_line(text).replace("\\", "\\\\"), quote=False)
    return re.sub(r"[|`*]|(?<=\])\(", lambda match: f"\\{match[0]}", shown)


def _field(text: str) -> str:
    """Text as CSV holds it; a spreadsheet must not take it for a formula."""
    line = _line(text)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def to_csv(table: Table) -> str:
    """Numbers unrounded; a column with intervals is followed by low, high and samples."""
    with_interval = [
        any(row[index].low is not None for row in table.rows) for index in range(len(table.columns))
    ]
    header: list[str] = []
    for column, wide in zip(table.columns, with_interval, strict=True):
        name = _field(column)
        header += [name, f"{name} low", f"{name} high", f"{name} samples"] if wide else [name]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        fields: list[str] = []
        for cell, wide in zip(row, with_interval, strict=True):
            fields.append(_field(cell.text) if cell.value is None else _exact(cell.value))
            if wide:
                fields += [_exact(cell.low), _exact(cell.high), _exact(cell.samples)]
        writer.writerow(fields)
    return stream.getvalue()


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def to_latex(table: Table) -> str:
    """A booktabs table, to be read with \\input."""
    body = [" & ".join(escape(cell.text) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.title)}. {escape(table.caption)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            " & ".join(escape(name) for name in table.columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Text as LaTeX."""
    return re.sub(r"[\\&%$#_{}~^–−<>±]", lambda match: _LATEX[match[0]], _line(text))


WRITERS = {"md": to_markdown, "csv": to_csv, "tex": to_latex}


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Each table as <name>.md, <name>.csv and <name>.tex in `folder`."""
    names = [table.name for table in tables]
    if len(set(names)) != len(names):
        raise ValueError(f"two tables have one name: {sorted(names)}")
    for table in tables:
        for suffix, write in WRITERS.items():
            write_text(write(table), folder / f"{table.name}.{suffix}")
