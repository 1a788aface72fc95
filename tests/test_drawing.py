"""Labels of a recipe in figures."""

import io

import pytest

from selflong.drawing import lines_by_length


@pytest.mark.parametrize(
    "label",
    [r"$\frac{$", "_hidden", "two\nlines", "$", "$x$ and $y$", "<script>", "&amp;", "%", "^"],
)
def test_any_label_is_drawn_as_it_is_read(label: str) -> None:
    figure = lines_by_length([(label, {1024: (50.0, 40.0, 60.0)})], [1024], "score", label)
    figure.savefig(io.BytesIO(), format="svg")
    (legend,) = figure.legends
    (text,) = legend.get_texts()
    expected = " ".join(label.split())
    assert text.get_text().replace(r"\$", "$").strip() == expected
