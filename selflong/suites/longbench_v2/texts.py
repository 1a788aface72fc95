"""LongBench v2's own texts: its documents, and its questions with their choices."""

from collections.abc import Iterator
from pathlib import Path

from selflong.job import UserError
from selflong.suites.longbench_v2.prompts import CHOICES, FIELDS, FILE
from selflong.suites.longbench_v2.section import LongBenchV2
from selflong.suites.stored_rows import json_rows


def texts(suite: LongBenchV2, download: Path | None) -> Iterator[tuple[str, str]]:
    """Each context, and each question with its choices."""
    if download is None:
        raise UserError("LongBench v2's texts lie in its download, which is missing")
    for row in json_rows(download / FILE, FIELDS):
        yield "context", row["context"]
        yield "question", " ".join([row["question"], *(row[name] for name in CHOICES)])
