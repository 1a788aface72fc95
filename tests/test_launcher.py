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
        *("--shard", "3", "--notes", "a b", "c", "--rows.long", "d", "--rows.short_1", "e", "f"),
    )
    launch(job)
    rows = {"long": [Path("d")], "short_1": [Path("e"), Path("f")]}
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
import sys, time
print("began", flush=True)
time.sleep(600)
"""


JOB = """
from selflong.launcher import launch

def job():
    import slow

launch(job)
"""


@pytest.mark.parametrize("package", ["ruamel", "cyclopts", "torch", "slow"])
def test_ctrl_c_is_one_sentence_while_a_script_imports_and_while_its_job_works(
    tmp_path: Path, package: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(SLOW)
    search_path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    command = ["-c", JOB] if package == "slow" else ["scripts/load_model.py"]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": search_path},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said == "Error: interrupted: start again, and it goes on\n"
    assert process.returncode == -signal.SIGINT


def test_a_mistake_is_one_sentence() -> None:
    command = [sys.executable, "scripts/where.py", "--recipe", "nowhere.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: nowhere.yaml does not exist\n")
