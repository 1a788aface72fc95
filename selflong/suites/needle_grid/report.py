"""The needle grid's table and heatmap."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selflong.drawing import SEQUENTIAL, ReportFigure, panels, plain, style
from selflong.formats import MEAN_OF_TASKS
from selflong.scores import length_name
from selflong.suites.measured import Measured
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.views import mean_by_length
from selflong.tables import Table

ANNOTATED_CELLS = 60
"""A needle grid with at most so many cells has its numbers written in."""
LABELLED_TICKS = 8


def tables(suite: NeedleGrid, name: str, measured: Measured) -> Iterator[Table]:
    """By length."""
    yield by_length(measured, name, suite)


def figures(suite: NeedleGrid, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The whole grid."""
    yield ReportFigure(
        f"{name}_heatmap",
        "Needle in a haystack",
        "Share of the needle's keywords in the answer by depth of the needle and length of the "
        "prompt; lighter is better, grey did not run.",
        partial(heatmap, measured, name, suite),
    )


def by_length(measured: Measured, name: str, suite: NeedleGrid) -> Table:
    """Needle recall by model, at most seven lengths of the grid, and over all of it."""
    step = max(1, -(-len(suite.lengths) // 7))
    lengths = suite.lengths[::-1][::step][::-1]
    title = "Needle in a haystack, mean over depths"
    caption = f"Per cent of the needle's keywords in the answer, over {suite.depths} depths"
    table = mean_by_length(measured, name, lengths, title, caption)
    return replace(table, caption=f"{table.caption} The figure shows the whole grid.")


def heatmap(measured: Measured, name: str, suite: NeedleGrid) -> Figure:
    """One panel a model: depth down, length across, share of the needle's keywords as lightness."""
    checkpoints = measured.checkpoints(name)
    columns = 2 if len(checkpoints) == 4 else min(3, len(checkpoints))
    with style():
        figure, axes = panels(
            len(checkpoints), columns, (3.2, 2.7), margin=0.9, sharex=True, sharey=True
        )
        for axis, checkpoint in zip(axes.flat, checkpoints, strict=False):
            _needle_panel(axis, measured, name, suite, checkpoint)
        for axis in axes[:, 0]:
            axis.set_ylabel("depth of the needle (%)")
        for axis in axes.flat[max(0, len(checkpoints) - columns) : len(checkpoints)]:
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("length (tokens)")
        bar = figure.colorbar(
            plt.cm.ScalarMappable(plt.Normalize(0, 100), SEQUENTIAL), ax=axes, aspect=30, pad=0.02
        )
        bar.set_label("keywords found (%)")
        bar.outline.set_visible(False)
    return figure


def _needle_panel(
    axis: Axes, measured: Measured, name: str, suite: NeedleGrid, checkpoint: str
) -> None:
    cells = measured.scores.filter(
        pl.col("task") != MEAN_OF_TASKS,
        pl.col("depth").is_not_null(),
        suite=name,
        model=checkpoint,
    )
    depths, lengths = sorted(cells["depth"].unique()) or [0.0, 1.0], sorted(suite.lengths)
    grid = np.full((len(depths), len(lengths)), np.nan)
    for depth, length, mean in cells.select("depth", "length", "mean").rows():
        if length in lengths:
            grid[depths.index(depth), lengths.index(length)] = 100 * mean
    sns.heatmap(
        grid,
        ax=axis,
        vmin=0,
        vmax=100,
        cmap=SEQUENTIAL,
        cbar=False,
        annot=grid.size <= ANNOTATED_CELLS,
        fmt=".0f",
        annot_kws={"size": 7},
        linewidths=0.5 if grid.size <= ANNOTATED_CELLS else 0,
        xticklabels=False,
        yticklabels=False,
    )
    axis.set_facecolor("0.85")  # what did not run
    axis.set_title(plain(measured.label(checkpoint)))
    _label_ticks(axis.set_xticks, [length_name(length) for length in lengths])
    _label_ticks(axis.set_yticks, [f"{100 * depth:.0f}" for depth in depths])


def _label_ticks(set_ticks: Callable[..., object], labels: Sequence[str]) -> None:
    step = max(1, math.ceil((len(labels) - 1) / (LABELLED_TICKS - 1)))
    shown = range(0, len(labels), step)
    set_ticks([position + 0.5 for position in shown], [labels[position] for position in shown])
