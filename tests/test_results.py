"""Names of results: the pattern of a rule and the path of a file are the same name."""

import re
from pathlib import Path

import pytest

from selflong.recipe.loading import load_recipe, load_site
from selflong.results import Named, Results, prediction_files, report_files, results_of

REPOSITORY = Path(__file__).parents[1]
NAMES = Results(Path("results/r"))


def named() -> dict[str, list[str]]:
    """Of each path with names in it, those names."""
    return {name: path.names for name, path in vars(Results).items() if isinstance(path, Named)}


@pytest.mark.parametrize("name", named())
def test_a_wildcard_stands_for_each_part_of_a_name(name: str) -> None:
    parts = named()[name]
    pattern = str(getattr(NAMES, name)(*(f"{{{part}}}" for part in parts)))
    file = str(getattr(NAMES, name)(*(f"<{part}>" for part in parts)))
    for part in parts:
        pattern = pattern.replace(f"{{{part}}}", f"<{part}>")
    assert pattern == file
    assert not re.search(r"[{}]", file)


@pytest.mark.parametrize("name", named())
def test_each_name_is_given_once(name: str) -> None:
    parts = named()[name]
    for given in (parts[1:], [*parts, "more"]):
        with pytest.raises(ValueError, match="zip"):
            getattr(NAMES, name)(*given)


def test_no_two_names_are_one_file() -> None:
    values = {name: getattr(NAMES, name)(*parts) for name, parts in named().items()}
    assert len(set(values.values())) == len(values) > 20


def test_only_this_module_names_a_result() -> None:
    sources = (REPOSITORY / "selflong").rglob("*.py")
    naming = {path.name for path in sources if re.search(r"[\"'/{]results/", path.read_text())}
    assert naming <= {"results.py"}


@pytest.mark.parametrize("recipe", ["laptop", "recall", "selflong"])
def test_a_recipe_s_files_differ_and_lie_below_its_results(recipe: str) -> None:
    loaded = load_recipe(REPOSITORY / "recipes" / f"{recipe}.yaml")
    results = results_of(loaded, load_site(REPOSITORY / "config.yaml"))
    files = report_files(loaded, results)
    assert len(set(files)) == len(files)
    assert all(path.is_relative_to(results.root) for path in files)
    for suite in loaded.suites:
        assert set(prediction_files(loaded, results, suite)) <= set(files)
