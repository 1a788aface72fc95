"""Figures of the data and of the training, in the report's one style: loss, lengths, funnel."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from selflong.drawing import MARKERS, panels, plain, style
from selflong.formats import read_lines
from selflong.scores import length_name
from selflong.suites.measured import Measured


def read_losses(path: Path) -> pl.DataFrame:
    """Columns step, tokens, loss of a training stage's metrics.jsonl, in order of steps."""
    names = ("step", "tokens", "loss")
    values = [{name: row[name] for name in names} for row in read_lines(path)]
    schema = {"step": pl.Int64, "tokens": pl.Int64, "loss": pl.Float64}
    return pl.DataFrame(values, schema=schema).sort("step")


def loss_by_stage(metrics: Mapping[str, Path], measured: Measured) -> Figure:
    """Loss against tokens seen, the stages of a model one after the other, one panel a label."""
    by_label: dict[str, dict[str, dict[str, pl.DataFrame]]] = {}
    for checkpoint, path in metrics.items():
        model, _, stage = checkpoint.partition("/")
        models = by_label.setdefault(measured.recipe.models[model].label, {})
        models.setdefault(model, {})[stage] = read_losses(path)
    with style():
        figure, axes = panels(len(by_label), min(2, max(1, len(by_label))), (5.0, 2.9))
        for axis, (label, models) in zip(axes.flat, by_label.items(), strict=False):
            for index, stages in enumerate(models.values()):
                _loss_lines(axis, stages, named=index == 0)
            axis.legend(title="stage", ncols=3)
            axis.set_title(plain(f"{label}: loss by stage"))
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
            label=plain(stage) if named else None,
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
                plain(source.replace("_", " ")) + f": {sum(bins.values()):,} {what}s",
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
        axis.set_yticks(range(len(steps)), [plain(f"{group}: {step}") for group, step, _ in steps])
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.12)
        axis.set_xlabel("rows")
        axis.set_title(title)
    return figure
