"""Who may import whom: a room of the package imports only rooms on the floors below it."""

import ast
import fnmatch
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "selflong"

# From the ground. A room is a module or a package, named below `selflong`; `*` stands for one name or more,
# and of several rooms that hold a module the one with the longest name counts (so that `suites.*.section` can
# lie below `recipe`, and `suites` above it). The rooms of one floor do not know each other: the stages hand
# each other files alone.
FLOORS: tuple[tuple[str, ...], ...] = tuple(
    tuple(floor.split())
    for floor in (
        "guardian interrupt logs root",
        "job globs histograms",
        "integrity keys",
        "formats",
        "recipe.section tracking progress",
        "recipe.weights recall hub scores similarity tables tokens",
        "packages drawing suites.section",
        "sources suites.registry",
        "suites.*.section",
        "recipe",
        "precision",
        "cluster results llm placement",
        "launcher suites",
        "decontamination",
        "corpus retrieval synthesis mixture training evaluation report",
        "catalogue node_check run workspace publish",
        "estimate verify",
        "demo reference snakemake",
        "status",
        "cli",
    )
)
ROOMS = {room: number for number, floor in enumerate(FLOORS) for room in floor}


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


def room(module: str) -> str | None:
    """The room that holds a module; None where the table names none."""
    name = module.removeprefix("selflong.")
    holding = [
        r for r in ROOMS if fnmatch.fnmatchcase(name, r) or fnmatch.fnmatchcase(name, f"{r}.*")
    ]
    return max(holding, key=len, default=None)


def edges() -> Iterator[tuple[str, str]]:
    """(module, module that it imports) within the package."""
    for name, tree in MODULES.items():
        for target in imports(tree):
            if target in MODULES and target not in (name, "selflong"):
                yield name, target


def test_every_module_lies_in_a_room_and_every_room_holds_one() -> None:
    placed = {name: room(name) for name in MODULES if name != "selflong"}
    assert [name for name, held_by in placed.items() if held_by is None] == []
    assert set(placed.values()) == set(ROOMS)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_floors_below(name: str) -> None:
    wrong = {
        (module, target)
        for module, target in edges()
        if room(module) == name != room(target) and ROOMS[str(room(target))] >= ROOMS[name]
    }
    assert not wrong


def test_no_circle_of_modules() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for module, target in edges():
        # A package gathers its own modules; that they import it in turn is no circle of theirs.
        if not module.startswith(f"{target}."):
            graph[module].add(target)
    graphlib.TopologicalSorter(graph).prepare()


def test_the_documentation_names_every_room() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    said = text.partition("## Who may import whom")[2].partition("## How data flow")[0]
    named = {room.replace("*", "<kind>") for room in ROOMS}
    assert {room for room in named if f"`{room}`" not in said} == set()
