"""Figures by seaborn, one style: needle grid, RULER by length, loss, sample lengths, funnel."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from selflong.formats import MEAN_OF_TASKS
from selflong.recipe import NeedleGrid, PublishedRulerSuite, RecallSuite, RulerSuite
from selflong.report.recall import repeats
from selflong.report.results import Measured, convention, ruler_tasks
from selflong.report.style import MARKERS, SEQUENTIAL, style
from selflong.scores import length_name

ANNOTATED_CELLS = 60
"""A needle grid with at most so many cells has its numbers written in."""
LABELLED_TICKS = 8


def needle_heatmap(measured: Measured, name: str, suite: NeedleGrid) -> Figure:
    """One panel a model: depth down, length across, share of the needle's keywords as lightness."""
    checkpoints = measured.checkpoints(name)
    columns = 2 if len(checkpoints) == 4 else min(3, len(checkpoints))
    rows = math.ceil(len(checkpoints) / columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(3.2 * columns + 0.9, 2.7 * rows), squeeze=False,
            sharex=True, sharey=True,
        )  # fmt: skip
        for axis in axes.flat[len(checkpoints) :]:
            axis.set_axis_off()
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
        (pl.col("suite") == name)
        & (pl.col("model") == checkpoint)
        & (pl.col("task") != MEAN_OF_TASKS)
        & pl.col("depth").is_not_null()
    )
    depths = sorted(cells["depth"].unique()) or [0.0, 1.0]
    grid = np.full((len(depths), len(suite.lengths)), np.nan)
    for depth, length, mean in cells.select("depth", "length", "mean").rows():
        if length in suite.lengths:
            grid[depths.index(depth), suite.lengths.index(length)] = 100 * mean
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
    axis.set_title(measured.label(checkpoint))
    _label_ticks(axis.set_xticks, [length_name(length) for length in suite.lengths])
    _label_ticks(axis.set_yticks, [f"{100 * depth:.0f}" for depth in depths])


def _label_ticks(set_ticks: Callable[..., object], labels: Sequence[str]) -> None:
    step = max(1, math.ceil((len(labels) - 1) / (LABELLED_TICKS - 1)))
    shown = range(0, len(labels), step)
    set_ticks([position + 0.5 for position in shown], [labels[position] for position in shown])


Points = Mapping[int, tuple[float, float, float]]
"""Length -> mean, low and high end of its interval, in per cent."""


def ruler_by_length(
    measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite
) -> Figure:
    """Mean of the tasks against length, one line a model, with 95% intervals."""
    cells = measured.scores.filter(
        (pl.col("suite") == name) & (pl.col("task") == MEAN_OF_TASKS) & pl.col("depth").is_null()
    )
    lines = [
        (
            measured.label(checkpoint),
            {
                length: (100 * mean, 100 * low, 100 * high)
                for length, mean, low, high in cells.filter(pl.col("model") == checkpoint)
                .select("length", "mean", "low", "high")
                .rows()
            },
        )
        for checkpoint in measured.checkpoints(name)
    ]
    return lines_by_length(
        lines,
        sorted(suite.lengths),
        f"RULER, mean of {len(ruler_tasks(suite))} tasks (%)",
        f"RULER by length ({convention(suite)}), 95% intervals",
    )


def recall_by_length(measured: Measured, name: str, suite: RecallSuite) -> Figure:
    """Share of the needles recalled against length, one line for the models with one label."""
    lines = []
    for group in repeats(measured, name):
        points = {}
        for length in suite.lengths:
            cell = group.cell(measured, name, length)
            if cell.value is not None and cell.low is not None and cell.high is not None:
                points[length] = (cell.value, cell.low, cell.high)
        lines.append((group.label, points))
    return lines_by_length(
        lines, sorted(suite.lengths), "needles recalled (%)", "Recall by length, range over seeds"
    )


def lines_by_length(
    lines: Sequence[tuple[str, Points]], lengths: Sequence[int], measure: str, title: str
) -> Figure:
    """One line a label; labels stand side by side at a length, so that intervals do not hide each other."""
    with style():
        figure, axis = plt.subplots(figsize=(6.0, 3.2 + 0.18 * math.ceil(len(lines) / 2)))
        colours = sns.color_palette(n_colors=max(1, len(lines)))
        shift = np.linspace(-0.08, 0.08, len(lines)) if len(lines) > 1 else [0.0]
        for index, (label, points) in enumerate(lines):
            place = [lengths.index(length) for length in sorted(points)]
            values = np.array([points[length] for length in sorted(points)]).reshape(-1, 3)
            mean, low, high = values.T
            axis.errorbar(
                np.array(place) + shift[index],
                mean,
                yerr=[mean - low, high - mean],
                label=label,
                color=colours[index],
                marker=MARKERS[index % len(MARKERS)],
                markersize=4.5,
                linestyle="-" if index < len(sns.color_palette()) else "--",
                linewidth=1.4,
                capsize=2.5,
            )
        axis.set_xticks(range(len(lengths)), [length_name(length) for length in lengths])
        axis.set_xlim(-0.4, len(lengths) - 0.6)
        axis.set_ylim(0, 101)
        axis.set_xlabel("length (tokens)")
        axis.set_ylabel(measure)
        axis.set_title(title)
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def read_metrics(path: Path) -> pl.DataFrame:
    """Columns step, tokens, loss of a training stage's metrics.jsonl, in order of steps."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    values = [{name: row[name] for name in ("step", "tokens", "loss")} for row in rows]
    schema = {"step": pl.Int64, "tokens": pl.Int64, "loss": pl.Float64}
    return pl.DataFrame(values, schema=schema).sort("step")


def loss_by_stage(metrics: Mapping[str, Path], measured: Measured) -> Figure:
    """Loss against tokens seen, the stages of a model one after the other, one panel a label."""
    panels: dict[str, dict[str, dict[str, pl.DataFrame]]] = {}
    for checkpoint, path in metrics.items():
        model, _, stage = checkpoint.partition("/")
        models = panels.setdefault(measured.recipe.models[model].label, {})
        models.setdefault(model, {})[stage] = read_metrics(path)
    columns = min(2, max(1, len(panels)))
    rows = max(1, math.ceil(len(panels) / columns))
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(5.0 * columns, 2.9 * rows), squeeze=False
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis, (label, models) in zip(axes.flat, panels.items(), strict=False):
            for index, stages in enumerate(models.values()):
                _loss_lines(axis, stages, named=index == 0)
            axis.legend(title="stage", ncols=3)
            axis.set_title(f"{label}: loss by stage")
            axis.set_xlabel("tokens trained on")
        for axis in axes[:, 0]:
            axis.set_ylabel("loss (nats per target)")
    return figure


def _loss_lines(axis: Axes, stages: Mapping[str, pl.DataFrame], *, named: bool) -> None:
    """The stages of one model; the legend names those of the panel's first."""
    colours = sns.color_palette(n_colors=len(stages))
    before = 0
    for index, (stage, frame) in enumerate(stages.items()):
        if frame.is_empty():
            continue
        axis.plot(
            before + frame["tokens"].to_numpy(),
            frame["loss"],
            color=colours[index],
            marker=MARKERS[index % len(MARKERS)] if frame.height <= 60 else None,
            markersize=4,
            linewidth=1.4,
            label=stage if named else None,
        )
        before += int(frame["tokens"][-1])
        if index < len(stages) - 1:
            axis.axvline(before, color="0.5", linewidth=0.8, linestyle=":")
    axis.xaxis.set_major_formatter(lambda value, _: _short_number(value))
    axis.margins(y=0.15)


def _short_number(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def lengths(counts: Mapping[str, Mapping[int, int]], title: str, what: str) -> Figure:
    """One panel a source: how many there are in each bin of lengths (by lower bound), logarithmic axis.

    `what` is counted: "sample" or "document".
    """
    sources = {source: bins for source, bins in counts.items() if sum(bins.values())}
    with style():
        figure, axes = plt.subplots(
            max(1, len(sources)), 1, figsize=(5.6, 1.25 * max(1, len(sources)) + 0.9), sharex=True,
            squeeze=False,
        )  # fmt: skip
        figure.suptitle(title, fontsize=10)
        colours = sns.color_palette(n_colors=max(1, len(sources)))
        for axis, (source, bins), colour in zip(axes[:, 0], sources.items(), colours, strict=False):
            _length_panel(axis, bins, colour)
            axis.set_ylabel(f"{what}s")
            axis.set_title(
                f"{source.replace('_', ' ')}: {sum(bins.values()):,} {what}s",
                loc="left",
                fontsize=9,
            )
        axes[-1, 0].set_xlabel(f"length of a {what} (tokens)")
    return figure


def _length_panel(axis: Axes, bins: Mapping[int, int], colour: tuple[float, float, float]) -> None:
    """A bin reaches to the next lower bound, the last one to twice its own."""
    bounds = np.maximum(1, np.array(sorted(bins)))
    ends = np.append(bounds[1:], 2 * bounds[-1])
    held = [bins[bound] for bound in sorted(bins)]
    axis.bar(
        bounds, held, width=ends - bounds, align="edge", color=colour, edgecolor="white",
        linewidth=0.4,
    )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: length_name(round(value)))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axis.grid(visible=False, axis="x")


def funnel(steps: Sequence[tuple[str, str, int]], title: str) -> Figure:
    """Bars of (group, step, rows) from top to bottom: what each step let through or dropped, and why."""
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 0.27 * max(3, len(steps)) + 0.9))
        groups = list(dict.fromkeys(group for group, _, _ in steps))
        colours = dict(zip(groups, sns.color_palette(n_colors=max(1, len(groups))), strict=False))
        for position, (group, _, rows) in enumerate(steps):
            axis.barh(position, rows, color=colours[group], height=0.75)
            axis.annotate(
                f"{rows:,}", (rows, position), xytext=(3, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        axis.set_yticks(range(len(steps)), [f"{group}: {step}" for group, step, _ in steps])
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.12)
        axis.set_xlabel("rows")
        axis.set_title(title)
    return figure
