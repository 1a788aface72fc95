"""Docstrings of installed packages."""

import ast
import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selflong.packages import package_folder, package_version

# Documented at length, and part of every installation of the pipeline; the versions are pinned there.
DOCUMENTED_PACKAGES = (
    "matplotlib",
    "networkx",
    "numpy",
    "pandas",
    "polars",
    "scipy",
    "seaborn",
    "sklearn",
    "sympy",
    "torch",
    "transformers",
)
MINIMUM_DOCUMENTATION = 2000  # characters: most modules have only a line or two


def _docstrings(tree: ast.Module, module: str) -> Iterator[str]:
    """The docstrings of a module in the order of its source, each below its full name."""
    scopes: list[tuple[str, ast.AST]] = [(module, tree)]
    while scopes:
        name, node = scopes.pop()
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if documentation := ast.get_docstring(node):
            yield f"{name}\n\n{documentation}"
        children = [
            (f"{name}.{child.name}", child)
            for child in node.body
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        scopes.extend(reversed(children))


def _is_documented(path: Path) -> bool:
    """Whether a module is part of a package's own interface rather than of its tests."""
    return not any(part in ("tests", "test", "testing", "_vendor") for part in path.parts)


def documentation() -> Iterator[dict[str, Any]]:
    """Docstrings of a fixed list of installed packages, merged by module, in the order of a hash.

    The modules are parsed, not imported. A prefix of this order is a fair draw over the packages.
    """
    folders = {package: package_folder(package) for package in DOCUMENTED_PACKAGES}
    modules = [
        (package, path.relative_to(folder))
        for package, folder in folders.items()
        for path in folder.rglob("*.py")
        if _is_documented(path.relative_to(folder))
    ]
    modules.sort(key=lambda module: hashlib.sha256("/".join(map(str, module)).encode()).digest())
    for package, relative in modules:
        name = ".".join([package, *relative.with_suffix("").parts]).removesuffix(".__init__")
        source = (folders[package] / relative).read_text(encoding="utf-8")
        text = "\n\n".join(map(inspect.cleandoc, _docstrings(ast.parse(source), name)))
        if len(text) >= MINIMUM_DOCUMENTATION:
            yield {
                "id": f"documentation:{name}",
                "text": text,
                "dump": package_version(package),
                "file_path": str(relative),
            }
