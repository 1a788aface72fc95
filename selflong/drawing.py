"""One look for all figures, and files whose bytes depend on nothing but what is drawn."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from selflong.formats import publish
from selflong.scores import length_name

mpl.use("Agg")

PALETTE = "colorblind"
"""Seaborn's, after Okabe and Ito."""
SEQUENTIAL = "cividis"
"""Evenly rising lightness, alike for eyes with and without colour deficiency (Nunez et al. 2018)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "d", "p")
DOTS_PER_INCH = 200

# The formats would write the date and the library's version by default.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
SUFFIXES = tuple(_METADATA)


@dataclass(frozen=True)
class ReportFigure:
    """A figure and what stands under it."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style."""
    settings = {
        "pdf.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "selflong",
        "figure.constrained_layout.use": True,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "font.family": "DejaVu Sans",
    }
    with mpl.rc_context():
        sns.set_theme(style="whitegrid", palette=PALETTE, context="paper", rc=settings)
        yield


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """<name>.png, <name>.pdf and <name>.svg in `folder`; equal figures give equal bytes."""
    paths = []
    for suffix, metadata in _METADATA.items():
        path = folder / f"{name}.{suffix}"
        # Some settings (the identifiers in SVG, fonts in PDF) count when a figure is saved.
        with publish(path) as partial, style():
            figure.savefig(
                partial,
                format=suffix,
                dpi=DOTS_PER_INCH,
                metadata=metadata,
            )
        paths.append(path)
    plt.close(figure)
    return paths


def plain(label: str) -> str:
    """A label as it is read: matplotlib takes dollars for mathematics, and hides one that begins with _."""
    line = " ".join(label.split()).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def panels(
    count: int, columns: int, size: tuple[float, float], margin: float = 0.0, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure with `count` panels of a width and a height in inches, and its axes [rows, columns].

    margin: inches beside them. shared: which axes they share, as `sharex`. What is left of the last row is
    empty.
    """
    rows = max(1, math.ceil(count / columns))
    width, height = size
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns + margin, height * rows), squeeze=False, **shared
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, axes


Points = Mapping[int, tuple[float, float, float]]
"""Length -> mean, low and high end of its interval, in per cent."""


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
                label=plain(label),
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
        axis.set_title(plain(title))
        figure.legend(loc="outside lower center", ncols=2)
    return figure
