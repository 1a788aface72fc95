"""What the rules write and what their launchers take are the same options."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from selflong.launcher import parser
from selflong.recipe.reader import read_yaml
from tests.test_launcher import REPOSITORY, SCRIPTS

BY_HAND = {"demo.py", "dry_launch.py", "where.py"}


def planned(recipe: str, folder: Path) -> dict[str, list[str]]:
    """Launcher -> the words of one of its commands, as the shell gives them."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *(
            "--dry-run",
            "--forceall",
            "--printshellcmds",
            "--nolock",
            "--cores",
            "1",
            "all",
            "plan",
            "verify",
        ),
        *("--configfile", str(REPOSITORY / "config.yaml"), "--config", f"recipe={recipe}"),
    ]
    if not (folder / "recipes").exists():
        (folder / "recipes").symlink_to(REPOSITORY / "recipes")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"\$SELFLONG/scripts/(\w+\.py)\"(.*?)(?: 2?> |\) 2>)", done.stdout + done.stderr
    )
    return {name: shlex.split(words) for name, words in found}


def with_questions(folder: Path) -> str:
    """The laptop's recipe with questions over two documents, which no recipe has; its name."""
    recipe = read_yaml(REPOSITORY / "recipes" / "laptop.yaml")
    recipe["synthesis"]["multi_hop"] = {
        "samples": 2, "shards": 1, "chunk_tokens": 128, "reply_tokens": 32,
        "lengths": {"distribution": "log_uniform", "minimum": 480, "maximum": 2000},
    }  # fmt: skip
    source = {"kind": "synthesised", "generator": "smollm2", "samples": "multi_hop"}
    recipe["mixtures"]["full"]["entries"]["hops"] = {"source": source, "epochs": 1}
    (folder / "recipes").mkdir()
    (folder / "recipes" / "questions.yaml").write_text(
        yaml.safe_dump(recipe | {"name": "questions"})
    )
    return "questions"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for recipe in ("laptop", "selflong", "prolong"):
        found |= planned(recipe, tmp_path_factory.mktemp(recipe))
    folder = tmp_path_factory.mktemp("questions")
    return found | planned(with_questions(folder), folder)


def test_every_launcher_has_a_rule(commands: dict[str, list[str]]) -> None:
    assert set(commands) == {path.name for path in SCRIPTS} - BY_HAND


@pytest.mark.parametrize("script", sorted({path.name for path in SCRIPTS} - BY_HAND))
def test_a_rule_gives_what_its_launcher_takes(
    script: str, commands: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = []
    monkeypatch.setattr(
        "selflong.launcher.launch",
        lambda function, resumes=False, **given: launched.append((function, given)),
    )
    runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="__main__")
    ((function, given),) = launched
    app = parser(function, given)
    _, bound, _ = app.parse_args(commands[script], exit_on_error=False, print_error=False)
    assert bool(bound.kwargs) == bool(commands[script])
