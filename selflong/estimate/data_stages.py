"""What a recipe says about its documents and samples before any of them is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np

from selflong.estimate.usage import CHAINS, filled_tokens, means
from selflong.recipe.corpus import Corpus
from selflong.recipe.mixture import Mixture, MixtureEntry
from selflong.recipe.prompts import PromptRules, load_prompt_set
from selflong.recipe.recipe import Recipe, stages_of_mixture, tokens_of_stage
from selflong.recipe.synthesis import (
    DocumentTasks,
    Gates,
    LongInput,
    LongOutput,
    MultiHop,
    Synthesis,
)
from selflong.sources.documents.section import Size
from selflong.synthesis.briefs import draw_brief
from selflong.synthesis.target_lengths import sample_lengths

KEPT_BY_GATES = 0.65
"""Of the long inputs, with the gates on and the laptop recipe's generator."""


def documents(corpus: Corpus) -> Size:
    """Documents of a corpus by the published counts of its sources; what filters drop is not known before."""
    total = Size(0, 0, 0)
    for source in corpus.sources:
        total += source.size()
    return total if corpus.sample is None else total.part(corpus.sample)


def document_lengths(minimum: int, maximum: int, power: float, count: int = 1000) -> np.ndarray:
    """Lengths that stand for a corpus's documents between two bounds; `power` is DocumentSection's.

    With -0.5 the mean is the geometric mean of the bounds, 8.2k for 2k to 32k, where the paper's 77M tokens
    over 10k samples are 7.7k.
    """
    low, high = float(minimum) ** power, float(maximum) ** power
    shares = (np.arange(count) + 0.5) / count
    return (low + shares * (high - low)) ** (1 / power)


def _long_inputs(recipe: Recipe, synthesis: Synthesis, section: LongInput) -> "Samples":
    """Documents are taken whole, so the last ones leave room; the gates drop some samples. Where generators
    have different prompts, those of the first one count."""
    size = documents(recipe.corpora[synthesis.corpus])
    rules = load_prompt_set(next(iter(recipe.generators.values())).prompts).rules
    lengths = sample_lengths(section.lengths)
    reserves = _reserves(section, rules)
    filled = filled_tokens(lengths, reserves, rules, size.tokens / size.rows)
    kept = 1.0 if synthesis.gates == Gates() else KEPT_BY_GATES
    mean = means(rules)
    spoken = mean.instruction_tokens + mean.filled_answer * reserves
    return Samples(kept * section.samples, filled + spoken)


def _reserves(section: LongInput, rules: PromptRules) -> np.ndarray:
    """The most that the answers of samples of `sample_lengths` may have, further turns included."""
    return _drawn_reserves(section.model_dump_json(), rules.model_dump_json())


@cache
def _drawn_reserves(section_json: str, rules_json: str) -> np.ndarray:
    section = LongInput.model_validate_json(section_json)
    rules = PromptRules.model_validate_json(rules_json)
    random, family = Random(0), next(iter(section.families))
    lengths = sample_lengths(section.lengths)
    briefs = (draw_brief(rules, section, family, round(length), random) for length in lengths)
    return np.array([brief.reserve(section) for brief in briefs], dtype=np.float64)


def _long_outputs(recipe: Recipe, synthesis: Synthesis, section: LongOutput) -> "Samples":
    power = min(source.length_power for source in recipe.corpora[synthesis.corpus].sources)
    lengths = document_lengths(section.minimum_tokens, section.maximum_tokens, power)
    return Samples(section.samples, lengths + section.instruction_tokens)


def _document_tasks(section: DocumentTasks, family: str | None) -> "Samples":
    """All of them, or those of a family."""
    rows = {
        "question": section.questions,
        "passages": section.questions,
        "summary": section.summaries,
    }
    count = sum(rows.values()) if family is None else rows[family]
    return Samples(count, sample_lengths(section.lengths))


def synthesised(recipe: Recipe, kind: str, family: str | None = None) -> "Samples":
    """One generator's samples of a kind, by the name that a mixture's entry gives it."""
    synthesis = recipe.synthesis
    assert synthesis is not None
    match section := synthesis.kinds[kind]:
        case LongInput():
            return _long_inputs(recipe, synthesis, section)
        case LongOutput():
            return _long_outputs(recipe, synthesis, section)
        case DocumentTasks():
            return _document_tasks(section, family)
        case MultiHop():
            return Samples(CHAINS.kept * section.samples, sample_lengths(section.lengths))


@dataclass(frozen=True)
class Samples:
    """Samples of one source: how many, and lengths that stand for them."""

    rows: float
    lengths: np.ndarray
    """Each stands for rows / len(lengths) samples."""
    document: float = np.inf
    """Tokens of a document inside of a sample that holds several."""

    @property
    def tokens(self) -> float:
        return self.rows * float(self.lengths.mean())


def _even(rows: float, tokens: float) -> Samples:
    return Samples(rows, np.array([tokens / rows]))


def samples(recipe: Recipe, entry: MixtureEntry) -> Samples:
    """What an entry of a mixture offers."""
    size, made = entry.source.size(), entry.source.synthesised
    if size is not None:
        even = _even(size.rows, size.tokens)
        return replace(even, document=entry.source.mean_document or np.inf)
    if (corpus := entry.source.of_corpus) is not None:
        kept = documents(recipe.corpora[corpus])
        return _even(kept.rows, kept.tokens)
    assert made is not None
    return synthesised(recipe, made.samples, made.family)


@dataclass(frozen=True)
class EntryData:
    """What one entry of a mixture gives to a stage."""

    rows_in: float
    """Of the source, as published."""
    samples: float
    tokens: float


@dataclass(frozen=True)
class StageData:
    """What a mixture holds for one stage."""

    tokens: float
    attended: float
    """Tokens that a token attends on average: half the mean of squared lengths over lengths."""
    by_entry: dict[str, EntryData]


def _fitting(
    offered: Samples, entry: MixtureEntry, mixture: Mixture, length: int, lengths: Sequence[int]
) -> tuple[Samples, np.ndarray, np.ndarray]:
    """What an entry offers to the stage of `length`: lengths, and how many samples each stands for."""
    if entry.cuts:
        offered = _cut(offered, entry, length)
    sizes = offered.lengths
    if entry.maximum_tokens is not None:
        sizes = np.minimum(sizes, entry.maximum_tokens)
    weight = np.full(len(sizes), offered.rows / len(sizes))
    weight[sizes > length] = 0
    if mixture.assignment == "one_stage":
        fitting = sum((sizes <= other).astype(float) for other in lengths)
        weight /= np.maximum(fitting, 1)
    return offered, sizes, weight


def _of_stage(
    offered: Samples,
    entry: MixtureEntry,
    mixture: Mixture,
    length: int,
    lengths: Sequence[int],
    stage_tokens: float,
) -> tuple[EntryData, float]:
    """What an entry gives to the stage of `length`, and its tokens times what they attend."""
    offered, sizes, weight = _fitting(offered, entry, mixture, length, lengths)
    tokens = float((weight * sizes).sum())
    attended = float((weight * sizes * np.minimum(sizes, offered.document)).sum()) / 2
    if tokens == 0:
        return EntryData(offered.rows, 0.0, 0.0), 0.0
    wanted = entry.wanted(tokens, stage_tokens)
    given = EntryData(offered.rows, float(weight.sum()) * wanted / tokens, float(wanted))
    return given, attended * wanted / tokens


def _cut(offered: Samples, entry: MixtureEntry, length: int) -> Samples:
    """As sequences of one document each, of which nobody knows before how many are long enough; else as
    documents that are cut at the stage's length."""
    if entry.packing == "single_document":
        return _even(max(1.0, offered.tokens / length), max(float(length), offered.tokens))
    return replace(offered, lengths=np.minimum(offered.lengths, length))


def stage_data(recipe: Recipe, name: str, stage: str) -> StageData:
    """What the mixture `name` holds for `stage`, before duplicates are dropped."""
    mixture = recipe.mixtures[name]
    stages = stages_of_mixture(recipe, name)
    by_entry, attended = {}, 0.0
    for entry_name, entry in mixture.entries.items():
        by_entry[entry_name], attention = _of_stage(
            samples(recipe, entry), entry, mixture, stages[stage], list(stages.values()),
            tokens_of_stage(recipe, name, stage),
        )  # fmt: skip
        attended += attention
    total = sum(entry.tokens for entry in by_entry.values())
    return StageData(total, attended / total if total else 0.0, by_entry)


def stage_documents(recipe: Recipe, name: str, stage: str) -> tuple[int, np.ndarray, np.ndarray]:
    """Length of a stage's sequences; lengths that stand for its documents, and how many each stands for."""
    mixture = recipe.mixtures[name]
    stages = stages_of_mixture(recipe, name)
    sizes, counts = [], []
    for entry in mixture.entries.values():
        offered, lengths, weight = _fitting(
            samples(recipe, entry), entry, mixture, stages[stage], list(stages.values())
        )
        tokens = float((weight * lengths).sum())
        if tokens == 0:
            continue
        share = entry.wanted(tokens, tokens_of_stage(recipe, name, stage)) / tokens
        # A row of several documents counts as so many.
        documents = np.minimum(lengths, offered.document)
        sizes.append(documents)
        counts.append(weight * share * lengths / documents)
    return stages[stage], np.concatenate(sizes), np.concatenate(counts)
