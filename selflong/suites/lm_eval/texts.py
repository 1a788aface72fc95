"""lm-evaluation-harness brings its own texts, which are not known here: it downloads them when it runs."""

from collections.abc import Iterator

from selflong.suites.lm_eval.section import LmEval


def texts(suite: LmEval) -> Iterator[tuple[str, str]]:
    """None."""
    return iter(())
