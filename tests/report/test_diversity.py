"""The table of instructions and answers by kind."""

from selflong.recipe.recipe import Recipe
from selflong.report.diversity import diversity
from selflong.results import Results


def test_the_instructions_and_answers_are_shown_by_kind(laptop: Recipe, results: Results) -> None:
    found = diversity(laptop, results, "smollm2")
    assert [tuple(cell.text for cell in row) for row in found.rows] == [
        ("causes", "1", "4", "0.0", "0", "", "", "", "", ""),
        ("comparison", "2", "6", "71.4", "2", "100", "90", "75.0", "75.0", "50.0"),
        ("all", "3", "5", "47.6", "2", "100", "90", "75.0", "75.0", "50.0"),
    ]
    assert {cell.file for row in found.rows for cell in row[1:4]} == {
        "synthesis/smollm2/instructions"
    }
