"""What the papers print, by name: a recipe refers to nothing else (resources/published_results.csv)."""

import csv
from dataclasses import dataclass
from functools import cache

from selflong.root import ROOT

PUBLISHED_RESULTS = ROOT / "resources" / "published_results.csv"


@dataclass(frozen=True)
class Cell:
    """Where a printed number stands."""

    paper: str
    table: str
    model: str
    """Of a table: the row."""
    metric: str
    """Of a table: the column."""
    context_length: str


@cache
def cells() -> tuple[Cell, ...]:
    """Of every printed number; none where the file is missing, which the report says."""
    if not PUBLISHED_RESULTS.exists():
        return ()
    with PUBLISHED_RESULTS.open(encoding="utf-8", newline="") as stream:
        names = Cell.__dataclass_fields__
        return tuple(
            Cell(**{name: row[name] or "" for name in names}) for row in csv.DictReader(stream)
        )
