"""Which rows the tables show, and what stands beside which printed cell."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Label, Name, Positive, Section


class Neighbour(Section):
    """What is measured where a paper prints a column: a mean over tasks and lengths, or over such means."""

    suite: str | None = None
    """Suite of the recipe that measures it."""
    tasks: list[str] = []
    """Of that suite, over which the mean is taken; `mean` is that of all."""
    lengths: list[Positive] = []
    """None for tasks without a length, and of a table whose columns are printed for several."""
    before: bool = False
    """Of the checkpoint that a row's stage starts from, as before fine-tuning."""
    mean: list["Neighbour"] = []
    """Each counts alike, whatever it holds."""

    @property
    def parts(self) -> "list[Neighbour]":
        """What it is made of that suites measure."""
        return [part for inner in self.mean for part in inner.parts] if self.mean else [self]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.mean) == bool(self.suite and self.tasks):
            raise ValueError("give suite and tasks, or mean")
        return self


class PrintedTable(Section):
    """Rows and columns of a printed table (resources/published_results.csv) that have a neighbour."""

    rows: dict[str, str] = Field(min_length=1)
    """Row as printed -> <model> or <model>/<stage>."""
    columns: dict[str, Neighbour] = Field(min_length=1)
    """Column as printed -> what is measured."""
    contexts: dict[str, Positive] = {}
    """Context as printed -> length, of a table whose columns are printed for several."""
    not_measured: dict[str, str] = {}
    """Row or column as printed -> why it has none."""


class Point(Section):
    """A model on a curve."""

    at: float
    """Place on the axis."""
    model: str
    """<model> or <model>/<stage>."""


class Curve(Section):
    """A figure of the paper, drawn from what is measured of models along a quantity."""

    title: str
    """Above the figure."""
    axis: str
    """What the quantity is."""
    points: list[Point] = Field(min_length=2)
    """From left to right."""
    columns_of: str | None = None
    """Table in `printed` whose columns are drawn."""
    columns: dict[str, Neighbour] = {}
    """Columns of its own, where no printed table has them."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.columns) == bool(self.columns_of):
            raise ValueError("give columns_of or columns")
        return self


class Report(Section):
    """Which rows the tables show."""

    paper: Literal["SelfLong", "ProLong"] | None = None
    """Whose published tables stand beside the measured ones."""
    also_published: list[
        Literal["SelfLong", "ProLong", "ProLong-OpenReview", "RULER-leaderboard"]
    ] = []
    """Whose published tables are shown after all others."""
    ablation: dict[Label, str] = {}
    """Row of the ablation table -> <model>/<stage>."""
    printed: dict[str, PrintedTable] = {}
    """Table of the paper -> its measured neighbours."""
    not_measured: dict[str, str] = {}
    """Table or figure of the paper -> why none of it is measured."""
    curves: dict[Name, Curve] = {}
    """Name of a figure -> what it draws."""
    costs: dict[str, str] = {}
    """<model>/<stage> -> row of the printed H100 hours that the plan shows beside its own."""

    def drawn(self, curve: Curve) -> tuple[Mapping[str, Neighbour], list[Positive]]:
        """Columns of a curve, and the lengths that its table prints them for (none: a neighbour's own)."""
        if curve.columns_of is None:
            return curve.columns, []
        table = self.printed[curve.columns_of]
        return table.columns, list(table.contexts.values())
