"""How large a context can be."""

from collections.abc import Callable


class TooShort(Exception):
    """The smallest context of a sample does not fit."""

    def __init__(self, index: int, tokens: int) -> None:
        super().__init__(index, tokens)
        self.index = index
        self.tokens = tokens
        """Of its message and answer prefix."""


def largest_that_fits(
    tokens: Callable[[int], int], budget: int, guess: int, smallest: int
) -> int | None:
    """A size whose tokens fit the budget while those of the next size do not; None where none fits.

    A line through the smallest size and the guess gives a better guess; steps double away from there until
    they pass the border, then halve.
    """
    least = tokens(smallest)
    if least > budget:
        return None
    low = max(guess, smallest)
    if low > smallest and (more := tokens(low) - least) > 0:
        low = smallest + (low - smallest) * (budget - least) // more
    step = 1
    while tokens(low) > budget:
        high = low
        low = max(smallest, low - step)
        step *= 2
    high = low + 1 if step == 1 else high
    while tokens(high) <= budget:
        step *= 2
        low, high = high, high + step
    while high - low > 1:
        middle = (low + high) // 2
        if tokens(middle) <= budget:
            low = middle
        else:
            high = middle
    return low
