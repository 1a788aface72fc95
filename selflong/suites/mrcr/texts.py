"""MRCR's own texts: every piece of its conversations once, which many of them share."""

from collections.abc import Iterator
from pathlib import Path

from selflong.job import UserError
from selflong.similarity import exact_key
from selflong.suites.mrcr.prompts import read_messages
from selflong.suites.mrcr.section import Mrcr
from selflong.suites.stored_rows import parquet_rows


def texts(suite: Mrcr, download: Path | None) -> Iterator[tuple[str, str]]:
    """The pieces that the haystacks are made of, the needles among them, and the questions."""
    if download is None:
        raise UserError("MRCR's texts lie in its download, which is missing")
    seen: set[bytes] = set()
    for row in parquet_rows(download, ["prompt"]):
        *haystack, question = read_messages(row["prompt"], download)
        yield "question", question["parts"][0]["text"]
        for message in haystack:
            text = message["parts"][0]["text"]
            key = exact_key(text)
            if key not in seen:
                seen.add(key)
                yield f"haystack/{message['role']}", text
