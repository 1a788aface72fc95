"""The typed recipe (the science) and site (the machines), and every message that a user can get about them.

A recipe is one complete YAML file under recipes/; it says nothing about machines. The site is config.yaml; it
says nothing about science. Unknown settings of a paper carry an entry in their section's `assumed` with the
reason.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selflong.formats import digest
from selflong.job import UserError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.]*$")]
Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

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


class Section(BaseModel):
    """A part of the recipe or of the site: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    assumed: dict[str, str] = {}
    """Settings that the paper does not print, each with the reason for the value here."""

    @model_validator(mode="after")
    def _assumed_settings_exist(self) -> Self:
        for setting in self.assumed:
            if setting not in type(self).model_fields:
                raise ValueError(f"assumed names {setting!r}, which is no setting of this section")
        return self

    @property
    def digest(self) -> str:
        """Changes when a setting changes; the wording of an assumption does not count."""
        return digest(self.model_dump(mode="json", exclude={"assumed"}))


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
    index: str = "Flat"
    """FAISS factory string; inner product over normalised vectors."""
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


class Gates(Section):
    """Quality gates; each drop is counted with its reason. The paper has none."""

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


class Stage(Section):
    """One training stage, or, with tokens 0, only another rope base."""

    name: Name
    length: Positive
    rope_base: float | Literal["keep", "x4_per_doubling", "ntk"]
    rope_scaling: Literal["keep", "drop"] = "keep"
    """Of a llama3 rope_scaling block in the initial model's configuration."""
    mixture: str | None = None
    tokens: NonNegative
    """To train on, rounded up to whole global batches."""
    global_batch_tokens: Positive | None = None
    optimizer: Optimizer | None = None
    continue_optimizer: bool = False
    """Start from the optimizer state of the stage before."""
    checkpoint_steps: Positive = 100

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


class RulerSuite(Section):
    """RULER (arXiv 2404.06654) in one named convention."""

    kind: Literal["ruler"]
    models: list[str] = Field(min_length=1)
    convention: Literal["ruler_exact", "ruler_head", "ruler_2024"]
    tasks: list[RulerTask] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    samples: dict[int, Positive]
    """Of each task, by length."""
    seed: int
    chat: bool = True
    answer_prefix: bool = True

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


class NeedleGrid(Section):
    """Needle-in-a-haystack over depth and length."""

    kind: Literal["needle_grid"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    depths: Positive
    """Evenly spaced from 0 to 1, both ends included."""
    repeats: Positive = 1
    seed: int


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


Suite = Annotated[
    RulerSuite | PublishedRulerSuite | NeedleGrid | OutputLength | ShortTasks,
    Field(discriminator="kind"),
]


class RecallStudy(Section):
    """The study of recall on a CPU: its language and its groups of models."""

    keys: Positive
    values: Positive
    needles: Positive
    queries: Positive
    fillers: Positive
    lengths: list[Positive]
    evaluation_sequences: Positive
    seeds: list[int] = Field(min_length=1)


class Report(Section):
    """Which rows the tables show."""

    paper: Literal["SelfLong", "ProLong"] | None = None
    """Whose published tables stand beside the measured ones."""
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

    def root(self, checkpoint: str) -> str:
        """The loaded model that a chain of stages began with: its tokenizer is everyone's in the chain."""
        while (before := self.forerunner(checkpoint)) is not None:
            checkpoint = before
        return checkpoint.partition("/")[0]

    def checkpoints(self) -> Iterator[str]:
        """Every '<model>/<stage>' of the recipe."""
        for name, model in self.models.items():
            if not model.stages:
                yield f"{name}/{INITIAL}"
            for stage in model.stages:
                yield f"{name}/{stage.name}"


# -------------------------------------------------------------------------------------------- site


class LlamaCppServing(Section):
    """llama.cpp's server on this machine's CPU."""

    kind: Literal["llama_cpp"]
    slots: Positive = 4
    threads: Positive = 2


class VllmServing(Section):
    """vLLM on the job's GPUs."""

    kind: Literal["vllm"]
    tensor_parallel: Positive = 1
    data_parallel: Positive = 1
    gpu_memory_share: Share = 0.9
    arguments: list[str] = []


class TransformersServing(Section):
    """`generate` of transformers behind a loopback server."""

    kind: Literal["transformers"]
    threads: Positive = 1
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    batch_tokens: Positive = 16_384


class RemoteServing(Section):
    """An OpenAI-compatible endpoint; the key is read from an environment variable."""

    kind: Literal["remote"]
    url: str
    api_key_variable: str
    maximum_concurrency: Positive = 256
    budget_usd: float | None = None
    budget_tokens: Positive | None = None


Serving = Annotated[
    LlamaCppServing | VllmServing | TransformersServing | RemoteServing, Field(discriminator="kind")
]


class TrainingSite(Section):
    """Devices and the layout of parallelism; `layouts` by stage name overrides what the plan chooses."""

    device: Literal["cpu", "cuda"] = "cpu"
    nodes: Positive = 1
    ranks_per_node: Positive
    threads_per_rank: Positive = 1
    ring: Positive | None = None
    ulysses: Positive = 1
    """Ranks of a sequence-parallel group = ring x ulysses; null ring: all ranks of the job."""
    zero_stage: Literal[1, 2, 3] = 3
    offload_optimizer: bool = False
    offload_activations: bool = False
    tensorboard: bool = False


class EncodingSite(Section):
    """Where documents are embedded."""

    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: Positive = 32
    threads: Positive = 1


class Resources(Section):
    """What a kind of job asks of the scheduler."""

    cpus: Positive = 1
    gpus: NonNegative = 0
    memory_mb: Positive = 4000
    minutes: Positive = 60
    partition: str | None = None


JOB_KINDS = ("pipeline", "encoding", "synthesis", "training", "serving", "evaluation")
JobKind = Literal[JOB_KINDS]  # type: ignore[valid-type]


class Site(Section):
    """config.yaml: which recipe, where things lie, and on what they run."""

    recipe: Name
    recipes: Path = Path("recipes")
    """Folder of the recipe files."""
    results: Path = Path("results")
    work: Path = Path("work")
    hub_token_variable: str = "HF_TOKEN"
    python: dict[JobKind, str] = {}
    """The Python of each kind of job; the one that runs Snakemake where it is not named."""
    generators: dict[Name, Serving] = {}
    """How each generator of the recipe is served."""
    evaluation: Serving
    """How checkpoints are served for evaluation."""
    training: TrainingSite
    encoding: EncodingSite = EncodingSite()
    resources: dict[JobKind, Resources] = {}
    account: str | None = None


# ----------------------------------------------------------------------------------------- loading


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; reads 1e-5 as a number, which YAML 1.1 does not."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in mapping:
            mark = key_node.start_mark
            raise UserError(
                f"{mark.name}: key {key!r} in line {mark.line + 1} stands twice: remove one of them"
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary; UserError where it is missing or malformed."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    loader = _UniqueKeyLoader(path.read_text())
    loader.name = str(path)
    try:
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not YAML{line}: {error.problem}") from None
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values")
    return content


T = TypeVar("T", bound=Section)


def _place(location: tuple[str | int, ...]) -> str:
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    return place


def _allowed_keys(section: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that holds the unknown key, where the types tell which one it is."""
    current: Any = section
    for step in location[:-1]:
        fields = getattr(current, "model_fields", None)
        if fields is not None and step in fields:
            current = fields[step].annotation
        candidates = list(_sections(current))
        matching = [c for c in candidates if _discriminates(c, step)]
        if len(candidates) == 1 or matching:
            current = (matching or candidates)[0]
    return sorted(getattr(current, "model_fields", {}))


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections(argument)


def _discriminates(section: type[BaseModel], step: str | int) -> bool:
    kind = section.model_fields.get("kind")
    return kind is not None and getattr(kind.annotation, "__args__", (None,))[0] == step


def _sentence(path: str, section: type[BaseModel], error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = _allowed_keys(section, first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(allowed)}"
        return f"{path}: {place}: unknown key; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] in ("missing", "value_error") else f", not {first['input']!r}"
    return f"{path}: {place or 'top level'}: {message}{given}"


def parse(section: type[T], content: dict[str, Any], path: str) -> T:
    """`content` as a typed section; UserError with one sentence for the first mistake."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(_sentence(path, section, error)) from None


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe."""
    recipe = parse(Recipe, read_yaml(path), str(path))
    if recipe.name != path.stem:
        raise UserError(f"{path}: name: must be {path.stem!r} as the file is, not {recipe.name!r}")
    for mistake in mistakes(recipe):
        raise UserError(f"{path}: {mistake}")
    return recipe


def load_site(path: Path) -> Site:
    """Read and check a site."""
    return parse(Site, read_yaml(path), str(path))


# --------------------------------------------------------------------- what spans several sections


def _unknown(place: str, name: str, known: Any) -> str:
    return f"{place}: {name!r} does not exist; there are {', '.join(sorted(known)) or 'none'}"


def mistakes(recipe: Recipe) -> Iterator[str]:
    """Sentences for what no single section can see."""
    yield from _model_mistakes(recipe)
    yield from _synthesis_mistakes(recipe)
    yield from _mixture_mistakes(recipe)
    yield from _evaluation_mistakes(recipe)


def _reference_mistake(recipe: Recipe, place: str, reference: str) -> str | None:
    known = set(recipe.models) | set(recipe.checkpoints())
    return None if reference in known else _unknown(place, reference, known)


def _model_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, model in recipe.models.items():
        place = f"models.{name}.start"
        if model.start and (mistake := _reference_mistake(recipe, place, model.start)):
            yield mistake
            return
        names = [stage.name for stage in model.stages]
        for position, stage in enumerate(model.stages):
            place = f"models.{name}.stages[{position}]"
            if stage.name == INITIAL or names.count(stage.name) > 1:
                yield f"{place}.name: {stage.name!r} is taken; each stage needs a name of its own"
            if stage.mixture is not None and stage.mixture not in recipe.mixtures:
                yield _unknown(f"{place}.mixture", stage.mixture, recipe.mixtures)
            if (
                stage.global_batch_tokens is not None
                and stage.global_batch_tokens % stage.length != 0
            ):
                yield (
                    f"{place}.global_batch_tokens: {stage.global_batch_tokens} is no multiple of "
                    f"the stage's length {stage.length}"
                )
    yield from _chain_mistakes(recipe)


def _chain_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, model in recipe.models.items():
        seen = [name]
        while (start := recipe.models[seen[-1]].start) is not None:
            seen.append(start.partition("/")[0])
            if seen[-1] in seen[:-1]:
                yield f"models.{name}.start: {' -> '.join(seen)} goes round in a circle"
                return
        for position, stage in enumerate(model.stages):
            forerunner = recipe.forerunner(f"{name}/{stage.name}")
            before = recipe.stage(forerunner) if forerunner else None
            if before is not None and stage.length < before.length:
                yield (
                    f"models.{name}.stages[{position}].length: {stage.length} is shorter than its "
                    f"forerunner {forerunner} with {before.length}; give at least that"
                )


def _synthesis_mistakes(recipe: Recipe) -> Iterator[str]:
    synthesis = recipe.synthesis
    if synthesis is None:
        if recipe.generators:
            yield "generators: without a section synthesis they have no effect"
        return
    for setting, known in (
        ("corpus", recipe.corpora),
        ("encoder", recipe.encoders),
        ("target", recipe.models),
    ):
        if getattr(synthesis, setting) not in known:
            yield _unknown(f"synthesis.{setting}", getattr(synthesis, setting), known)
    if not recipe.generators:
        yield "generators: synthesis needs at least one"
    for name, generator in recipe.generators.items():
        if generator.tokenizer is not None and generator.tokenizer not in recipe.models:
            yield _unknown(f"generators.{name}.tokenizer", generator.tokenizer, recipe.models)
        needed = (
            synthesis.long_input.chunk_tokens
            + synthesis.long_input.instruction_tokens
            + synthesis.long_input.summary_tokens
        )
        if needed > generator.context_tokens:
            yield (
                f"generators.{name}.context_tokens: {generator.context_tokens} does not hold a chunk, "
                f"an instruction and a summary ({needed}); lower synthesis.long_input.chunk_tokens"
            )
    if synthesis.long_output.minimum_tokens > synthesis.long_output.maximum_tokens:
        yield "synthesis.long_output.minimum_tokens: is above maximum_tokens"


def _mixture_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, mixture in recipe.mixtures.items():
        place = f"mixtures.{name}"
        for entry_name, entry in mixture.entries.items():
            source = entry.source
            if isinstance(source, SynthesisedSamples) and source.generator not in recipe.generators:
                yield _unknown(
                    f"{place}.entries.{entry_name}.source.generator",
                    source.generator,
                    recipe.generators,
                )
        for suite in mixture.contamination.suites:
            if suite not in recipe.suites:
                yield _unknown(f"{place}.contamination.suites", suite, recipe.suites)
        lengths: dict[str, int] = {}
        for model in recipe.models.values():
            for stage in model.stages:
                if (
                    stage.mixture == name
                    and lengths.setdefault(stage.name, stage.length) != stage.length
                ):
                    yield (
                        f"{place}: stage {stage.name!r} has the lengths {lengths[stage.name]} and "
                        f"{stage.length} in different models; a stage of a mixture is packed once, "
                        "so give the stages different names"
                    )


def _evaluation_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, suite in recipe.suites.items():
        for reference in suite.models:
            if mistake := _reference_mistake(recipe, f"suites.{name}.models", reference):
                yield mistake
    for row, reference in recipe.report.ablation.items():
        if mistake := _reference_mistake(recipe, f"report.ablation.{row!r}", reference):
            yield mistake


def stages_of_mixture(recipe: Recipe, mixture: str) -> dict[str, int]:
    """Name -> length of the stages that train on a mixture, shortest first."""
    stages = {
        stage.name: stage.length
        for model in recipe.models.values()
        for stage in model.stages
        if stage.mixture == mixture
    }
    return dict(sorted(stages.items(), key=lambda item: item[1]))
