"""What a recipe says about its documents and samples before any of them is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.recipe import (
    Corpus,
    FolderConversations,
    FolderDocuments,
    Gates,
    HubConversations,
    HubDocuments,
    HubTokens,
    Lengths,
    Mixture,
    MixtureEntry,
    PackageConversations,
    PackageDocuments,
    Recipe,
    Synthesis,
    SynthesisedSamples,
    stages_of_mixture,
)
from selflong.synthesis.lengths import draw_length

BYTES_PER_TOKEN = 4.6
"""Of English text: FineWeb-Edu's published bytes over its published tokens."""
COMPRESSION = 0.33
"""Parquet with zstd over text, as the documents of the laptop recipe come out."""

# Documents and tokens that the readers find in the packages of the laptop recipe.
PACKAGED = {
    "speeches": (249, 2_451_000),
    "countries": (256, 1_971_000),
    "encyclopedia": (106, 629_000),
    "documentation": (3_646, 9_800_000),
}
PACKAGED_BYTES_PER_TOKEN = 4.05
"""Of their text by SmolLM2's tokenizer."""
PACKAGED_CONVERSATIONS = {"chatterbot": (3_000, 120_000)}
LEFT_ROOM = 0.25
"""Of a sample's length, where a document is at least as long; less where documents are shorter."""
KEPT_BY_GATES = 0.65
"""Of the long inputs, with the gates on and the laptop recipe's generator."""


@dataclass(frozen=True)
class Documents:
    """Size of a corpus."""

    rows: int
    tokens: int
    bytes: int
    downloaded: int = 0

    def __add__(self, other: "Documents") -> "Documents":
        return Documents(
            self.rows + other.rows, self.tokens + other.tokens, self.bytes + other.bytes,
            self.downloaded + other.downloaded,
        )  # fmt: skip


def _source_documents(source: HubDocuments | PackageDocuments | FolderDocuments) -> Documents:
    if isinstance(source, HubDocuments):
        text = round(source.tokens * BYTES_PER_TOKEN)
        return Documents(source.rows, source.tokens, text, source.bytes)
    if isinstance(source, PackageDocuments):
        rows, tokens = PACKAGED[source.reader]
        kept = min(rows, source.maximum_documents or rows)
        tokens = tokens * kept // rows
        return Documents(kept, tokens, round(tokens * PACKAGED_BYTES_PER_TOKEN))
    files = matching_files(source.path, source.files)
    if not files:
        raise UserError(f"{source.path}: no file matches {source.files}; the plan cannot count it")
    size = round(sum(file.stat().st_size for file in files) / COMPRESSION)
    tokens = round(size / BYTES_PER_TOKEN)
    return Documents(max(1, tokens // 1000), tokens, size)


def documents(corpus: Corpus) -> Documents:
    """Documents of a corpus by the published counts of its sources; what filters drop is not known before."""
    total = Documents(0, 0, 0)
    for source in corpus.sources:
        total += _source_documents(source)
    if corpus.sample is None or corpus.sample >= total.rows:
        return total
    share = corpus.sample / total.rows
    return Documents(
        corpus.sample, round(total.tokens * share), round(total.bytes * share), total.downloaded
    )


@cache
def _drawn(lengths_json: str, count: int) -> np.ndarray:
    lengths = Lengths.model_validate_json(lengths_json)
    random = Random(0)
    return np.array([draw_length(lengths, random) for _ in range(count)], dtype=np.float64)


def sample_lengths(lengths: Lengths, count: int = 20_000) -> np.ndarray:
    """Lengths drawn from a distribution, the same at each call."""
    return _drawn(lengths.model_dump_json(), count)


def _is_packaged(corpus: Corpus) -> bool:
    return all(isinstance(source, PackageDocuments) for source in corpus.sources)


def document_lengths(minimum: int, maximum: int, packaged: bool, count: int = 1000) -> np.ndarray:
    """Lengths that stand for a corpus's documents between two bounds.

    On the web their number falls with the power -1.5 of their length: the mean is the geometric mean of the
    bounds, 8.2k for 2k to 32k, where the paper's 77M tokens over 10k samples are 7.7k. Among the packages'
    longer documents it falls with -0.5: 336 between 500 and 3,800 tokens have a mean of 1,806.
    """
    power = 0.5 if packaged else -0.5
    low, high = float(minimum) ** power, float(maximum) ** power
    shares = (np.arange(count) + 0.5) / count
    return (low + shares * (high - low)) ** (1 / power)


def _long_inputs(recipe: Recipe, synthesis: Synthesis) -> "Samples":
    """Documents are taken whole, so the last ones leave room; the gates drop some samples."""
    size = documents(recipe.corpora[synthesis.corpus])
    lengths = sample_lengths(synthesis.long_input.lengths)
    left = LEFT_ROOM * np.minimum(1, size.tokens / size.rows / lengths)
    kept = 1.0 if synthesis.gates == Gates() else KEPT_BY_GATES
    return Samples(kept * synthesis.long_input.samples, lengths * (1 - left))


def _long_outputs(recipe: Recipe, synthesis: Synthesis) -> "Samples":
    section = synthesis.long_output
    packaged = _is_packaged(recipe.corpora[synthesis.corpus])
    lengths = document_lengths(section.minimum_tokens, section.maximum_tokens, packaged)
    return Samples(section.samples, lengths + section.instruction_tokens)


def synthesised(recipe: Recipe) -> dict[str, "Samples"]:
    """One generator's samples, by the name that a mixture's entry gives them."""
    synthesis = recipe.synthesis
    assert synthesis is not None
    return {
        "long_input": _long_inputs(recipe, synthesis),
        "long_output": _long_outputs(recipe, synthesis),
    }


@dataclass(frozen=True)
class Samples:
    """Samples of one source: how many, and lengths that stand for them."""

    rows: float
    lengths: np.ndarray
    """Each stands for rows / len(lengths) samples."""

    @property
    def tokens(self) -> float:
        return self.rows * float(self.lengths.mean())


def _even(rows: float, tokens: float) -> Samples:
    return Samples(rows, np.array([tokens / rows]))


def samples(recipe: Recipe, entry: MixtureEntry) -> Samples:
    """What an entry of a mixture offers."""
    source = entry.source
    if isinstance(source, SynthesisedSamples):
        return synthesised(recipe)[source.samples]
    if isinstance(source, HubConversations | HubTokens):
        return _even(source.rows, source.tokens)
    if isinstance(source, PackageConversations):
        return _even(*PACKAGED_CONVERSATIONS[source.reader])
    assert isinstance(source, FolderConversations)
    size = (
        sum(file.stat().st_size for file in matching_files(source.path, source.files)) / COMPRESSION
    )
    tokens = max(1.0, size / BYTES_PER_TOKEN)
    return _even(max(1.0, tokens / 500), tokens)


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


def _of_stage(
    offered: Samples, entry: MixtureEntry, mixture: Mixture, length: int, lengths: Sequence[int]
) -> tuple[EntryData, float]:
    """What an entry gives to the stage of `length`, and its tokens times what they attend."""
    sizes = offered.lengths
    if entry.maximum_tokens is not None:
        sizes = np.minimum(sizes, entry.maximum_tokens)
    weight = np.full(len(sizes), offered.rows / len(sizes))
    weight[sizes > length] = 0
    if mixture.assignment == "one_stage":
        fitting = sum((sizes <= other).astype(float) for other in lengths)
        weight /= np.maximum(fitting, 1)
    tokens = float((weight * sizes).sum())
    attended = float((weight * sizes**2).sum()) / 2
    if tokens == 0:
        return EntryData(offered.rows, 0.0, 0.0), 0.0
    wanted = entry.tokens if entry.tokens is not None else tokens * (entry.epochs or 0)
    given = EntryData(offered.rows, float(weight.sum()) * wanted / tokens, float(wanted))
    return given, attended * wanted / tokens


def stage_data(recipe: Recipe, name: str, stage: str) -> StageData:
    """What the mixture `name` holds for `stage`, before duplicates are dropped."""
    if recipe.recall is not None and name in recipe.recall.data:
        data = recipe.recall.data[name]
        tokens = float(data.documents * data.length)
        whole = EntryData(data.documents, data.documents, tokens)
        return StageData(tokens, data.length / 2, {name: whole})
    mixture = recipe.mixtures[name]
    stages = stages_of_mixture(recipe, name)
    by_entry, attended = {}, 0.0
    for entry_name, entry in mixture.entries.items():
        by_entry[entry_name], attention = _of_stage(
            samples(recipe, entry), entry, mixture, stages[stage], list(stages.values())
        )
        attended += attention
    total = sum(entry.tokens for entry in by_entry.values())
    return StageData(total, attended / total if total else 0.0, by_entry)
