"""HELMET's table."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.helmet.section import JUDGED, Helmet
from selflong.suites.measured import Measured
from selflong.suites.views import each_task
from selflong.tables import Table


def tables(suite: Helmet, name: str, measured: Measured) -> Iterator[Table]:
    """HELMET's datasets by model and length."""
    yield each_task(
        measured,
        name,
        suite.lengths,
        list(suite.tasks),
        title="HELMET by dataset",
        caption="Per cent, each dataset by the metric that the recipe names"
        f"{_judge(suite)}{_citations(suite)}",
    )


def _judge(suite: Helmet) -> str:
    titles = [title for title, task in suite.tasks.items() if task.partition(" ")[2] in JUDGED]
    if suite.judge is None or not titles:
        return ""
    return f", {', '.join(titles)} as {suite.judge.model} judges the answers"


def _citations(suite: Helmet) -> str:
    """What of ALCE's answers no score of the suite is on."""
    cited = [task for task in suite.tasks.values() if task.startswith(("alce", "asqa", "qampari"))]
    if not cited or suite.scores_citations:
        return ""
    return "; ALCE's citations are not scored, as HELMET's authors score them beside its answers"


def figures(suite: Helmet, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: its datasets have metrics of their own, which no line joins."""
    return iter(())
