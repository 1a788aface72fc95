"""The plan as Markdown, JSON and a figure of the timeline."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selflong.estimate import retrieval
from selflong.estimate.data_stages import EntryData, documents, stage_data
from selflong.estimate.index import embedding_bytes
from selflong.estimate.schedule import Span, peak_bytes, schedule
from selflong.estimate.speed import SPEED_COLUMNS, speed_cells, stage_speeds
from selflong.estimate.steps import Planner, Step
from selflong.formats import publish, write_json, write_text
from selflong.placement.fit import choose, longest
from selflong.placement.machines import (
    H100,
    Machine,
    choose_machine,
)
from selflong.placement.shapes import Architecture
from selflong.recipe.models import Stage
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.recipe.site import Site
from selflong.report import published
from selflong.run.shapes import model_shape
from selflong.tables import markdown, pipes

PARTS = (
    "download", "corpus", "retrieval", "synthesis", "mixture", "training", "evaluation", "report",
)  # fmt: skip
COLUMNS = (
    "stage", "jobs", "GPU hours", "wall time", "tokens", "requests", "prompt tokens",
    "answer tokens", "USD", "disk kept", "disk in work",
)  # fmt: skip


LONGEST_ON = (1, 8, 16, 32)
"""GPUs for which the plan says the longest sequence."""


def write_plan(recipe: Recipe, site: Site, output: Path) -> None:
    """Write plan.md, plan.json and timeline.{png,pdf,svg} into the folder `output`."""
    machine = choose_machine(recipe, site)
    steps = Planner(recipe, site, machine).steps()
    spans = schedule(steps, machine.nodes)
    with publish(output) as folder:
        folder.mkdir()
        write_text(_markdown(recipe, site, machine, steps, spans), folder / "plan.md")
        write_json(_as_json(recipe, machine, steps, spans), folder / "plan.json")
        draw_timeline(recipe, machine, steps, spans, folder)


# ------------------------------------------------------------------------------------------- JSON


SUMMED = (
    "jobs", "tokens", "requests", "prompt_tokens", "shared_tokens", "completion_tokens", "usd",
    "kept_bytes",
)  # fmt: skip
"""Of steps what adds up to a stage's and to the whole."""


def _totals(machine: Machine, steps: Sequence[Step], spans: dict[str, Span]) -> dict[str, Any]:
    return {
        **{name: sum(getattr(step, name) for step in steps) for name in SUMMED},
        "device_hours": sum(step.device_hours(machine) for step in steps),
        "wall_seconds": max(span.end for span in spans.values())
        - min(span.begin for span in spans.values()),
        "work_bytes": max((step.work_bytes for step in steps), default=0.0),
        "memory_bytes": max((step.memory for step in steps if step.uses_devices), default=0.0),
    }


def _as_json(
    recipe: Recipe, machine: Machine, steps: Sequence[Step], spans: dict[str, Span]
) -> dict[str, Any]:
    parts = {
        part: _totals(machine, chosen, {step.name: spans[step.name] for step in chosen})
        for part in PARTS
        if (chosen := [step for step in steps if step.part == part])
    }
    return {
        "recipe": recipe.name,
        "machine": {"name": machine.name, "nodes": machine.nodes, "devices": machine.devices},
        "total": _totals(machine, steps, spans) | {"peak_bytes": peak_bytes(steps, spans)},
        "stages": parts,
        "mixtures": [
            {"mixture": mixture, "stage": stage, "source": source, **vars(entry), "share": share}
            for mixture, stage, source, entry, share in _accounting(recipe)
        ],
        "steps": [
            {
                **{name: getattr(step, name) for name in (*SUMMED, "name", "nodes", "work_bytes")},
                "stage": step.part,
                "seconds_of_a_job": step.seconds,
                **vars(spans[step.name]),
                "device_hours": step.device_hours(machine),
                "memory_bytes": step.memory,
                "fits": step.fits,
                "advice": step.advice,
            }
            for step in steps
        ],
    }


# --------------------------------------------------------------------------------------- Markdown


def _count(value: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}" if value else ""


def _size(value: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return "< 1 MB" if value else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"


def _cells(name: str, total: dict[str, Any]) -> list[str]:
    return [
        name,
        f"{total['jobs']:,}",
        f"{total['device_hours']:,.1f}" if total["device_hours"] else "",
        _duration(total["wall_seconds"]),
        _count(total["tokens"]),
        _count(total["requests"]),
        _count(total["prompt_tokens"]),
        _count(total["completion_tokens"]),
        f"{total['usd']:,.0f}" if total["usd"] else "",
        _size(total["kept_bytes"]),
        _size(total["work_bytes"]),
    ]


def _markdown(
    recipe: Recipe, site: Site, machine: Machine, steps: Sequence[Step], spans: dict[str, Span]
) -> str:
    plan = _as_json(recipe, machine, steps, spans)
    total = plan["total"]
    columns = list(COLUMNS)
    if not machine.has_gpus:
        columns[2] = "core hours"
    lines = [
        f"# Plan of the recipe {recipe.name}",
        "",
        f"On {machine.nodes} node(s) with {machine.devices_per_node} x {machine.name}: "
        f"{total['jobs']:,} jobs, {_duration(total['wall_seconds'])}, "
        f"{total['device_hours']:,.0f} {columns[2]}, {total['usd']:,.0f} USD for endpoints, "
        f"{_size(total['peak_bytes'])} of disk at the peak and {_size(total['kept_bytes'])} kept.",
        "",
        "Answer tokens are what is expected; wall time is from a stage's first job to its last. "
        f"{_count(total['shared_tokens']) or 'None'} of the prompt tokens begin a prompt as they began "
        "one before it, and are not read again by a server that keeps their keys.",
        "",
        *pipes(
            [
                columns,
                *(_cells(name, stage) for name, stage in plan["stages"].items()),
                _cells("**all**", total),
            ]
        ),
        "",
        "## What does not fit",
        "",
        *(_misfits(steps) or ["Everything fits."]),
        "",
        *printed_costs(recipe, machine, steps),
        *(_training_lines(recipe, site) if machine.has_gpus else []),
        *(_speed_lines(recipe, site) if machine.has_gpus else []),
        *(_longest_lines(recipe, site) if machine.has_gpus else []),
        *_index_lines(recipe, machine),
        *_mixture_lines(recipe),
        "## Steps",
        "",
        *pipes(
            [
                ("step", "jobs", "a job", "begins", "ends", "memory of a device", "layout"),
                *(
                    (
                        step.name,
                        str(step.jobs),
                        _duration(step.seconds),
                        _duration(spans[step.name].begin),
                        _duration(spans[step.name].end),
                        _size(step.memory),
                        step.advice,
                    )
                    for step in steps
                ),
            ]
        ),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, table: Sequence[Sequence[str]], *said: str) -> Iterator[str]:
    """A heading, what is said below it, and a table."""
    for paragraph in (f"## {title}", *said):
        yield paragraph
        yield ""
    yield from pipes(table)
    yield ""


def _misfits(steps: Sequence[Step]) -> list[str]:
    return [
        f"- {step.name}: {_size(step.memory)} a device; {step.advice}"
        for step in steps
        if not step.fits
    ]


def printed_costs(recipe: Recipe, machine: Machine, steps: Sequence[Step]) -> Iterator[str]:
    """Device hours of the stages whose H100 hours the paper prints."""
    report = recipe.report
    if not report.costs or report.paper is None:
        return
    printed = published.read(PUBLISHED_RESULTS).filter(paper=report.paper, metric="H100_hours")
    hours = dict(printed.select("model", "value").rows())
    named = {step.name: step for step in steps}
    columns = ("stage", "tokens", "layout", f"hours of {machine.name}", "H100 hours as printed")
    rows = [
        (
            checkpoint,
            _count(step.tokens),
            step.advice,
            f"{step.device_hours(machine):,.0f}",
            f"{float(hours[row]):,.0f}",
        )
        for checkpoint, row in report.costs.items()
        for step in [named[f"model {checkpoint}"]]
    ]
    yield from _section(f"Training beside what {report.paper} prints", [columns, *rows])


def _training_stages(recipe: Recipe, site: Site) -> Iterator[tuple[str, Stage, Architecture]]:
    """Start, stage and shape of the model, of the stages that train: one of each start and length."""
    seen = set()
    for name, model in recipe.models.items():
        start = markdown(recipe.models[recipe.root(recipe.last_checkpoint(name))].label)
        for stage in model.stages:
            if stage.tokens and (start, stage.length) not in seen:
                seen.add((start, stage.length))
                yield start, stage, model_shape(recipe, site, name)


def _training_lines(recipe: Recipe, site: Site) -> Iterator[str]:
    """Memory by part of each stage on one node of 8 x 80 GB, the smallest cluster that the paper's need."""
    rows = []
    for start, stage, shape in _training_stages(recipe, site):
        fit = choose(shape, stage.length, stage.sequences_per_step, H100)
        need = fit.memory
        rows.append(
            (
                start,
                f"{stage.length:,}",
                str(8 * fit.nodes),
                _size(need.total),
                _size(need.parameters + need.gradients + need.optimizer),
                _size(need.checkpoints),
                _size(need.layer),
                _size(need.gathered + need.bucket + need.loss + need.framework),
                ("activations" if fit.layout.offload_activations else "nothing")
                + (" and optimizer" if fit.layout.offload_optimizer else ""),
            )
        )
    if rows:
        columns = (
            "start", "length", "GPUs", "a GPU", "weights, gradients, optimizer",
            "kept by layers", "one layer", "other", "to the CPU",
        )  # fmt: skip
        title = "Training on H100 80 GB: the fewest devices that hold each stage"
        yield from _section(title, [columns, *rows])


def _speed_lines(recipe: Recipe, site: Site) -> Iterator[str]:
    """Time of a sequence and utilisation by kernel: of one document, and of the recipe's own."""
    rows: list[Sequence[str]] = []
    for start, stage, shape in _training_stages(recipe, site):
        rows += [(start, *speed_cells(speed)) for speed in stage_speeds(recipe, shape, stage)]
    if rows:
        yield from _section(
            "Speed of training on H100 80 GB, by published rates of kernels; nothing was measured",
            [("start", *SPEED_COLUMNS), *rows],
            "Model FLOPs utilisation (MFU) is that of causal attention, recomputation not counted.",
        )


def _longest_lines(recipe: Recipe, site: Site) -> Iterator[str]:
    """The longest sequence that devices hold."""
    shapes = {start: shape for start, _, shape in _training_stages(recipe, site)}
    rows = [
        (start, *(f"{longest(shape, count, H100):,}" for count in LONGEST_ON))
        for start, shape in shapes.items()
    ]
    if rows:
        columns = ("start", *(f"{count} GPUs" for count in LONGEST_ON))
        title = "The longest sequence that H100 80 GB train on, optimizer and activations offloaded"
        yield from _section(title, [columns, *rows])


def _index_lines(recipe: Recipe, machine: Machine) -> Iterator[str]:
    """Disk, memory and time of each kind of index for the recipe's own corpus and instructions."""
    section = recipe.synthesis
    if section is None or section.encoder is None:
        return
    encoder = recipe.encoders[section.encoder]
    rows = documents(recipe.corpora[section.corpus]).rows
    queries = section.needed_long_input.samples // section.needed_long_input.shards
    columns = (
        "index", "lists visited", "disk", "memory to build", "memory to search", "to build",
        "to search",
    )  # fmt: skip
    uses = [
        (
            f"{use.index} (this recipe)" if chosen is encoder else use.index,
            f"{chosen.probes:,}" if chosen.probes else "",
            _size(use.disk),
            _size(use.build_memory),
            _size(use.search_memory),
            _duration(use.build_seconds) if use.build_seconds else "",
            _duration(use.search_seconds),
        )
        for chosen in [encoder, *retrieval.alternatives(encoder)]
        for use in [retrieval.index_use(chosen, rows, queries, machine)]
    ]
    yield from _section(
        f"Index of {rows:,} documents in {encoder.dimensions} dimensions",
        [columns, *uses],
        f"Beside {_size(embedding_bytes(rows, encoder.dimensions))} of embeddings in float16, which Flat "
        f"searches where they lie; the time of a search is that of a job with {queries:,} queries.",
    )


def _accounting(recipe: Recipe) -> Iterator[tuple[str, str, str, EntryData, float]]:
    """Mixture, stage, source, what it gives, its share of the stage's tokens."""
    for mixture in recipe.mixtures:
        for stage in stages_of_mixture(recipe, mixture):
            held = stage_data(recipe, mixture, stage)
            for source, entry in held.by_entry.items():
                yield mixture, stage, source, entry, entry.tokens / held.tokens


def _mixture_lines(recipe: Recipe) -> Iterator[str]:
    """What each source gives to each stage, by the published numbers of rows and tokens."""
    if not recipe.mixtures:
        return
    rows = [
        (
            mixture,
            stage,
            source,
            *(f"{count:,.0f}" for count in (entry.rows_in, entry.samples, entry.tokens)),
            f"{share:.1%}",
        )
        for mixture, stage, source, entry, share in _accounting(recipe)
    ]
    yield from _section(
        "Training data, before anything is dropped",
        [("mixture", "stage", "source", "rows", "samples", "tokens", "share"), *rows],
        "Rows are the source's, as published; samples and tokens are what one pass of the stage trains on.",
    )


# ----------------------------------------------------------------------------------------- figure


def draw_timeline(
    recipe: Recipe, machine: Machine, steps: Sequence[Step], spans: dict[str, Span], folder: Path
) -> None:
    """Draw one bar a step, from its first job to its last, by part of the workflow."""
    import matplotlib as mpl

    mpl.use("Agg")
    import seaborn as sns
    from matplotlib.figure import Figure

    colors = dict(zip(PARTS, sns.color_palette("colorblind", len(PARTS)), strict=True))
    longest = max(span.end for span in spans.values())
    unit, scale = ("hours", 3600) if longest > 5400 else ("minutes", 60)
    shown = sorted(steps, key=lambda step: (spans[step.name].begin, PARTS.index(step.part)))
    figure = Figure(figsize=(9, 1 + 0.16 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for row, step in enumerate(shown):
        span = spans[step.name]
        axes.barh(
            row, (span.end - span.begin) / scale, left=span.begin / scale,
            color=colors[step.part], label=step.part,
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [step.name for step in shown], fontsize=6)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(
        f"{unit} on {machine.nodes} node(s), {machine.devices_per_node} x {machine.name}"
    )
    axes.set_title(f"Recipe {recipe.name}")
    handles, labels = axes.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))
    ordered = [part for part in PARTS if part in legend]
    axes.legend([legend[part] for part in ordered], ordered, fontsize=7)
    sns.despine(figure)
    for suffix in ("png", "pdf", "svg"):
        figure.savefig(folder / f"timeline.{suffix}", dpi=150, metadata=_undated(suffix))


def _undated(suffix: str) -> dict[str, Any]:
    """Metadata without a date, so that the same plan gives the same bytes."""
    return {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix, {})
