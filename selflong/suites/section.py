"""What the sections of several suites have in common."""

from pathlib import Path

from selflong.recipe.section import Section


class HaystackFile(Section):
    """What a suite reads in place of the packaged data."""

    haystack: Path | None = None
    """Text of the essays: JSON with the field `text`, or plain text."""


def _is_none(value: object) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is None
