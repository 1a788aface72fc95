"""Nothing that runs imports the estimate, and placement stands below both."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BESIDE_A_RUN = {"write_plan", "dry_launch", "demo"}
"""Launchers that tell what a run will do."""


def modules_in(path: Path) -> set[str]:
    """Modules of selflong that a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.split(".")[0] == "selflong" and file_of(name)}


def file_of(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def reached(start: set[str]) -> set[str]:
    """Modules that are imported by these, by what they import, and so on."""
    found: set[str] = set()
    waiting = set(start)
    while waiting:
        module = waiting.pop()
        found.add(module)
        file = file_of(module)
        assert file is not None, module
        waiting |= modules_in(file) - found
    return found


def below(package: str) -> set[str]:
    folder = ROOT / "selflong" / package
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in folder.rglob("*.py")
    }


def of_package(modules: set[str], package: str) -> list[str]:
    return sorted(name for name in modules if name.split(".")[1:2] == [package])


def test_no_job_imports_the_estimate() -> None:
    launchers = [path for path in (ROOT / "scripts").glob("*.py") if path.stem not in BESIDE_A_RUN]
    started = {
        module
        for path in [*(ROOT / "rules").glob("*.smk"), *(ROOT / "selflong").rglob("*.py")]
        for module in re.findall(r"""-m["']?,? ["']?(selflong[\w.]+)""", path.read_text())
    }
    assert {"selflong.node_check", "selflong.training.launch"} <= started
    modules = reached(started.union(*map(modules_in, launchers)))
    assert "selflong.placement.fit" in modules
    assert of_package(modules, "estimate") == []


@pytest.mark.parametrize("package", ["training", "estimate"])
def test_placement_imports_neither_training_nor_the_estimate(package: str) -> None:
    assert of_package(reached(below("placement")), package) == []


def test_the_walk_finds_what_it_looks_for() -> None:
    modules = reached(modules_in(ROOT / "scripts" / "write_plan.py"))
    assert {"selflong.estimate.steps", "selflong.placement.memory"} <= modules
