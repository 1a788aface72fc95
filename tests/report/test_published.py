"""Every published cell is shown, every published name stands for something, nothing is made up."""

from pathlib import Path

import polars as pl
import pytest

from selflong.formats import SCORES
from selflong.job import UserError
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe
from selflong.report import published
from selflong.suites.measured import Measured
from selflong.suites.ruler.report import ABLATION_ROWS, RULER_AVERAGE
from selflong.tables import Table, to_csv, to_latex, to_markdown


@pytest.fixture(scope="module")
def printed() -> pl.DataFrame:
    return published.read(PUBLISHED_RESULTS)


def shown(table: Table) -> dict[tuple[str, str], str]:
    """(row, column) -> text; tables in long form name both in their rows."""
    if table.columns == ("row", "column", "value"):
        return {(row[0].text, row[1].text): row[2].text for row in table.rows}
    return {
        (row[0].text, column): cell.text
        for row in table.rows
        for column, cell in zip(table.columns[1:], row[1:], strict=True)
    }


def test_every_cell_of_the_file_is_in_a_table_and_no_other(printed: pl.DataFrame) -> None:
    for paper in printed["paper"].unique():
        of_paper = printed.filter(pl.col("paper") == paper)
        tables = published.of_paper(printed, paper)
        assert len(tables) == of_paper["table"].n_unique()
        for name, table in zip(of_paper["table"].unique(maintain_order=True), tables, strict=True):
            cells = of_paper.filter(pl.col("table") == name)
            found = shown(table)
            for model, metric, context, text in cells.select(
                "model", "metric", "context_length", "value"
            ).rows():
                names = {metric, context, f"{metric}, {context}"}
                assert text in {found.get((model, column)) for column in names}, (name, model)
            assert sum(1 for text in found.values() if text) == cells.height


def test_the_recipe_shows_every_published_table(printed: pl.DataFrame, selflong: Recipe) -> None:
    shown_papers = {selflong.report.paper, *selflong.report.also_published}
    assert shown_papers == set(printed["paper"])


def test_published_cells_reach_all_three_formats(printed: pl.DataFrame) -> None:
    (table,) = (
        t for t in published.of_paper(printed, "SelfLong") if t.name.endswith("selflong_table1")
    )
    for text in (to_markdown(table), to_csv(table), to_latex(table)):
        assert "SelfLong-8B-1M" in text
        assert "69.6" in text
    assert r"\toprule" in to_latex(table)


def test_every_selflong_name_maps_to_the_recipe(printed: pl.DataFrame, selflong: Recipe) -> None:
    cells = printed.filter(pl.col("paper") == "SelfLong")
    known = {model.published for model in selflong.models.values()}
    for table, model in cells.select("table", "model").unique().rows():
        if table == "Table3":
            assert ABLATION_ROWS[model] in selflong.report.ablation
        elif table in ("Table1", "Table4"):
            assert model in known, f"no model of the recipe is published as {model}"
    metrics = set(cells.filter(pl.col("table") == "Table4")["metric"])
    assert metrics == set(selflong.suites["short_tasks"].tasks)  # type: ignore[attr-defined]


# Names of RULER's leaderboard, with those of the same models in the paper; others it does not compare with.
LEADERBOARD = {
    "Llama-3.1-8B-Instruct": "Llama-3.1-8B-Instruct",
    "GradientAI/Llama3-8B-1048k": "gradientai/Llama-3-8B-Instruct-Gradient-1048k",
    "LWM-Text-Chat-1M (7B)": "LWM-Text-Chat-1M",
}
NOT_COMPARED = {
    "FILM-7B",
    "GLM4-9b-chat-1m",
    "InternLM2.5-7b-chat-1m",
    "Llama-3.1-70B-Instruct",
    "MegaBeam-Mistral (7B)",
    "Phi3-mini",
    "ProLong-512k-Instruct (8B)",
    "Qwen2.5-14B-Instruct-1M (self-reported)",
    "Qwen2.5-7B-Instruct-1M (self-reported)",
}


def test_every_name_of_the_leaderboard_is_a_model_of_the_recipe_or_not_compared(
    printed: pl.DataFrame, selflong: Recipe
) -> None:
    names = set(printed.filter(pl.col("paper") == "RULER-leaderboard")["model"])
    assert names == {*LEADERBOARD, *NOT_COMPARED}
    known = {model.published for model in selflong.models.values()}
    assert set(LEADERBOARD.values()) <= known


def test_no_published_name_of_the_recipe_is_unknown_to_the_file(
    printed: pl.DataFrame, selflong: Recipe
) -> None:
    names = set(printed["model"])
    assert {m.published for m in selflong.models.values() if m.published} <= names
    assert set(ABLATION_ROWS.values()) == set(selflong.report.ablation)


def test_a_missing_cell_is_none(printed: pl.DataFrame, selflong: Recipe) -> None:
    printed_by = Measured(selflong, pl.DataFrame(schema=SCORES), printed)
    average = RULER_AVERAGE
    assert printed_by.published_value("Table1", "SelfLong-8B-1M", average, "1M") == 69.6
    assert printed_by.published_value("Table1", "Llama-3.1-8B-Instruct", average, "1M") is None
    assert printed_by.published_value("Table1", "Llama-3.2-1B-Instruct", average, "128k") == 0.0


def test_a_cell_that_stands_twice_is_refused(tmp_path: Path) -> None:
    lines = PUBLISHED_RESULTS.read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(UserError, match="stands twice"):
        published.read(tmp_path / "twice.csv")
