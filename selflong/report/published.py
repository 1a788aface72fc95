"""The numbers that the papers print, as tables of their own (resources/published_results.csv)."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from selflong.formats import read_csv
from selflong.job import UserError
from selflong.tables import Table, row_of

COLUMNS = ("paper", "table", "model", "metric", "context_length", "value", "source")

TITLES = {
    ("SelfLong", "Table1"): "RULER, mean of 13 tasks",
    ("SelfLong", "Table3"): "Ablation of SelfLong-8B, RULER, mean of 13 tasks",
    ("SelfLong", "Table4"): "Short tasks",
    ("SelfLong", "Sec4.1-data"): "Training data",
    ("RULER-leaderboard", "README"): "RULER's leaderboard, mean of 13 tasks",
}

UNKNOWN_SETTINGS = Path(__file__).with_name("unknown_settings.csv")
"""Of each paper: settings behind its numbers that are not printed, and what stands here in their place."""


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
    known = read_csv(UNKNOWN_SETTINGS)
    rows = [row_of(*row.values()) for paper in papers for row in known if row["paper"] == paper]
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
    cells = frame.filter(paper=paper)
    return [
        _table(paper, name, cells.filter(table=name))
        for name in cells["table"].unique(maintain_order=True)
    ]


def _table(paper: str, name: str, cells: pl.DataFrame) -> Table:
    title = TITLES.get((paper, name), f"{paper}, {name}")
    sources = "; ".join(cells["source"].unique(maintain_order=True))
    columns = _column_names(cells)
    cells = cells.with_columns(pl.Series("column", columns))
    triples = cells.select("model", "column", "value").rows()
    distinct = list(dict.fromkeys(columns))
    models = list(cells["model"].unique(maintain_order=True))
    if 2 * cells.height < len(distinct) * len(models):
        header: tuple[str, ...] = ("row", "column", "value")
        rows = tuple(row_of(*texts) for texts in triples)
    else:
        header = (cells["metric"][0] if cells["metric"].n_unique() == 1 else "", *distinct)
        printed = {(model, column): text for model, column, text in triples}
        rows = tuple(
            row_of(model, *(printed.get((model, column), "") for column in distinct))
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
