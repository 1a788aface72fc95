"""What scores an answer to GraphWalks."""

import re
from collections.abc import Sequence

from selflong.suites.prompt import Metric

_FINAL = re.compile(r"Final Answer:\s*\[(.*)\]")


def metric(task: str) -> Metric:
    """The same for both problems."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the nodes in the list of the last line against the nodes `answers`.

    As the dataset card words it. Where the card's code differs from its words, the words count: what stands
    before the bracket is no part of the first node, and a list without any wanted node scores 0, not 1.
    Nothing wanted and an empty list given scores 1; without a list the score is 0.
    """
    named = nodes(prediction)
    if named is None:
        return 0.0
    found, wanted = set(named), set(answers)
    if not found and not wanted:
        return 1.0
    return 2 * len(found & wanted) / (len(found) + len(wanted))


def nodes(prediction: str) -> list[str] | None:
    """The nodes of `Final Answer: [a, b]` in the last line; None where it has no such list."""
    match = _FINAL.search(prediction.rstrip("\n").rpartition("\n")[2])
    if match is None:
        return None
    return [item.strip().strip("'\"") for item in match[1].split(",") if item.strip()]
