"""What a run shows, in words that are a function of its numbers: said first on the page.

Nothing here knows a recipe. In each suite the first model that is trained on from a base is compared with
that base and with the base that only got another RoPE base, at each length that all of them were asked at.
Two scores differ where their intervals do not meet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import polars as pl

from selflong.formats import MEAN_OF_TASKS, TOKEN_COUNTS, read_lines, read_object, read_parquet
from selflong.recipe.models import INITIAL
from selflong.recipe.recipe import Recipe
from selflong.recipe.weights import RandomWeights
from selflong.report import counts
from selflong.report.timing import RunTime
from selflong.results import Results, corpus_shards
from selflong.scores import length_name
from selflong.suites.measured import Measured, Repeats, repeats
from selflong.suites.section import SuiteSection
from selflong.tables import Cell, markdown


@dataclass(frozen=True)
class Statement:
    """A sentence or a few, and the table (its name) that holds their numbers."""

    text: str
    table: str | None = None


@dataclass(frozen=True)
class Summary:
    """Headings with their statements, in the order of reading."""

    parts: dict[str, list[Statement]]


class Outcome(Enum):
    """Of one score against another."""

    BETTER = "better"
    WORSE = "worse"
    ALIKE = "not told apart"


def outcome(score: Cell, other: Cell) -> Outcome:
    """How a score stands against another by their intervals."""
    assert score.low is not None and score.high is not None
    assert other.low is not None and other.high is not None
    if score.low > other.high:
        return Outcome.BETTER
    return Outcome.WORSE if score.high < other.low else Outcome.ALIKE


# ------------------------------------------------------------------------------------- comparisons


@dataclass(frozen=True)
class Comparison:
    """A base, the base with another RoPE base alone where that was measured, and the trained model."""

    suite: str
    title: str
    table: str
    base: Repeats
    adjusted: Repeats | None
    trained: Repeats
    scores: dict[int, tuple[Cell, Cell | None, Cell]]
    """Length -> scores of the three; never empty."""
    native: int | None
    """Tokens that the base's own configuration reads; None where its weights are random."""

    @property
    def longest(self) -> int:
        return max(self.scores)

    @property
    def outcome(self) -> Outcome:
        """Of training against the base, at the longest length."""
        base, _, trained = self.scores[self.longest]
        return outcome(trained, base)

    @property
    def within_native(self) -> bool:
        """Whether the base reads the longest prompts anyway."""
        return self.native is not None and self.longest <= self.native

    @property
    def seeds(self) -> int:
        return len(self.trained.checkpoints)


def comparisons(measured: Measured, results: Results) -> list[Comparison]:
    """One for each base of each suite, in the recipe's order."""
    return [
        found
        for name, suite in measured.recipe.suites.items()
        if suite.title is not None
        for found in _of_suite(measured, results, name, suite)
    ]


def _of_suite(
    measured: Measured, results: Results, name: str, suite: SuiteSection
) -> Iterator[Comparison]:
    recipe, groups = measured.recipe, repeats(measured, name)
    by_checkpoint = {group.checkpoints[0]: group for group in groups}
    several = sum(other.kind == suite.kind for other in recipe.suites.values()) > 1
    compared = set()
    for first, group in by_checkpoint.items():
        base = by_checkpoint.get(_start(recipe, first) or "")
        if base is None or base.label in compared or not _whole(recipe, first):
            continue
        if not _trains(recipe, first):
            continue
        compared.add(base.label)
        adjusted = next(
            (
                other
                for checkpoint, other in by_checkpoint.items()
                if _start(recipe, checkpoint) == base.checkpoints[0]
                and not _trains(recipe, checkpoint)
            ),
            None,
        )
        scores = _scores(measured, name, suite, base, adjusted, group)
        if scores:
            yield Comparison(
                name,
                f"{suite.title} ({name})" if several else str(suite.title),
                f"{name}_by_length",
                base,
                adjusted,
                group,
                scores,
                native_length(recipe, results, first),
            )


def _scores(
    measured: Measured,
    name: str,
    suite: SuiteSection,
    base: Repeats,
    adjusted: Repeats | None,
    trained: Repeats,
) -> dict[int, tuple[Cell, Cell | None, Cell]]:
    found = {}
    for length in suite.lengths:
        cells = [
            None if group is None else _cell(measured, name, group, length)
            for group in (base, adjusted, trained)
        ]
        if cells[0] is not None and cells[2] is not None:
            found[length] = (cells[0], cells[1], cells[2])
    return found


def _cell(measured: Measured, name: str, group: Repeats, length: int) -> Cell | None:
    """The mean with its 95% interval; over several seeds with the worst and the best of them."""
    if len(group.checkpoints) == 1:
        cell = measured.cell(name, group.checkpoints[0], MEAN_OF_TASKS, length)
    else:
        cell = group.cell(measured, name, length)
    return None if cell.value is None else cell


def _known(recipe: Recipe, checkpoint: str) -> bool:
    return checkpoint in set(recipe.checkpoints())


def _start(recipe: Recipe, checkpoint: str) -> str | None:
    """The checkpoint that a model's first stage starts from."""
    if not _known(recipe, checkpoint):
        return None
    start = recipe.models[checkpoint.partition("/")[0]].start
    return None if start is None else recipe.resolve(start)


def _whole(recipe: Recipe, checkpoint: str) -> bool:
    return checkpoint == recipe.last_checkpoint(checkpoint.partition("/")[0])


def _trains(recipe: Recipe, checkpoint: str) -> bool:
    stages = recipe.models[checkpoint.partition("/")[0]].stages
    return any(stage.tokens > 0 for stage in stages)


def native_length(recipe: Recipe, results: Results, checkpoint: str) -> int | None:
    """Tokens that the weights at the head of a checkpoint's chain were made for, by their config.json."""
    root = recipe.root(checkpoint)
    config = results.checkpoint(f"{root}/{INITIAL}") / "config.json"
    if isinstance(recipe.models[root].weights, RandomWeights) or not config.exists():
        return None
    found = read_object(config).get("max_position_embeddings")
    return None if found is None else int(found)


# ------------------------------------------------------------------------------------------- words


def summarise(measured: Measured, results: Results, time: RunTime) -> Summary:
    """The summary of a run, from its scores, what its stages counted, and its times."""
    found = comparisons(measured, results)
    return Summary(
        {
            "What ran": [Statement(text) for text in _what_ran(measured, results, time)],
            "What was measured": [_numbers(comparison) for comparison in found]
            or [
                Statement("No suite compares a trained model with the model that it started from.")
            ],
            "What it means": [
                Statement(meaning(comparison), comparison.table) for comparison in found
            ]
            or [Statement("Whether training helps or harms is not measured here.")],
            "What it cannot show": [
                Statement(text) for text in _limits(measured.recipe, found, results)
            ],
            "Where that is shown": list(_where(measured.recipe, found)),
        }
    )


def _numbers(comparison: Comparison) -> Statement:
    base, adjusted, trained = comparison.scores[comparison.longest]
    named = [
        (comparison.base, base),
        (comparison.adjusted, adjusted),
        (comparison.trained, trained),
    ]
    listed = "; ".join(
        f"{group.label}: {cell.text}" for group, cell in named if group and cell is not None
    )
    spread = (
        "the 95% interval over samples"
        if comparison.seeds == 1
        else f"the worst and the best of {comparison.seeds} seeds"
    )
    return Statement(
        f"{comparison.title} at {length_name(comparison.longest)} tokens, per cent, in brackets {spread}. "
        f"{listed}.",
        comparison.table,
    )


def meaning(comparison: Comparison) -> str:
    """What training did in a suite, and what the other RoPE base alone did."""
    base, adjusted, trained = comparison.scores[comparison.longest]
    length = length_name(comparison.longest)
    said = [
        {
            Outcome.BETTER: f"{comparison.title}: training helps. At {length} the trained model is "
            f"{_points(trained, base)} above the model that it started from.",
            Outcome.WORSE: f"{comparison.title}: the trained model is worse. At {length} it is "
            f"{_points(trained, base)} below the model that it started from.",
            Outcome.ALIKE: f"{comparison.title}: no difference is measured. At {length} the intervals of "
            "the trained model and of the model that it started from meet.",
        }[outcome(trained, base)]
    ]
    if adjusted is not None:
        said.append(_of_adjustment(base, adjusted, trained))
    if len(comparison.scores) > 1:
        said.append(_over_lengths(comparison))
    if comparison.within_native:
        said.append(
            f"{comparison.base.label} reads {comparison.native:,} tokens as it is, so at these lengths the "
            "method has nothing to win."
        )
    return " ".join(said)


def _of_adjustment(base: Cell, adjusted: Cell, trained: Cell) -> str:
    alone = {
        Outcome.BETTER: f"Another RoPE base alone brings {_points(adjusted, base)}",
        Outcome.WORSE: f"Another RoPE base alone costs {_points(adjusted, base)}",
        Outcome.ALIKE: "Another RoPE base alone changes nothing beyond the intervals",
    }[outcome(adjusted, base)]
    then = {
        Outcome.BETTER: f"training adds {_points(trained, adjusted)} to that",
        Outcome.WORSE: f"training takes {_points(trained, adjusted)} from that",
        Outcome.ALIKE: "after training the score is the same within the intervals",
    }[outcome(trained, adjusted)]
    return f"{alone}; {then}."


def _over_lengths(comparison: Comparison) -> str:
    counts = dict.fromkeys(Outcome, 0)
    for base, _, trained in comparison.scores.values():
        counts[outcome(trained, base)] += 1
    listed = ", ".join(f"{kind.value} at {count}" for kind, count in counts.items())
    return f"Over the {len(comparison.scores)} lengths the trained model is {listed}."


def _points(score: Cell, other: Cell) -> str:
    assert score.value is not None and other.value is not None
    return f"{abs(score.value - other.value):.1f} points"


# ---------------------------------------------------------------------------------------- what ran

MADE = {
    "long_input": "with a long input",
    "long_output": "with a long output",
    "document_tasks": "of long documents",
    "multi_hop": "over two documents",
}
"""Kind of samples that the synthesis makes -> what stands behind their number."""


def _what_ran(measured: Measured, results: Results, time: RunTime) -> Iterator[str]:
    recipe = measured.recipe
    if recipe.corpora:
        shards = [
            results.token_counts(name, shard)
            for name in recipe.corpora
            for shard in corpus_shards(recipe, name)
        ]
        documents = sum(read_parquet(path, TOKEN_COUNTS).height for path in shards)
        yield f"A corpus of {documents:,} documents was collected."
    made = recipe.synthesis.kinds if recipe.synthesis is not None else {}
    for generator in recipe.generators:
        steps = counts.synthesis_steps(recipe, results, generator)
        kept = {
            name: sum(
                step.rows
                for step in steps
                if (step.step, step.source, step.outcome) == (name, name, "kept")
            )
            for name in made
        }
        yield (
            f"{generator} wrote "
            + " and ".join(f"{count:,} samples {MADE[name]}" for name, count in kept.items())
            + "."
        )
    trained = _trained_tokens(recipe, results)
    if trained:
        yield (
            "Trained: "
            + "; ".join(
                f"{label} on {tokens:,} tokens in {steps:,} steps"
                for label, (tokens, steps) in trained.items()
            )
            + "."
        )
    asked = measured.scores.filter((pl.col("task") == MEAN_OF_TASKS) & pl.col("depth").is_null())
    if asked.height:
        yield (
            f"{asked['model'].n_unique():,} checkpoints answered {asked['samples'].sum():,} prompts "
            f"({', '.join(asked['suite'].unique(maintain_order=True))})."
        )
    yield from time.sentences()


def _trained_tokens(recipe: Recipe, results: Results) -> dict[str, tuple[int, int]]:
    """Label -> tokens and steps of all stages of a model, of its first seed."""
    found: dict[str, tuple[int, int]] = {}
    seen: dict[str, str] = {}
    for checkpoint, path in counts.metrics_files(recipe, results).items():
        name = checkpoint.partition("/")[0]
        label = recipe.models[name].label
        if seen.setdefault(label, name) != name:
            continue
        rows = read_lines(path)
        tokens, steps = found.get(label, (0, 0))
        found[label] = (tokens + rows[-1]["tokens"], steps + len(rows))
    return found


# ------------------------------------------------------------------------------------------ limits


def _limits(recipe: Recipe, found: list[Comparison], results: Results) -> Iterator[str]:
    for comparison in found:
        if comparison.within_native:
            yield (
                f"{comparison.title} asks at {length_name(comparison.longest)} tokens at most, and "
                f"{comparison.base.label} reads {comparison.native:,} as it is: there is nothing to extend. "
                "This suite shows that every stage works and what it does to the model, not that the "
                "context grew."
            )
        cells = [cell for cells in comparison.scores.values() for cell in cells if cell is not None]
        widest = max(cells, key=lambda cell: (cell.high or 0) - (cell.low or 0))
        assert widest.low is not None and widest.high is not None
        yield (
            f"{comparison.title}: the widest interval spans {widest.high - widest.low:.0f} points "
            f"({widest.samples:,} samples); smaller differences are not measured."
        )
        if any(cell.low == cell.high for cell in cells):
            fewest = min(cell.samples or 0 for cell in cells if cell.low == cell.high)
            yield (
                f"{comparison.title}: an interval without width means that all samples of a score agree, "
                f"which {fewest:,} samples can do by chance."
            )
    if found and max(comparison.seeds for comparison in found) == 1:
        yield "Every model was trained once: what another seed would give is not measured."
    if recipe.deviations:
        yield "What the recipe does otherwise than the paper stands under “Assumptions and deviations”."


def _where(recipe: Recipe, found: list[Comparison]) -> Iterator[Statement]:
    helped = [comparison for comparison in found if comparison.outcome is Outcome.BETTER]
    for comparison in helped:
        yield Statement(
            f"That training helps where a model's own context ends is shown by {comparison.title}."
            if not comparison.within_native
            else f"That training helps is shown by {comparison.title}.",
            comparison.table,
        )
    if not helped:
        yield Statement("Nothing on this page shows that training helps.")
        yield Statement(
            "The recipe recall shows it on a CPU: a small model, three seeds, with its ablations."
        )
    if recipe.report.paper is not None:
        yield Statement("The paper's own numbers, at its lengths, stand in the tables below.")


def to_markdown(summary: Summary) -> str:
    """The summary as a file of its own."""
    lines: list[str] = ["# Summary", ""]
    for heading, statements in summary.parts.items():
        lines += [f"## {heading}", ""]
        for statement in statements:
            table = statement.table
            link = f" ([table](../tables/{table}.md))" if table else ""
            lines.append(f"- {markdown(statement.text)}{link}")
        lines.append("")
    return "\n".join(lines)
