"""The evaluation's own text, which training data must not hold: questions, documents, haystacks, patterns."""

from collections.abc import Mapping
from pathlib import Path

from selflong.formats import EVALUATION_TEXTS, parquet_writer, table
from selflong.recipe.suites import Suite
from selflong.suites.kinds import kind_of


def write_evaluation_texts(
    suites: Mapping[str, Suite], downloads: Mapping[str, Path], output: Path
) -> None:
    """Publish formats.EVALUATION_TEXTS of a recipe's suites; some kinds have none (`texts.py` says why).

    `downloads` holds those of the suites whose texts lie in them.
    """
    with parquet_writer(output, EVALUATION_TEXTS) as append:
        for suite_name, suite in suites.items():
            rows = [
                {"suite": suite_name, "name": name, "text": text}
                for name, text in kind_of(suite).texts(suite, downloads.get(suite_name))
            ]
            append(table(rows, EVALUATION_TEXTS).unique(maintain_order=True))
