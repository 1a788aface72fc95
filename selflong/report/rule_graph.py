"""The workflow figure: Snakemake's rule graph, one column a stage, without Graphviz."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from selflong.drawing import save, style
from selflong.formats import publish
from selflong.job import UserError

STAGES = (
    "beginning", "corpus", "retrieval", "synthesis", "mixture", "training", "evaluation", "report",
)  # fmt: skip

_NODE = re.compile(r'^\s*(\d+)\s*\[\s*label\s*=\s*"([^"\\]+)', re.MULTILINE)
_EDGE = re.compile(r"^\s*(\d+)\s*->\s*(\d+)", re.MULTILINE)
_RULE = re.compile(r"^\s*rule\s+(\w+)\s*:", re.MULTILINE)

COLUMN, ROW = 2.3, 0.62
BOX_WIDTH, BOX_HEIGHT = 1.75, 0.36

Edges = set[tuple[str, str]]


def parse_rule_graph(dot: str) -> tuple[list[str], Edges]:
    """Rules and edges (from what makes a file to what reads it) of `snakemake --rulegraph`'s output."""
    names = dict(_NODE.findall(dot))
    if not names:
        raise UserError(
            "the rule graph holds no rule: it must be what `snakemake --rulegraph` prints"
        )
    edges = {(names[a], names[b]) for a, b in _EDGE.findall(dot) if names[a] != names[b]}
    return list(dict.fromkeys(names.values())), edges


def rules_by_stage(folder: Path) -> dict[str, list[str]]:
    """Stage -> rules of `folder`/<stage>.smk, in file order."""
    return {
        stage: _RULE.findall((folder / f"{stage}.smk").read_text(encoding="utf-8"))
        for stage in STAGES
        if (folder / f"{stage}.smk").exists()
    }


def without_shortcuts(rules: Sequence[str], edges: Edges) -> Edges:
    """The transitive reduction: an edge goes where a longer way leads to the same rule."""
    after: dict[str, set[str]] = {rule: {b for a, b in edges if a == rule} for rule in rules}

    def reachable(rule: str, seen: set[str]) -> set[str]:
        for follower in after[rule] - seen:
            seen.add(follower)
            reachable(follower, seen)
        return seen

    beyond = {rule: set().union(*(reachable(f, set()) for f in after[rule])) for rule in rules}
    return {(a, b) for a, b in edges if b not in beyond[a]}


def columns(
    rules: Sequence[str], edges: Edges, stages: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Stage -> its rules from top to bottom, what comes first above. Targets like `all` are left out.

    A rule that reads no other's files (a download, the loading of a model) stands where it is first read.
    """
    of_stage = {rule: stage for stage, members in stages.items() for rule in members}
    placed: dict[str, list[str]] = {stage: [] for stage in STAGES if stage in stages}
    reading = {b for _, b in edges}
    for rule in _topological(rules, edges):
        readers = {of_stage[b] for a, b in edges if a == rule and b in of_stage}
        own = {of_stage[rule]} if rule in of_stage else set()
        candidates = own if rule in reading else own | readers
        if candidates:
            placed[min(candidates, key=STAGES.index)].append(rule)
    return {stage: members for stage, members in placed.items() if members}


def _topological(rules: Sequence[str], edges: Edges) -> list[str]:
    remaining = dict.fromkeys(rules)
    order: list[str] = []
    while remaining:
        free = next(
            (r for r in remaining if not any(b == r and a in remaining for a, b in edges)), None
        )
        if free is None:
            raise UserError(f"the rule graph goes round in a circle among {', '.join(remaining)}")
        del remaining[free]
        order.append(free)
    return order


def workflow_figure(dot: str, stages: Mapping[str, Sequence[str]]) -> Figure:
    """Left to right by stage; what a rule reads comes from the left, from above, or back from the right."""
    rules, edges = parse_rule_graph(dot)
    placed = columns(rules, edges, stages)
    shown = {rule for members in placed.values() for rule in members}
    edges = {(a, b) for a, b in without_shortcuts(rules, edges) if a in shown and b in shown}
    tallest = max(len(members) for members in placed.values())
    places = {
        rule: (column * COLUMN, -ROW * (row + (tallest - len(members)) / 2))
        for column, members in enumerate(placed.values())
        for row, rule in enumerate(members)
    }
    with style():
        width, height = COLUMN * len(placed), ROW * (tallest + 1.2)
        figure, axis = plt.subplots(figsize=(width * 0.82, height * 0.82))
        axis.set_axis_off()
        colours = sns.color_palette("pastel", len(STAGES))
        for column, (stage, members) in enumerate(placed.items()):
            _column(axis, column * COLUMN, stage, tallest, colours[STAGES.index(stage)])
            for rule in members:
                _box(axis, places[rule], rule.replace("_", " "))
        for a, b in sorted(edges):
            _arrow(axis, places[a], places[b])
        axis.set_xlim(-COLUMN / 2, COLUMN * (len(placed) - 0.5) + 0.1)
        axis.set_ylim(-ROW * (tallest - 0.3), ROW * 1.3)
    return figure


def _column(
    axis: Axes, x: float, stage: str, tallest: int, colour: tuple[float, float, float]
) -> None:
    width = COLUMN - 0.2
    axis.add_patch(
        FancyBboxPatch(
            (x - width / 2, -ROW * (tallest - 0.45)),
            width,
            ROW * (tallest + 0.5),
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=colour,
            alpha=0.35,
            edgecolor="none",
            zorder=0,
        )
    )
    axis.text(x, ROW * 0.6, stage, ha="center", va="center", fontsize=11, weight="bold", zorder=3)


def _box(axis: Axes, place: tuple[float, float], text: str) -> None:
    x, y = place
    axis.add_patch(
        FancyBboxPatch(
            (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="white",
            edgecolor="0.35",
            linewidth=0.9,
            zorder=2,
        )
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=8.5, zorder=3)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Down inside a column (round the boxes between), from side to side across columns; far ones are pale."""
    (x0, y0), (x1, y1) = start, end
    far = abs(x1 - x0) > COLUMN * 1.01
    if x0 != x1:
        side = BOX_WIDTH / 2 if x0 < x1 else -BOX_WIDTH / 2
        begin, finish = (x0 + side, y0), (x1 - side, y1)
        bend = f"arc3,rad={0.1 if y1 < y0 else -0.1}" if far else "arc3,rad=0"
    elif y0 - y1 <= ROW * 1.01:
        begin, finish, bend = (x0, y0 - BOX_HEIGHT / 2), (x1, y1 + BOX_HEIGHT / 2), "arc3,rad=0"
    else:
        begin, finish = (x0 + BOX_WIDTH / 2, y0), (x1 + BOX_WIDTH / 2, y1)
        bend = "arc3,rad=-0.25"
    axis.add_patch(
        FancyArrowPatch(
            begin, finish, connectionstyle=bend, arrowstyle="-|>", mutation_scale=8,
            color="0.6" if far else "0.2", linewidth=0.9, shrinkA=0, shrinkB=0, zorder=1,
        )
    )  # fmt: skip


def write_workflow_figure(dot: str, rules: Path, output: Path) -> None:
    """Publish the folder `output` with workflow.png, .pdf and .svg, from the text of a rule graph."""
    with publish(output) as folder:
        folder.mkdir()
        save(workflow_figure(dot, rules_by_stage(rules)), folder, "workflow")
