"""Files that a suite names in place of the packaged data."""

from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.recipe.loading import load_site
from selflong.recipe.models import Model
from selflong.recipe.recipe import Recipe
from selflong.recipe.weights import FolderWeights
from selflong.run.run import Run
from selflong.suites.ruler.section import RulerFiles
from tests.suites.jobs import RULER

REPOSITORY = Path(__file__).parents[3]


def test_a_suite_that_names_no_file_has_the_digest_of_before() -> None:
    assert "files" not in RULER.model_dump()
    assert RULER.model_copy(update={"files": RulerFiles()}).digest != RULER.digest


def test_a_named_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    suite = RULER.model_copy(update={"files": RulerFiles(haystack=tmp_path / "none.txt")})
    recipe = Recipe(
        name="r",
        description="",
        seed=1,
        models={"m": Model(label="m", weights=FolderWeights(kind="folder", path=tmp_path))},
        suites={"ruler": suite},
    )
    site = load_site(REPOSITORY / "config.yaml")
    with pytest.raises(UserError, match=r"suites\.ruler\.files\.haystack: .* is no file"):
        Run(recipe, site).inputs.suite_files("ruler")
    (tmp_path / "none.txt").write_text("Rain.")
    assert Run(recipe, site).inputs.texts_files == [tmp_path / "none.txt"]
    folder = RULER.model_copy(update={"files": RulerFiles(haystack=tmp_path)})
    whole = recipe.model_copy(update={"suites": {"ruler": folder}})
    assert Run(whole, site).inputs.suite_files("ruler") == [tmp_path / "none.txt"]
