"""Launchers: their options are the parameters of a function, recipe and site are read from files."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from selflong.launcher import launch
from selflong.interrupt import SENTENCE
from selflong.job import UserError
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))


def options(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["launcher", *words])
    monkeypatch.setattr("selflong.launcher.run", lambda main: main())


def test_each_parameter_is_an_option_of_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def job(
        *, shard: int, notes: Sequence[Path], rows: dict[str, list[Path]],
        weights: Path | None = None, check: bool = False,
    ) -> None:  # fmt: skip
        seen.append((shard, list(notes), dict(rows), weights, check))

    options(
        monkeypatch,
        *("--shard", "3", "--notes", "a b", "c", "--rows.long", "d", "--rows.short_1-2", "e", "f"),
    )
    launch(job)
    rows = {"long": [Path("d")], "short_1.2": [Path("e"), Path("f")]}
    assert seen == [(3, [Path("a b"), Path("c")], rows, None, False)]


def test_what_is_given_takes_options_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    open_now: list[str] = []

    @contextmanager
    def served(recipe: Recipe, generator: str) -> Iterator[str]:
        open_now.append(generator)
        yield recipe.generators[generator].model
        open_now.clear()

    def job(*, model: str, seed: int, output: Path) -> None:
        seen.append((model, seed, output, list(open_now)))

    recipe = REPOSITORY / "recipes" / "laptop.yaml"
    words = ("--recipe", str(recipe), "--generator", "smollm2", "--output", "out")
    options(monkeypatch, *words)
    launch(job, model=served, seed=lambda recipe: recipe.seed)
    ((model, seed, output, was_open),) = seen
    assert (seed, output, was_open) == (load_recipe(recipe).seed, Path("out"), ["smollm2"])
    assert isinstance(model, str)
    assert open_now == []


@pytest.mark.parametrize("words", [(), ("--output",), ("--output", "a", "--other", "b"), ("a",)])
def test_a_wrong_option_is_refused(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    def job(*, output: Path) -> None:
        raise AssertionError("it ran")

    options(monkeypatch, *words)
    with pytest.raises(SystemExit) as end:
        launch(job)
    assert end.value.code not in (0, None)


SLOW = """
import time
print("began", flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    # As libraries in other languages do.
    raise ValueError("Error building serializer: KeyboardInterrupt") from None
"""


WORKING = """
from selflong.launcher import launch

def job():
    import slow

launch(job)
"""


ENDING = """
import atexit
from selflong.launcher import launch

def job():
    atexit.register(lambda: __import__("slow"))

launch(job)
"""

COMMANDS = {
    "a launcher": (["scripts/load_model.py"], ["ruamel", "cyclopts", "torch"]),
    "the demo": (["scripts/demo.py"], ["ruamel"]),
    "the command": (["-m", "selflong.cli", "validate", "recipes/laptop.yaml"], ["ruamel"]),
    "Snakemake": (["-m", "selflong.cli", "run", "laptop"], ["snakemake"]),
    "a check of a node": (["-m", "selflong.node_check", "training"], ["ruamel"]),
}
"""What is started, and which packages it imports."""


def interrupted(folder: Path, package: str, command: list[str]) -> tuple[str, int]:
    """What a program said, and its exit status, that an interrupt met where it waits in a package."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(SLOW)
    search_path = os.pathsep.join([str(folder), str(REPOSITORY)])
    process = subprocess.Popen(
        [sys.executable, *command], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": search_path},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return said, process.returncode


@pytest.mark.parametrize(
    ("command", "package"),
    [
        pytest.param(command, package, id=f"{name}-{package}")
        for name, (command, packages) in COMMANDS.items()
        for package in packages
    ],
)
def test_ctrl_c_is_one_sentence_while_a_program_imports(
    tmp_path: Path, command: list[str], package: str
) -> None:
    assert interrupted(tmp_path, package, command) == (SENTENCE.decode(), -signal.SIGINT)


@pytest.mark.parametrize("code", [WORKING, ENDING], ids=["works", "ends"])
def test_ctrl_c_is_one_sentence_while_a_job_works_and_while_it_ends(
    tmp_path: Path, code: str
) -> None:
    said, status = interrupted(tmp_path, "slow", ["-c", code])
    assert said == SENTENCE.decode()
    assert status != 0


def test_a_job_in_the_background_has_no_ctrl_c() -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from selflong.launcher import launch\n"
        "def job():\n    signal.raise_signal(signal.SIGINT)\n    print('done')\n"
        "launch(job)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize(
    ("option", "name", "sentence"),
    [
        ("corpus", "docs", "--corpus: 'docs' does not exist; did you mean 'documents'?"),
        ("mixture_name", "fill", "--mixture-name: 'fill' does not exist; did you mean 'full'?"),
        ("checkpoint", "full/4k", "--checkpoint: 'full/4k' does not exist; did you mean 'full/"),
        ("suite", "rules", "--suite: 'rules' does not exist; did you mean 'ruler'?"),
    ],
)
def test_a_name_that_the_recipe_does_not_have_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, option: str, name: str, sentence: str
) -> None:
    def job(*, recipe: Recipe, corpus: str = "", mixture_name: str = "", checkpoint: str = "",
            suite: str = "") -> None:  # fmt: skip
        raise AssertionError("it ran")

    recipe = str(REPOSITORY / "recipes" / "laptop.yaml")
    rest = {
        "corpus": "documents",
        "mixture_name": "full",
        "checkpoint": "full/2k",
        "suite": "ruler",
    }
    words = {**rest, option: name, "recipe": recipe}
    options(monkeypatch, *(f"--{key.replace('_', '-')}={value}" for key, value in words.items()))
    with pytest.raises(UserError) as mistake:
        launch(job)
    assert str(mistake.value).startswith(sentence)


def test_a_model_that_is_a_folder_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def job(*, recipe: Recipe, model: Path) -> None:
        seen.append(model)

    recipe = REPOSITORY / "recipes" / "laptop.yaml"
    options(monkeypatch, "--recipe", str(recipe), "--model", "nowhere")
    launch(job)
    assert seen == [Path("nowhere")]


def test_a_mistake_is_one_sentence() -> None:
    command = [sys.executable, "scripts/where.py", "--recipe", "nowhere.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: nowhere.yaml does not exist\n")
