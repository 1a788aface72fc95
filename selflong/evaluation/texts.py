"""The evaluation's own text, which training data must not hold: questions, documents, haystacks, patterns."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from selflong.evaluation.ruler.sources import suite_sources
from selflong.evaluation.suites import kind_of
from selflong.formats import EVALUATION_TEXTS, table, write_parquet
from selflong.recipe.suites import Suite


def write_evaluation_texts(suites: Mapping[str, Suite], output: Path) -> None:
    """Publish formats.EVALUATION_TEXTS of a recipe's suites.

    Short tasks are not in it: their data are the harness's, which downloads them when it runs.
    """
    rows = [
        {"suite": suite_name, "name": name, "text": text}
        for suite_name, suite in suites.items()
        for name, text in _texts(suite)
    ]
    write_parquet(
        table(rows, EVALUATION_TEXTS).unique(maintain_order=True), output, EVALUATION_TEXTS
    )


def _texts(suite: Suite) -> Iterator[tuple[str, str]]:
    texts = kind_of(suite).texts
    return iter(()) if texts is None else texts(suite, suite_sources(suite))
