"""Files of the published sets.

Layout: `<task>_<length>/validation-*.parquet` for 13 tasks and the lengths 4k ... 1M, with the columns
`index`, `input` (chat template written out, no BOS), `answers`, `length` and `predictions` (a struct of one
text for each model name).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from selflong.job import UserError
from selflong.scores import length_name
from selflong.suites.ruler.section import RULER_TASKS
from selflong.suites.stored_rows import require_columns


def read_files(
    folder: Path, lengths: Sequence[int], columns: Sequence[str]
) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Task, length and columns of each file of the published sets."""
    for length in lengths:
        for task in RULER_TASKS:
            name = f"{task}_{length_name(length)}"
            paths = sorted((folder / name).glob("validation-*.parquet"))
            if not paths:
                raise UserError(f"{folder / name} holds no validation-*.parquet: download it again")
            for path in paths:
                require_columns(path, columns)
                yield task, length, pl.read_parquet(path, columns=list(columns)).select(columns)
