"""HELMET scores its answers itself, but for those that a model judges."""

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric | None:
    """None: its own metrics need more than the prediction."""
    return None
