"""Which rows the tables show."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from typing import Literal

from selflong.recipe.section import Section


class Report(Section):
    """Which rows the tables show."""

    paper: Literal["SelfLong", "ProLong"] | None = None
    """Whose published tables stand beside the measured ones."""
    also_published: list[Literal["ProLong", "ProLong-OpenReview", "RULER-leaderboard"]] = []
    """Whose published tables are shown after all others."""
    ablation: dict[str, str] = {}
    """Row of the ablation table -> <model>/<stage>."""
