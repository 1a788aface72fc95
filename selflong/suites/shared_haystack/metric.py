"""Answers are scored as RULER's."""

from selflong.suites.ruler.metric import metric

__all__ = ["metric"]
