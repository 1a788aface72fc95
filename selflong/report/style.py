"""One look for all figures, and files whose bytes depend on nothing but what is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

from selflong.formats import publish

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
