"""The command `selflong`, as it is started."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong import cli

ROOT = Path(__file__).parents[1]


def selflong(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selflong.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_right_recipes_are_right() -> None:
    outcome = selflong("validate", "recipes/laptop.yaml", "--site", "config.yaml")
    assert outcome.returncode == 0
    assert outcome.stdout == "recipes/laptop.yaml: right\nconfig.yaml: right\n"


def test_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "laptop.yaml"
    path.write_text((ROOT / "recipes" / "laptop.yaml").read_text().replace("seed:", "sed:", 1))
    outcome = selflong("validate", str(path))
    assert outcome.returncode == 2
    assert outcome.stderr == f"Error: {path}: sed: unknown key; did you mean 'seed'?\n"


def test_no_name_of_a_file_steers_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m\x1b[31mredd").mkdir()
    content = yaml.safe_load((ROOT / "recipes" / "laptop.yaml").read_text())
    weights = {"kind": "folder", "path": str(tmp_path / "models" / "m[31mred")}
    content["models"]["base"]["weights"] = weights
    path = tmp_path / "laptop.yaml"
    path.write_text(yaml.safe_dump(content))
    outcome = selflong("validate", str(path), "--site", "config.yaml")
    assert outcome.returncode == 2
    assert "is no folder; did you mean" in outcome.stderr
    assert "\x1b" not in outcome.stderr


def test_a_recipe_is_run_by_snakemake_with_its_options() -> None:
    outcome = selflong(
        "run", "laptop", "--dry-run", "--quiet", "--cores", "1", "--until", "load_model"
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "load_model" in outcome.stdout + outcome.stderr


def test_a_site_that_does_not_exist_is_one_sentence() -> None:
    outcome = selflong("run", "laptop", "--site", "missing.yaml")
    assert outcome.returncode == 2
    assert outcome.stderr == "Error: --site missing.yaml: is no file\n"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in a folder of its own; gives the command line that it became, if any."""
    monkeypatch.chdir(tmp_path)
    became: list[str] = []
    monkeypatch.setattr("os.execv", lambda _, command: became.extend(command))

    def run(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["selflong", *words])
        cli.main()
        return became

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("publish", "owner", "--dryrun"),
        ("status", "--recpie", "recall"),
        ("init", "--nodata"),
        ("validate", "a.yaml", "--sites", "config.yaml"),
    ],
)
def test_an_option_that_nobody_knows_is_refused(
    typed: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as end:
        typed(*words)
    assert end.value.code == 2
    assert f"unknown: {words[-1] if words[0] in ('publish', 'init') else words[-2]}" in (
        capsys.readouterr().err
    )


def test_what_is_set_for_a_run_takes_no_recipe_from_it(typed: Any) -> None:
    command = typed("run", "recall", "-n", "--config", "results=mine", "work=there", "--cores", "1")
    given = command[command.index("--config") + 1 :]
    assert given == ["results=mine", "work=there", "recipe=recall", "-n", "--cores", "1"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "recipes/laptop.yaml"), "give NAME of recipes/NAME.yaml: its name alone, laptop"),
        (("run", "laptop", "--configfile=mine.yaml"), "--configfile: it would take the place of"),
        (("run", "laptop", "--configfiles", "a"), "--configfiles: it would take the place of"),
        (("status", "--recipe", "nowhere"), "--recipe: 'nowhere' does not exist"),
        (("init", "a file", "--no-data"), "Error: a file: File exists: a file stands where"),
        (("publish", "me", "--parts", ","), "argument --parts: names nothing"),
        (
            ("evaluate", "m", "--suites", "ruler", "--price", "1"),
            "argument --price: must be two prices such as 2.5,10, not '1'",
        ),
        (
            ("evaluate", "m", "--suites", "ruler", "--context-tokens", "-5"),
            "argument --context-tokens: must be a whole number above zero, not '-5'",
        ),
        (
            ("evaluate", "m", "--suites", "ruler", "--lenghts", "4k"),
            "Error: Snakemake: unrecognized arguments: --lenghts",
        ),
        (
            ("evaluate", "m", "--suites", "ruler", "--endpoint", "ftp://x",
             "--tokenizer", "a/b", "--context-tokens", "5"),
            "Error: --endpoint: url: must be the address of an endpoint",
        ),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_one_sentence(
    typed: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    Path("config.yaml").write_text("recipe: laptop\n")
    Path("a file").touch()
    with pytest.raises(SystemExit) as end:
        typed(*words)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["a file", "config.yaml"]
