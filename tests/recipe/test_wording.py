"""However many mistakes there are, and names to compare them with: a screen of sentences, each soon said."""

import difflib
from pathlib import Path
from typing import Any

import pytest

from selflong.job import UserError
from selflong.recipe import loading
from selflong.recipe.loading import MOST_SAID, checked_recipe, read_yaml
from selflong.recipe.wording import COMPARED, nearest

LAPTOP = read_yaml(Path(__file__).parents[2] / "recipes" / "laptop.yaml")
MANY = 20_000


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many names each misspelling is compared with from now on."""
    sizes: list[int] = []
    compare = difflib.get_close_matches

    def counted(name: str, names: list[str], n: int) -> list[str]:
        sizes.append(len(names))
        return compare(name, names, n=n)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    return sizes


@pytest.mark.parametrize(
    ("name", "expected"), [("lenght", "length"), ("nothing_like_it", None), ("", None)]
)
def test_of_many_names_a_few_are_compared(
    compared: list[int], name: str, expected: str | None
) -> None:
    names = [f"{'x' * (number % 90)}{number}" for number in range(MANY)]
    assert nearest(name, [*names, "length"]) == expected
    assert compared == [COMPARED]


@pytest.mark.parametrize(
    "changes",
    [
        {f"key_{number}": number for number in range(MANY)},
        {"models": {f"m{number}": {"lable": "x"} for number in range(MANY)}},
        {"report": {"ablation": {f"row {number}": f"fulll{number}" for number in range(MANY)}}},
        {"deviations": ["\x1b"] * MANY},
    ],
    ids=["keys", "models", "references", "characters"],
)
def test_any_number_of_mistakes_is_a_screen(
    monkeypatch: pytest.MonkeyPatch, compared: list[int], changes: dict[str, Any]
) -> None:
    made: list[str] = []
    sentence = loading._sentence

    def counted(*given: Any) -> str:
        made.append(sentence(*given))
        return made[-1]

    monkeypatch.setattr(loading, "_sentence", counted)
    with pytest.raises(UserError) as mistakes:
        checked_recipe(LAPTOP | changes, "laptop.yaml")
    assert len(str(mistakes.value).splitlines()) == MOST_SAID
    assert max(len(made), len(compared)) <= 2 * MOST_SAID
