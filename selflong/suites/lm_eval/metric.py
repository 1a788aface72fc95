"""lm-evaluation-harness scores its answers itself."""

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric | None:
    """None: its own metrics need more than the prediction."""
    return None
