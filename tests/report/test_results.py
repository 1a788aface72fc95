"""Numbers of the tables: each names its file, and is found again in it."""

from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.recipe.recipe import Recipe
from selflong.report.build import read_scores, recompute, report_tables, write_report_tables
from selflong.results import Results


def test_every_measured_number_names_an_existing_file(laptop: Recipe, results: Results) -> None:
    counted = 0
    for made in report_tables(laptop, results, read_scores(laptop, results)):
        for cell in (cell for cells in made.rows for cell in cells if cell.file is not None):
            assert (results.root / cell.file).exists()
            counted += 1
    assert counted > 100


def test_tables_are_written_and_recomputed(
    laptop: Recipe, results: Results, tmp_path: Path
) -> None:
    folder = tmp_path / "tables"
    write_report_tables(laptop, results, folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"ruler_by_length.md", "ruler_by_length.csv", "ruler_by_length.tex"} <= set(first)
    assert recompute(laptop, results, folder) > 200
    write_report_tables(laptop, results, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_changed_number_is_found(laptop: Recipe, results: Results, tmp_path: Path) -> None:
    write_report_tables(laptop, results, tmp_path / "tables")
    path = tmp_path / "tables" / "ruler_by_length.csv"
    text = path.read_text()
    number = text.splitlines()[1].split(",")[1]
    path.write_text(text.replace(number, str(float(number) + 1), 1))
    with pytest.raises(UserError, match=r"ruler_by_length\.csv, line 2"):
        recompute(laptop, results, tmp_path / "tables")
