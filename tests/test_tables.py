"""Tables in their formats."""

import pytest

from selflong.tables import NOT_RUN, Cell, Table, escape, to_csv, to_markdown


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
