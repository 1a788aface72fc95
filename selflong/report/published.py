"""The numbers that the papers print, as tables of their own (resources/published_results.csv)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from selflong.job import UserError
from selflong.tables import Cell, Table

COLUMNS = ("paper", "table", "model", "metric", "context_length", "value", "source")

TITLES = {
    ("SelfLong", "Table1"): "RULER, mean of 13 tasks",
    ("SelfLong", "Table3"): "Ablation of SelfLong-8B, RULER, mean of 13 tasks",
    ("SelfLong", "Table4"): "Short tasks",
    ("SelfLong", "Sec4.1-data"): "Training data",
    ("RULER-leaderboard", "README"): "RULER's leaderboard, mean of 13 tasks",
}


UNKNOWN: Mapping[str, Sequence[tuple[str, str]]] = {
    "SelfLong": (
        ("decoding", "not printed; RULER's own default, and here, is greedy"),
        (
            "version of RULER's code",
            "not printed; here 2024's, or the published prompts themselves",
        ),
        ("answer prefix", "not printed; the published prompts show what was asked"),
        ("precision of the weights", "not printed; here the site's, which each prediction names"),
        ("intervals", "not printed; a difference carries the measurement's alone"),
        ("needle grid", "depths, lengths, haystack and scorer are not printed"),
        ("output length", "prompts and scores behind the figure are not printed"),
        ("short tasks", "version, shots and chat template of the harness are not printed"),
    ),
    "RULER-leaderboard": (
        ("version of RULER's code", "changed under the table; rows are of different times"),
        ("serving", "engine and precision of most rows are not printed"),
    ),
}
"""Paper -> settings behind its numbers that are not printed, and what stands here in their place."""


def read(path: Path) -> pl.DataFrame:
    """The published cells, each value as the text that is printed."""
    if not path.exists():
        raise UserError(f"{path} does not exist: restore it from the repository")
    frame = pl.read_csv(path, infer_schema=False).fill_null("")
    if tuple(frame.columns) != COLUMNS:
        raise UserError(f"{path}: its columns must be {', '.join(COLUMNS)}")
    twice = frame.filter(frame.select(COLUMNS[:5]).is_duplicated())
    if not twice.is_empty():
        raise UserError(f"{path}: the cell {twice.row(0)[:5]} stands twice: remove one of them")
    return frame


def unknown_settings(papers: Sequence[str]) -> Table | None:
    """What is not known of how papers measured; None where nothing of them is compared."""
    rows = [
        (Cell(paper), Cell(setting), Cell(known))
        for paper in papers
        for setting, known in UNKNOWN.get(paper, ())
    ]
    if not rows:
        return None
    return Table(
        name="published_unknown",
        title="What is not known of the published numbers",
        caption="Settings that may move a score by points, so that a difference between measured and "
        "published may be theirs.",
        columns=("Paper", "Setting", "What is known"),
        rows=tuple(rows),
    )


def of_paper(frame: pl.DataFrame, paper: str) -> list[Table]:
    """Every published table of `paper`, rows and columns in the order in which the file holds them."""
    cells = frame.filter(pl.col("paper") == paper)
    return [
        _table(paper, name, cells.filter(pl.col("table") == name))
        for name in cells["table"].unique(maintain_order=True)
    ]


def _table(paper: str, name: str, cells: pl.DataFrame) -> Table:
    title = TITLES.get((paper, name), f"{paper}, {name}")
    sources = "; ".join(cells["source"].unique(maintain_order=True))
    columns = _column_names(cells)
    cells = cells.with_columns(pl.Series("column", columns))
    distinct = list(dict.fromkeys(columns))
    models = list(cells["model"].unique(maintain_order=True))
    if 2 * cells.height < len(distinct) * len(models):
        header: tuple[str, ...] = ("row", "column", "value")
        rows = tuple(
            tuple(Cell(text) for text in row)
            for row in cells.select("model", "column", "value").rows()
        )
    else:
        header = (cells["metric"][0] if cells["metric"].n_unique() == 1 else "", *distinct)
        printed = {(model, column): text for model, column, text in _triples(cells)}
        rows = tuple(
            (Cell(model), *(Cell(printed.get((model, column), "")) for column in distinct))
            for model in models
        )
    return Table(
        name=f"published_{paper}_{name}".lower()
        .replace(".", "_")
        .replace("(", "_")
        .replace(")", "")
        .replace(" ", "_"),
        title=f"{title} (as printed)",
        caption=f"Numbers as {paper} prints them in {name}; an empty cell is one that the sources do "
        f"not hold. Source: {sources}.",
        columns=header,
        rows=rows,
    )


def _triples(cells: pl.DataFrame) -> list[tuple[str, str, str]]:
    return cells.select("model", "column", "value").rows()


def _column_names(cells: pl.DataFrame) -> list[str]:
    one_metric = cells["metric"].n_unique() == 1
    one_context = cells["context_length"].n_unique() == 1
    if one_context:
        return cells["metric"].to_list()
    if one_metric:
        return cells["context_length"].to_list()
    return [
        f"{metric}, {context}" if context else metric
        for metric, context in cells.select("metric", "context_length").rows()
    ]
