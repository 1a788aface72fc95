"""The typed recipe: the science of one run in one complete YAML file, with nothing about machines.

Unknown settings of a paper carry an entry in their section's `assumed` with the reason.
"""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Name, NonNegative, Positive, Section, Share

RULER_TASKS = (
    "niah_single_1",
    "niah_single_2",
    "niah_single_3",
    "niah_multikey_1",
    "niah_multikey_2",
    "niah_multikey_3",
    "niah_multivalue",
    "niah_multiquery",
    "vt",
    "cwe",
    "fwe",
    "qa_1",
    "qa_2",
)
RulerTask = Literal[RULER_TASKS]  # type: ignore[valid-type]


# -------------------------------------------------------------------------- where things come from


class HubWeights(Section):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"]
    repository: str
    revision: str


class GgufWeights(Section):
    """A GGUF file inside an installed Python package, found without importing the package."""

    kind: Literal["gguf"]
    package: str
    file: str
    """Glob below the package's folder; it must match one file."""
    licence: str


class FolderWeights(Section):
    """A Hugging Face model folder on this file system."""

    kind: Literal["folder"]
    path: Path


class RandomWeights(Section):
    """A Llama of the given size with random weights (the recall study starts from one)."""

    kind: Literal["random"]
    layers: Positive
    hidden: Positive
    heads: Positive
    key_value_heads: Positive
    intermediate: Positive
    vocabulary: Positive
    rope_base: float = Field(gt=0)
    max_position_embeddings: Positive
    initializer_range: float = Field(gt=0)


Weights = Annotated[
    HubWeights | GgufWeights | FolderWeights | RandomWeights, Field(discriminator="kind")
]


class PackageDocuments(Section):
    """Documents that an installed Python package carries; `reader` names the function that reads them."""

    kind: Literal["package"]
    reader: Literal["speeches", "countries", "encyclopedia", "documentation"]
    licence: str
    maximum_documents: Positive | None = None


class HubDocuments(Section):
    """Parquet files of a dataset on the Hugging Face hub, with FineWeb-Edu's columns."""

    kind: Literal["hub"]
    repository: str
    revision: str
    files: str
    """Glob inside the repository."""
    rows: Positive
    """Published number of rows: what the plan counts with before anything is downloaded."""
    tokens: Positive
    bytes: Positive


class FolderDocuments(Section):
    """Local parquet or JSONL files with at least the columns id and text."""

    kind: Literal["folder"]
    path: Path
    files: str = "*.parquet"


DocumentSource = Annotated[
    PackageDocuments | HubDocuments | FolderDocuments, Field(discriminator="kind")
]


class DocumentFilters(Section):
    """Documents that do not pass are counted with the reason."""

    language: str | None = None
    minimum_language_score: float | None = None
    minimum_score: float | None = None
    minimum_tokens: NonNegative = 0
    maximum_tokens: Positive | None = None
    drop_exact_duplicates: bool = True


class Corpus(Section):
    """The documents of retrieval and of long outputs."""

    sources: list[DocumentSource] = Field(min_length=1)
    filters: DocumentFilters = DocumentFilters()
    sample: Positive | None = None
    """Documents to keep, drawn by the hash of their id; all where it is null."""
    shards: Positive
    evaluation_overlap: Literal["report", "remove"] = "report"
    """What happens to documents that share an n-gram with an evaluation's source."""
    overlap_ngram: Positive = 13


class Encoder(Section):
    """The embedding model and its index."""

    weights: Weights | Annotated[str, Field(pattern=r"^package:")]
    """`package:<name>` is a sentence-transformers model inside an installed package."""
    dimensions: Positive
    maximum_tokens: Positive
    query_prompt: str = ""
    document_prompt: str = ""
    pooling: Literal["mean", "last_token", "from_model"] = "from_model"
    append_end_token: bool = False
    """Whether the end-of-sequence token closes each text; where it stands already it is not doubled."""
    index: str = "Flat"
    """FAISS factory string; inner product over normalised vectors.

    Flat searches the embeddings where they lie, exactly. Where they are too large: SQ8, one byte a dimension,
    finds 0.997 of the thousand nearest of 20,000 passages; inverted lists (IVF512,SQ8) 0.90 with a quarter of
    the lists as probes. `snakemake plan` compares disk, memory and time.
    """
    index_training_sample: Positive | None = None
    probes: Positive | None = None
    """Inverted lists visited per query, for an inverted-file index."""


# --------------------------------------------------------------------------------------- synthesis


class Sampling(Section):
    """Decoding of the generator."""

    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)


class Price(Section):
    """USD per million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Generator(Section):
    """The LLM that synthesises."""

    weights: Weights | None = None
    """Null for a model that only its provider serves."""
    model: str
    """Name that the endpoint knows it by."""
    context_tokens: Positive
    sampling: Sampling
    price: Price | None = None
    tokenizer: str | None = None
    """Model of this recipe whose tokenizer counts its tokens where its own is not at hand."""


FAMILIES = ("synthesis", "comparison", "evidence", "timeline", "multipart")
Family = Literal[FAMILIES]  # type: ignore[valid-type]


class Lengths(Section):
    """Distribution of a sample's total length in the trained model's tokens."""

    distribution: Literal["log_normal", "uniform", "log_uniform"]
    minimum: Positive
    maximum: Positive
    mean: Positive | None = None
    """Of the distribution after it is cut to minimum and maximum; log_normal needs it."""
    sigma: float | None = None
    """Of the logarithm; log_normal needs it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        if self.distribution == "log_normal" and (self.mean is None or self.sigma is None):
            raise ValueError("log_normal needs mean and sigma")
        return self


class LongInput(Section):
    """Instruction, retrieved documents, an answer from recursive query-focused summaries (section 3.1)."""

    samples: Positive
    shards: Positive
    families: dict[Family, Annotated[float, Field(gt=0)]] = Field(min_length=1)
    lengths: Lengths
    seed_chunk_tokens: Positive
    document_order: Literal["shuffled", "ranked"] = "shuffled"
    instruction_position: Literal["before", "after", "both"]
    include_seed_document: bool
    chunk_tokens: Annotated[int, Field(gt=0, le=4096)]
    """Of the documents, in the generator's tokens (section 3.1: at most 4k)."""
    instruction_tokens: Positive
    summary_tokens: Positive
    answer_tokens: Positive
    maximum_depth: Positive
    duplicate_threshold: Share
    """Instructions whose estimated Jaccard similarity is at least this are dropped."""


class LongOutput(Section):
    """A writing instruction back-translated from a document; the target is the document (section 3.1)."""

    samples: Positive
    shards: Positive
    minimum_tokens: Positive
    maximum_tokens: Positive
    excerpt_tokens: Positive
    """Of the document, shown to the generator where the whole does not fit its context."""
    instruction_tokens: Positive
    length_hint_share: Share
    """Share of the instructions that name the length to write."""
    maximum_boilerplate_share: Share = 0.3
    """A document with a larger share of repeated or very short lines is left out."""
    drop_truncated: bool = False
    """Leave out documents that end within a sentence, or with a hint that they go on elsewhere."""


class Gates(Section):
    """Quality gates; each drop is counted with its reason. The paper has none."""

    families: bool = False
    """Whether an instruction must have the form of its family: a comparison compares, and so on."""
    minimum_grounding: Share | None = None
    """Least share of an answer's content words that occur in its own documents."""
    closed_book_share: Share = 0.0
    """Share of the samples whose question is also asked without documents."""
    closed_book_similarity: Share = 0.8
    """An answer this similar to its closed-book twin is dropped."""
    refusals: bool = False
    meta_talk: bool = False
    truncated: bool = False
    wrong_language: bool = False
    maximum_repeated_share: Share | None = None
    """Largest share of an answer's 4-grams that may repeat an earlier one."""


class Synthesis(Section):
    """The agent workflow; it runs once for each generator."""

    corpus: str
    encoder: str
    target: str
    """Model whose tokenizer counts a sample's length."""
    long_input: LongInput
    long_output: LongOutput
    gates: Gates = Gates()


# ----------------------------------------------------------------------------------------- mixture


class SynthesisedSamples(Section):
    """What `synthesis` made with one generator."""

    kind: Literal["synthesised"]
    generator: str
    samples: Literal["long_input", "long_output"]


class PackageConversations(Section):
    """Short conversations that an installed Python package carries."""

    kind: Literal["package"]
    reader: Literal["chatterbot"]
    licence: str


class HubConversations(Section):
    """Conversations of a dataset on the hub: OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["hub"]
    repository: str
    revision: str
    files: str
    column: Literal["messages", "conversations"]
    languages: list[str] | None = None
    rows: Positive
    tokens: Positive
    gated: bool = False


class HubTokens(Section):
    """Already tokenised sequences in MDS shards on the hub (ProLong)."""

    kind: Literal["mds"]
    repository: str
    revision: str
    files: str
    tokenizer: str
    """Model whose tokenizer made them; another one is refused."""
    rows: Positive
    tokens: Positive


class FolderConversations(Section):
    """Local parquet or JSONL files with a column of OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["folder"]
    path: Path
    files: str = "*.parquet"
    column: Literal["messages", "conversations"] = "messages"


SampleSource = Annotated[
    SynthesisedSamples | PackageConversations | HubConversations | HubTokens | FolderConversations,
    Field(discriminator="kind"),
]


class MixtureEntry(Section):
    """One source of a mixture and how much of it."""

    source: SampleSource
    epochs: float | None = None
    tokens: Positive | None = None
    """Of a stage, in the trained model's tokens; exclusive with epochs."""
    minimum_turns: Positive = 1
    maximum_tokens: Positive | None = None

    @model_validator(mode="after")
    def _one_weight(self) -> Self:
        if (self.epochs is None) == (self.tokens is None):
            raise ValueError("give epochs or tokens, one of the two")
        return self


class Deduplication(Section):
    """Exact after normalisation, then MinHash-LSH; a source named earlier keeps its row."""

    ngram: Positive
    threshold: Share
    permutations: Positive
    seed: int = 1


class Contamination(Section):
    """Overlap of the training data with the evaluation's own text; always reported."""

    suites: list[str]
    ngram: Positive
    remove: bool = False


class Mixture(Section):
    """What a stage trains on."""

    entries: dict[Name, MixtureEntry] = Field(min_length=1)
    deduplication: Deduplication
    contamination: Contamination
    assignment: Literal["every_stage", "one_stage"]
    """every_stage: a sample trains in each stage that it fits; one_stage: in the shortest that it fits, or
    drawn over the stages by its hash where it fits several."""
    longer_than_stage: Literal["leave_out", "refuse"]
    """Of a sample that fits no stage (or, with every_stage, not this one); it is counted, never cut."""


# ---------------------------------------------------------------------------------------- training


class Optimizer(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(gt=0)
    minimum_ratio: Share = 0.1
    """Learning rate at the end over its peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = 0.0
    beta1: Share = 0.9
    beta2: Share = 0.95
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)


def _is_false(value: object) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is False


class Stage(Section):
    """One training stage, or, with tokens 0, only another rope base."""

    name: Name
    length: Positive
    rope_base: float | Literal["keep", "x4_per_doubling", "ntk"]
    rope_scaling: Literal["keep", "drop", "linear", "yarn"] = "keep"
    """Of rotary frequencies: keep or drop what the initial model's configuration says (Llama-3's block), or
    scale them by how much longer the model has become."""
    mixture: str | None = None
    tokens: NonNegative
    """To train on, rounded up to whole global batches."""
    global_batch_tokens: Positive | None = None
    optimizer: Optimizer | None = None
    continue_optimizer: bool = False
    """Start from the optimizer state of the stage before."""
    shorter: bool = Field(default=False, exclude_if=_is_false)
    """Allow a length below that of the stage before, as for fine-tuning on short samples."""
    checkpoint_steps: Positive = 100

    @property
    def sequences_per_step(self) -> int:
        """Packed sequences of a global batch; of a stage that does not train, one."""
        return (self.global_batch_tokens or self.length) // self.length

    @model_validator(mode="after")
    def _trains_or_not(self) -> Self:
        needed = (self.mixture, self.global_batch_tokens, self.optimizer)
        if self.tokens > 0 and None in needed:
            raise ValueError("a stage that trains needs mixture, global_batch_tokens and optimizer")
        if self.tokens == 0 and any(value is not None for value in needed):
            raise ValueError(
                "tokens is 0: mixture, global_batch_tokens and optimizer have no effect"
            )
        return self


class Model(Section):
    """An entry of the recipe: where it starts and what its stages do. Without stages it is only evaluated."""

    label: str
    weights: Weights | None = None
    start: str | None = None
    """<model> or <model>/<stage> of this recipe."""
    stages: list[Stage] = []
    mask_prompt: bool = False
    """Loss over responses only, in long samples too (the paper's ablation)."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    seed: int | None = None
    """Of random weights and of the order of the data; the recipe's where it is null."""
    published: str | None = None
    """Its name in resources/published_results.csv."""
    supports: Positive | None = None
    """Longest length that it is evaluated at."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.weights is None) == (self.start is None):
            raise ValueError("give weights or start, one of the two")
        if self.weights is not None and self.stages:
            raise ValueError("a model with weights has no stages: let another one start from it")
        if self.start is not None and not self.stages:
            raise ValueError("a model that starts from another one needs stages")
        return self


INITIAL = "initial"  # the stage name of a model that is only loaded


# -------------------------------------------------------------------------------------- evaluation


class HaystackFile(Section):
    """What a suite reads in place of the packaged data."""

    haystack: Path | None = None
    """Text of the essays: JSON with the field `text`, or plain text."""


class RulerFiles(HaystackFile):
    """What RULER reads in place of the packaged data; questions in SQuAD v2's or HotpotQA's format."""

    qa_1: Path | None = None
    qa_2: Path | None = None


def _is_none(value: object) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is None


class RulerSuite(Section):
    """RULER (arXiv 2404.06654) in one named convention."""

    kind: Literal["ruler"]
    models: list[str] = Field(min_length=1)
    convention: Literal["ruler_exact", "ruler_head", "ruler_2024"]
    tasks: list[RulerTask] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""
    samples: dict[int, Positive]
    """Of each task, by length."""
    seed: int
    chat: bool = True
    answer_prefix: bool = True
    files: RulerFiles | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="after")
    def _samples_by_length(self) -> Self:
        if set(self.samples) != set(self.lengths):
            raise ValueError(
                f"samples must name each length once: {sorted(self.lengths)}, "
                f"not {sorted(self.samples)}"
            )
        return self


class PublishedRulerSuite(Section):
    """Prompts of self-long/RULER-llama3-1M, and its stored predictions scored again."""

    kind: Literal["published_ruler"]
    models: list[str]
    repository: str
    revision: str
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""


class NeedleGrid(Section):
    """Needle-in-a-haystack over depth and length."""

    kind: Literal["needle_grid"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""
    depths: Positive
    """Evenly spaced from 0 to 1, both ends included."""
    repeats: Positive = 1
    seed: int
    files: HaystackFile | None = Field(default=None, exclude_if=_is_none)


class OutputLength(Section):
    """Length asked for against length produced."""

    kind: Literal["output_length"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    """Words asked for."""
    prompts: Positive
    seed: int


class ShortTasks(Section):
    """lm-evaluation-harness on short tasks."""

    kind: Literal["short_tasks"]
    models: list[str] = Field(min_length=1)
    tasks: dict[str, str] = Field(min_length=1)
    """Name in the table -> task of lm-evaluation-harness."""
    limit: Positive | None = None


class Helmet(Section):
    """HELMET (arXiv 2410.02694), run in a checkout of its repository that the site names."""

    kind: Literal["helmet"]
    models: list[str] = Field(min_length=1)
    configs: list[str] = Field(min_length=1)
    """Files in the checkout, such as configs/recall.yaml."""
    tasks: dict[str, Annotated[str, Field(pattern=r"^\S+ \S+$")]] = Field(min_length=1)
    """Name in the table -> dataset and metric, as in `json_kv substring_exact_match`."""
    lengths: list[Positive] = Field(min_length=1)
    """Of the configs' `input_max_length`: those whose results are read."""


class RecallSuite(Section):
    """Recall of needles in the recall study's language; models with one label are repeats of one."""

    kind: Literal["recall"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    sequences: Positive
    """Of each length; every model reads the same ones."""
    seed: int


Suite = Annotated[
    RulerSuite
    | PublishedRulerSuite
    | NeedleGrid
    | OutputLength
    | ShortTasks
    | Helmet
    | RecallSuite,
    Field(discriminator="kind"),
]


class RecallData(Section):
    """Sequences of the recall study that a stage trains on, packed to the stage's length."""

    length: Positive
    """Of each document."""
    documents: Positive
    seed: int


class RecallLanguage(Section):
    """Sizes of the recall study's vocabulary, and what each of its sequences holds of it."""

    keys: Positive
    values: Positive
    fillers: Positive
    needles: Positive
    queries: Positive

    @model_validator(mode="after")
    def _enough_keys(self) -> Self:
        if self.needles > self.keys:
            raise ValueError(f"{self.needles} needles need as many keys, not {self.keys}")
        if self.queries > self.needles:
            raise ValueError(
                f"only the {self.needles} needles can be asked for, not {self.queries} queries"
            )
        return self

    # Tokens: 0 padding, 1 start, 2 separator, then keys, values, fillers, and a needle for each pair.

    @property
    def first_key(self) -> int:
        return 3

    @property
    def first_value(self) -> int:
        return self.first_key + self.keys

    @property
    def first_filler(self) -> int:
        return self.first_value + self.values

    @property
    def first_needle(self) -> int:
        return self.first_filler + self.fillers

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.first_needle + self.keys * self.values

    @property
    def shortest(self) -> int:
        """The length that start, separator, needles and queries take without any filler."""
        return 2 + self.needles + 2 * self.queries


class RecallStudy(Section):
    """The study of recall on a CPU: a language of needles in filler, and what stages train on.

    A stage whose `mixture` is a name in `data` trains on that.
    """

    language: RecallLanguage
    data: dict[Name, RecallData] = Field(min_length=1)


class Report(Section):
    """Which rows the tables show."""

    paper: Literal["SelfLong", "ProLong"] | None = None
    """Whose published tables stand beside the measured ones."""
    also_published: list[Literal["ProLong", "ProLong-OpenReview", "RULER-leaderboard"]] = []
    """Whose published tables are shown after all others."""
    ablation: dict[str, str] = {}
    """Row of the ablation table -> <model>/<stage>."""


class Recipe(Section):
    """The whole science of one run."""

    name: Name
    description: str
    seed: int
    deviations: list[str] = []
    """What this recipe does otherwise than the paper."""
    chat_date: str = "26 Jul 2024"
    """Date that a chat template prints (Llama-3.1's default); without it the data would change each day."""
    corpora: dict[Name, Corpus] = {}
    encoders: dict[Name, Encoder] = {}
    generators: dict[Name, Generator] = {}
    synthesis: Synthesis | None = None
    mixtures: dict[Name, Mixture] = {}
    models: dict[Name, Model] = Field(min_length=1)
    suites: dict[Name, Suite] = {}
    recall: RecallStudy | None = None
    report: Report = Report()

    def stage(self, checkpoint: str) -> Stage | None:
        """The stage of '<model>/<stage>'; None for a model that is only loaded."""
        model, _, name = checkpoint.partition("/")
        return next((stage for stage in self.models[model].stages if stage.name == name), None)

    def last_checkpoint(self, model: str) -> str:
        """'<model>/<last stage>'."""
        stages = self.models[model].stages
        return f"{model}/{stages[-1].name if stages else INITIAL}"

    def resolve(self, reference: str) -> str:
        """'<model>' or '<model>/<stage>' as '<model>/<stage>'."""
        return reference if "/" in reference else self.last_checkpoint(reference)

    def forerunner(self, checkpoint: str) -> str | None:
        """The checkpoint that a stage starts from; None for a model that is only loaded."""
        model, _, name = checkpoint.partition("/")
        if name == INITIAL:
            return None
        names = [stage.name for stage in self.models[model].stages]
        position = names.index(name)
        if position > 0:
            return f"{model}/{names[position - 1]}"
        start = self.models[model].start
        assert start is not None
        return self.resolve(start)

    def seed_of(self, model: str) -> int:
        """Seed of a model's weights and of the order of its data."""
        own = self.models[model].seed
        return self.seed if own is None else own

    def keeps_optimizer(self, checkpoint: str) -> bool:
        """Whether a later stage continues from this checkpoint's optimizer state."""
        return any(
            stage.continue_optimizer and self.forerunner(f"{name}/{stage.name}") == checkpoint
            for name, model in self.models.items()
            for stage in model.stages
        )

    def root(self, checkpoint: str) -> str:
        """The loaded model that a chain of stages began with: its tokenizer is everyone's in the chain."""
        while (before := self.forerunner(checkpoint)) is not None:
            checkpoint = before
        return checkpoint.partition("/")[0]

    def is_trained(self, model: str) -> bool:
        """Whether a stage trains a model with weights, or one that starts from it."""
        return any(
            stage.tokens > 0 and self.root(f"{name}/{stage.name}") == model
            for name, other in self.models.items()
            for stage in other.stages
        )

    def checkpoints(self) -> Iterator[str]:
        """Every '<model>/<stage>' of the recipe."""
        for name, model in self.models.items():
            if not model.stages:
                yield f"{name}/{INITIAL}"
            for stage in model.stages:
                yield f"{name}/{stage.name}"


def stages_of_mixture(recipe: Recipe, mixture: str) -> dict[str, int]:
    """Name -> length of the stages that train on a mixture, shortest first."""
    stages = {
        stage.name: stage.length
        for model in recipe.models.values()
        for stage in model.stages
        if stage.mixture == mixture
    }
    return dict(sorted(stages.items(), key=lambda item: item[1]))
