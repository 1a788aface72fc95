"""Words that every sentence about a recipe or a site shares."""

import difflib
import heapq
from collections.abc import Iterable

SHOWN = 80  # characters of a value
LISTED = 300  # characters of all names that exist
COMPARED = 500  # names that a misspelling is compared with


def cut(text: str, characters: int) -> str:
    """The beginning of a text that is too long for a sentence."""
    return text if len(text) <= characters else f"{text[:characters]}…"


def shown(value: object) -> str:
    """A value of the user's, as a sentence about it names it."""
    return cut(repr(value), SHOWN)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that the given one is most likely a misspelling of.

    Of very many names those of like length are compared.
    """
    like = heapq.nsmallest(COMPARED, known, key=lambda other: abs(len(other) - len(name)))
    return next(iter(difflib.get_close_matches(name, like, n=1)), None)


def does_not_exist(name: str, known: Iterable[str]) -> str:
    """That a name refers to nothing, with the nearest one that exists, or all."""
    names = sorted(known)
    near = nearest(name, names)
    listed = cut(", ".join(names), LISTED) or "none"
    hint = f"did you mean {near!r}?" if near else f"there are {listed}"
    return f"{shown(name)} does not exist; {hint}"
