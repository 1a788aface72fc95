"""What scores an answer to the published prompts: RULER's own metric."""

from selflong.suites.ruler.metric import metric

__all__ = ["metric"]
