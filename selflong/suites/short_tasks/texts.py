"""lm-evaluation-harness brings its own texts, which are not known here: it downloads them when it runs."""

from collections.abc import Iterator

from selflong.suites.short_tasks.section import ShortTasks


def texts(suite: ShortTasks) -> Iterator[tuple[str, str]]:
    """None."""
    return iter(())
