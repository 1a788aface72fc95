"""Every text file is read and written as UTF-8, whatever the locale says."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _opens_text(call: ast.Call) -> bool:
    """Whether a call opens a text file by one of pathlib's methods or by `open`."""
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", None)
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute)
    if name != "open" or getattr(getattr(call.func, "value", None), "id", None) in ("os", "bz2"):
        return False
    position = 0 if isinstance(call.func, ast.Attribute) else 1
    modes = [k.value for k in call.keywords if k.arg == "mode"] or call.args[
        position : position + 1
    ]
    mode = (
        modes[0].value
        if modes and isinstance(modes[0], ast.Constant)
        else ""
        if not modes
        else None
    )
    return isinstance(mode, str) and "b" not in mode


def without_encoding() -> Iterator[str]:
    paths = [path for folder in ("selflong", "scripts") for path in (ROOT / folder).rglob("*.py")]
    for path in sorted(paths):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        for call in filter(_opens_text, calls):
            if "encoding" not in {keyword.arg for keyword in call.keywords}:
                yield f"{path.relative_to(ROOT)}:{call.end_lineno}"


def test_every_text_file_is_opened_with_its_encoding() -> None:
    assert list(without_encoding()) == []
