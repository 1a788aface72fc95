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

MULTI_HOP = {
    **{"samples": 2, "shards": 1, "chunk_tokens": 384, "reply_tokens": 128},
    "lengths": {"distribution": "uniform", "minimum": 600, "maximum": 900},
}
"""Of samples that no recipe of the project makes."""
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
    (folder / "recipes").mkdir()
    content = read_yaml(REPOSITORY / "recipes" / f"{recipe}.yaml")
    if recipe == "laptop":
        content["synthesis"]["multi_hop"] = MULTI_HOP
    (folder / "recipes" / f"{recipe}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"\$SELFLONG/scripts/(\w+\.py)\"(.*?)(?: 2?> |\) 2>)", done.stdout + done.stderr
    )
    return {name: shlex.split(words) for name, words in found}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for recipe in ("laptop", "selflong", "prolong"):
        found |= planned(recipe, tmp_path_factory.mktemp(recipe))
    return found


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
