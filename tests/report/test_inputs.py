"""The report reads what its rules name as input, and nothing else that lies below the results."""

import shutil
from pathlib import Path

import pytest

from selflong.recipe.recipe import Recipe
from selflong.report.build import recompute, write_report_tables
from selflong.results import ALL_LENGTHS, Results, report_files


@pytest.fixture
def finished(laptop: Recipe, results: Results, tmp_path: Path) -> Results:
    """A run's own folder of results, with its tables."""
    shutil.copytree(results.root, tmp_path / laptop.name)
    own = Results(tmp_path / laptop.name)
    write_report_tables(laptop, own, own.tables)
    return own


def test_files_of_a_model_that_was_dropped_are_not_read(laptop: Recipe, finished: Results) -> None:
    stale = finished.predictions("ruler", "dropped/initial", ALL_LENGTHS)
    stale.parent.mkdir(parents=True)
    shutil.copy(finished.predictions("ruler", "base/initial", ALL_LENGTHS), stale)
    assert recompute(laptop, finished, finished.tables) > 200


def test_files_from_before_job_per_length_was_toggled_are_not_read(
    laptop: Recipe, finished: Results
) -> None:
    whole = finished.predictions("ruler", "base/initial", ALL_LENGTHS)
    shutil.copy(whole, finished.predictions("ruler", "base/initial", 1024))
    assert recompute(laptop, finished, finished.tables) > 200


def test_the_inputs_of_the_rule_are_enough(
    laptop: Recipe, finished: Results, tmp_path: Path
) -> None:
    alone = Results(tmp_path / "alone")
    for path in report_files(laptop, finished):
        target = alone.root / path.relative_to(finished.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
    assert recompute(laptop, alone, finished.tables) > 200
    write_report_tables(laptop, alone, alone.tables)
    made = {path.name: path.read_bytes() for path in alone.tables.iterdir()}
    assert made == {path.name: path.read_bytes() for path in finished.tables.iterdir()}
