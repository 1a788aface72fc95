"""The command `selflong`, as it is started."""

import subprocess
import sys
from pathlib import Path

import yaml

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
