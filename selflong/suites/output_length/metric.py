"""What scores the length of an answer."""

from collections.abc import Sequence
from fractions import Fraction

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric:
    """The length score, for the one task that there is."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """1 where as many words were written as asked for; 0 from four times as many on, or a third.

    The length score of LongWriter (arXiv 2408.07055, section 3.2), linear in the ratio of the two.
    """
    asked, written = int(answers[0]), len(prediction.split())
    if written == 0:
        return 0.0
    excess = Fraction(written, asked) - 1
    loss = excess / 3 if excess > 0 else (Fraction(asked, written) - 1) / 2
    return float(max(Fraction(0), 1 - loss))
