"""Tables in their formats."""

import csv
import io

import pytest

from selflong.tables import NOT_RUN, Cell, Table, escape, to_csv, to_latex, to_markdown


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


@pytest.mark.parametrize(
    ("label", "markdown", "field", "latex"),
    [
        ("=cmd|' /C calc'!A0", r"=cmd\|' /C calc'!A0", "'=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
        ("+1", "+1", "'+1", "+1"),
        ("@sum(a)", "@sum(a)", "'@sum(a)", "@sum(a)"),
        ("two\nlines\r| x", r"two lines \| x", "two lines | x", "two lines | x"),
        ("<script>", "&lt;script&gt;", "<script>", r"\textless{}script\textgreater{}"),
        ("[a](http://b)", r"[a]\(http://b)", "[a](http://b)", "[a](http://b)"),
        ("$\\frac{$ _x", r"$\\frac{$ _x", r"$\frac{$ _x", r"\$\textbackslash{}frac\{\$ \_x"),
    ],
)
def test_a_label_is_text_in_every_format(label: str, markdown: str, field: str, latex: str) -> None:
    made = Table("t", "title", "caption", ("model", "n"), ((Cell(label), Cell("1", 1.0)),))
    assert to_markdown(made).splitlines()[4] == f"| {markdown} | 1 |"
    assert list(csv.reader(io.StringIO(to_csv(made))))[1] == [field, "1"]
    assert f"{latex} & 1" in to_latex(made)
