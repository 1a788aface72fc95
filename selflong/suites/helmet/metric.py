"""HELMET scores its answers itself, but for those that a model judges."""

from selflong.suites.prompt import Metric

JUDGED = ("gpt-4-score", "gpt-4-f1")
"""Metrics of long answers and of summaries that a model gives (its scripts eval_gpt4_*.py)."""


def metric(task: str) -> Metric | None:
    """None: its own metrics need more than the prediction."""
    return None
