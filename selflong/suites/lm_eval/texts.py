"""lm-evaluation-harness brings its own texts, which are not known here: it downloads them when it runs."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.lm_eval.section import LmEval


def texts(suite: LmEval, download: Path | None) -> Iterator[tuple[str, str]]:
    """None."""
    return iter(())
