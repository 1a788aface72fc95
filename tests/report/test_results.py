"""Measured tables: what stands where, what is compared with what, and what is said of what is missing."""

from pathlib import Path

import pytest

from selflong.formats import MEAN_OF_TASKS, SCORES, table
from selflong.recipe.recipe import Recipe
from selflong.report import published
from selflong.report.build import (
    PUBLISHED_RESULTS,
    read_scores,
    recompute,
    report_tables,
    write_report_tables,
)
from selflong.report.results import Measured, comparable, result_tables
from selflong.report.tables import NOT_RUN, NOT_SUPPORTED, Cell, Table, escape, to_csv, to_markdown
from selflong.results import Results


def score(suite: str, model: str, length: int | None, mean: float, task: str = MEAN_OF_TASKS):
    return {
        "suite": suite,
        "model": model,
        "task": task,
        "length": length,
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.01,
        "samples": 1300,
        "files": [f"evaluation/{suite}/{model}/all.parquet"],
    }


@pytest.fixture(scope="module")
def tables(selflong: Recipe) -> dict[str, Table]:
    """The paper's recipe with four scores measured."""
    scores = [
        score("ruler_2024", "selflong_8b/1m", 1_000_000, 0.70),
        score("ruler_2024", "short_only/1m", 32_000, 0.80),
        score("ruler_exact", "selflong_8b/1m", 1_048_576, 0.71),
        score("short_tasks", "selflong_8b/1m", None, 0.5, task="BBH"),
    ]
    measured = Measured(selflong, table(scores, SCORES))
    made = result_tables(measured, published.read(PUBLISHED_RESULTS), None)
    return {made_table.name: made_table for made_table in made}


def row(found: Table, *start: str) -> dict[str, str]:
    (cells,) = (r for r in found.rows if tuple(c.text for c in r[: len(start)]) == start)
    return dict(zip(found.columns, (cell.text for cell in cells), strict=True))


def test_measured_stands_beside_published_with_the_difference(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_beside_published"]
    assert row(found, "SelfLong-8B-1M", "measured")["1M"] == "70.0 [68.0, 71.0]"
    assert row(found, "SelfLong-8B-1M", "published")["1M"] == "69.6"
    assert row(found, "SelfLong-8B-1M", "difference")["1M"] == "+0.4 [−1.6, +1.4]"


def test_missing_cells_say_why(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_beside_published"]
    assert row(found, "SelfLong-8B-1M", "measured")["32k"] == NOT_RUN
    assert row(found, "SelfLong-8B-1M", "difference")["32k"] == ""
    assert row(found, "Llama-3.1-8B-Instruct", "measured")["256k"] == NOT_SUPPORTED
    assert row(found, "Llama-3.1-8B-Instruct", "published")["256k"] == ""
    assert row(found, "LWM-Text-Chat-1M", "published")["32k"] == ""


def test_the_exact_convention_has_tables_of_its_own(
    tables: dict[str, Table], selflong: Recipe
) -> None:
    assert comparable(selflong.suites["ruler_2024"])
    assert comparable(selflong.suites["published_ruler"])
    assert not comparable(selflong.suites["ruler_exact"])
    assert "ruler_exact_beside_published" not in tables
    ablation = tables["ruler_exact_ablation"]
    assert len(ablation.rows) == len(selflong.report.ablation)
    assert row(ablation, "full")["1M"] == "71.0 [69.0, 72.0]"


def test_fewer_tasks_or_other_lengths_are_not_comparable(selflong: Recipe) -> None:
    suite = selflong.suites["ruler_2024"]
    assert not comparable(suite.model_copy(update={"tasks": suite.tasks[:12]}))
    assert not comparable(suite.model_copy(update={"lengths": [131_072]}))


def test_ablation_shows_the_papers_rows(tables: dict[str, Table]) -> None:
    found = tables["ruler_2024_ablation"]
    assert row(found, "short data only", "measured")["32k"] == "80.0 [78.0, 81.0]"
    assert row(found, "short data only", "difference")["32k"] == "−3.0 [−5.0, −2.0]"
    assert row(found, "prompt tokens masked", "published")["1M"] == "66.4"
    assert row(found, "prompt tokens masked", "published")["32k"] == ""


def test_short_tasks_stand_beside_table_4(tables: dict[str, Table]) -> None:
    found = tables["short_tasks_by_model"]
    assert row(found, "SelfLong-8B-1M", "published")["BBH"] == "48.7"
    assert row(found, "SelfLong-8B-1M", "difference")["BBH"].startswith("+1.3")
    assert row(found, "SelfLong-8B-1M", "measured")["GPQA"] == NOT_RUN


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
    from selflong.job import UserError

    write_report_tables(laptop, results, tmp_path / "tables")
    path = tmp_path / "tables" / "ruler_by_length.csv"
    text = path.read_text()
    number = text.splitlines()[1].split(",")[1]
    path.write_text(text.replace(number, str(float(number) + 1), 1))
    with pytest.raises(UserError, match=r"ruler_by_length\.csv, line 2"):
        recompute(laptop, results, tmp_path / "tables")


def test_formats_keep_what_a_cell_holds() -> None:
    made = Table(
        "t", "A & B", "50% of_x", ("a|b", "n"),
        ((Cell("x_1"), Cell("1.0 [0.5, 2.0]", 1.0, 0.5, 2.0, 9)), (Cell("y"), Cell(NOT_RUN))),
    )  # fmt: skip
    assert to_csv(made).splitlines() == [
        "a|b,n,n low,n high,n samples",
        "x_1,1,0.5,2,9",
        "y,not run,,,",
    ]
    assert r"| a\|b | n |" in to_markdown(made)
    assert escape("50% of_x & −1") == r"50\% of\_x \& $-$1"


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells"):
        Table("t", "", "", ("a", "b"), ((Cell("x"),),))
