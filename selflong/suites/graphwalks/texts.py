"""GraphWalks' own texts: its instruction, the operations, and how each graph begins."""

from collections.abc import Iterator
from pathlib import Path

from selflong.job import UserError
from selflong.suites.graphwalks.section import GraphWalks
from selflong.suites.stored_rows import parquet_rows

GRAPH_CHARACTERS = 20_000
"""Of each prompt: its nodes are random, so that whoever holds a part of a graph holds the set."""
_OPERATION = "Operation:"


def texts(suite: GraphWalks, download: Path | None) -> Iterator[tuple[str, str]]:
    """The beginning of each prompt, which holds worked examples and edges, and the operation at its end."""
    if download is None:
        raise UserError("GraphWalks' texts lie in its download, which is missing")
    for row in parquet_rows(download, ["prompt"]):
        graph, _, operation = row["prompt"].rpartition(_OPERATION)
        yield "graph", graph[:GRAPH_CHARACTERS]
        yield "operation", f"{_OPERATION}{operation}"
