"""The evaluation's own text, which training data must not hold: questions, documents, haystacks, patterns."""

from collections.abc import Mapping
from pathlib import Path

from selflong.formats import EVALUATION_TEXTS, table, write_parquet
from selflong.recipe.suites import Suite
from selflong.suites.kinds import kind_of


def write_evaluation_texts(suites: Mapping[str, Suite], output: Path) -> None:
    """Publish formats.EVALUATION_TEXTS of a recipe's suites; some kinds have none (`texts.py` says why)."""
    rows = [
        {"suite": suite_name, "name": name, "text": text}
        for suite_name, suite in suites.items()
        for name, text in kind_of(suite).texts(suite)
    ]
    write_parquet(
        table(rows, EVALUATION_TEXTS).unique(maintain_order=True), output, EVALUATION_TEXTS
    )
