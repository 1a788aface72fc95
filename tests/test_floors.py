"""Who may import whom: a part of the package imports only what lies on the floors below it."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "selflong"

# From the ground. The parts of one floor do not know each other; the stages hand each other files alone.
FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "job globs",
        "formats",
        "recipe",
        "cluster lengths packages scores similarity tokens",
        "hub launcher llm",
        "corpus retrieval synthesis mixture training evaluation recall report",
        "check workflow",
        "plan",
        "cli",
    )
)


def modules() -> dict[str, ast.Module]:
    """Dotted name -> syntax of every module."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported anywhere in a module; `from a import b` may name the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = modules()
PARTS = sorted({name.split(".")[1] for name in MODULES if "." in name})


def part(name: str) -> str:
    return name.split(".")[1]


def floor(name: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if name in parts)


def edges() -> Iterator[tuple[str, str]]:
    """(module, module that it imports) within the package."""
    for name, tree in MODULES.items():
        for target in imports(tree):
            if target in MODULES and target != name and "." in target:
                yield name, target


def test_every_part_stands_on_one_floor() -> None:
    placed = [name for parts in FLOORS for name in parts]
    assert sorted(placed) == PARTS


@pytest.mark.parametrize("name", PARTS)
def test_a_part_imports_only_floors_below(name: str) -> None:
    wrong = {
        (module, target)
        for module, target in edges()
        if "." in module
        and part(module) == name != part(target)
        and floor(part(target)) >= floor(name)
    }
    assert not wrong


def test_no_circle_of_modules() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for module, target in edges():
        # A package gathers its own modules; that they import it in turn is no circle of theirs.
        if not module.startswith(f"{target}."):
            graph[module].add(target)
    graphlib.TopologicalSorter(graph).prepare()
