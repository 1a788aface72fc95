"""The wheel: from an empty folder, without a checkout, `selflong init` and Snakemake run the workflow."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from selflong import __version__
from selflong.workspace import make_workspace
from tests.workflow.test_environments import environment

ROOT = Path(__file__).parents[1]
MODULE = """\
module selflong:
    snakefile: {snakefile!r}
    config: config


use rule * from selflong as selflong_*
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        folder,
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a virtual environment with the wheel, which finds what the project requires."""
    made = environment(tmp_path_factory.mktemp("installed") / "venv")
    (packages,) = made.parent.parent.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return made


@pytest.fixture(scope="module")
def workspace(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder after `selflong init`."""
    folder = tmp_path_factory.mktemp("workspace")
    outcome = ran(python, folder, "-m", "selflong.cli", "init")
    assert outcome.returncode == 0, outcome.stderr
    return folder


def ran(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of that Python, which sees nothing of the checkout."""
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [python, *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_what_a_run_reads_and_nothing_of_the_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    read = [
        path
        for folder in ("rules", "scripts", "envs", "recipes", "resources")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = {f"selflong/workflow/{path.relative_to(ROOT)}" for path in read}
    assert wanted | {"selflong/workflow/Snakefile", "selflong/report/page.html.j2"} <= names
    assert {name.split("/")[0] for name in names} == {"selflong", wheel_information(names)}


def wheel_information(names: set[str]) -> str:
    return next(name.split("/")[0] for name in names if ".dist-info/" in name)


def test_a_workspace_runs_the_workflow_of_the_wheel(python: Path, workspace: Path) -> None:
    outcome = ran(python, workspace, "-m", "snakemake", "--dry-run")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert re.search(r"^train_stage +\d+$", outcome.stdout + outcome.stderr, flags=re.MULTILINE)
    target = "results/laptop/corpus/documents/sources/0/source.json"
    outcome = ran(python, workspace, "-m", "snakemake", str(Path(target).parent))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (workspace / target).exists()
    link = workspace / "work/laptop/configuration/package/selflong"
    assert link.resolve().is_relative_to(python.parent.parent)


def test_a_workspace_keeps_what_is_there(python: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("recipe: mine\n")
    outcome = ran(python, tmp_path, "-m", "selflong.cli", "init", "--no-data")
    assert outcome.returncode == 0, outcome.stderr
    assert "config.yaml" not in outcome.stdout.partition("\n")[0].split(", ")
    assert (tmp_path / "config.yaml").read_text() == "recipe: mine\n"
    again = ran(python, tmp_path, "-m", "selflong.cli", "init", "--no-data")
    assert again.stdout.startswith("everything is there already\n")


def test_another_workflow_uses_this_one_as_a_module(python: Path, tmp_path: Path) -> None:
    make_workspace(tmp_path)
    (snakefile,) = python.parent.parent.glob("lib/*/site-packages/selflong/workflow/Snakefile")
    (tmp_path / "Snakefile").write_text(MODULE.format(snakefile=str(snakefile)))
    target = "results/laptop/corpus/documents/sources/1"
    outcome = ran(python, tmp_path, "-m", "snakemake", "--", target)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "selflong_collect_source" in outcome.stdout + outcome.stderr
    assert (tmp_path / target / "source.json").exists()


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    zenodo = yaml.safe_load((ROOT / ".zenodo.json").read_text())
    versions = {project["version"], citation["version"], zenodo["version"]}
    assert versions == {__version__}
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
