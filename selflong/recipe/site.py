"""The typed site, config.yaml: which recipe, where things lie, on what they run; no science."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from selflong.recipe.section import (
    Name,
    NonNegative,
    Positive,
    Precision,
    Rate,
    Section,
    Share,
    matching,
)


def _without_secrets(url: Any) -> str:
    """An address as it may be printed and recorded; no sentence repeats it, since it may hold a key."""
    if not isinstance(url, str) or not re.fullmatch(r"[!-~]+", url):
        raise ValueError("must be an address of printable ASCII characters: http(s)://host")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(
            "is no address: its host or port cannot be read (ports go to 65535, IPv6 stands in brackets)"
        ) from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(
            "must be the address of an endpoint: http(s)://host, with a port if need be"
        )
    if "@" in parts.netloc:
        raise ValueError(
            "must not hold a user or password: put the key into the environment variable that "
            "api_key_variable names"
        )
    if parts.query or parts.fragment:
        raise ValueError(
            "must end before '?' and '#': only the address of the endpoint belongs here"
        )
    if found := re.search(r"/(?:chat/)?completions/?$", parts.path):
        raise ValueError(
            f"must be what stands before {found[0]}, such as https://host/v1: the rest is added"
        )
    return url


def _variable_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
        raise ValueError(
            "must be the name of an environment variable, such as OPENAI_API_KEY: upper-case letters, digits "
            "and '_'; never the key itself"
        )
    return name


def _without_wildcards(folder: Path) -> Path:
    if str(folder).startswith("~"):
        raise ValueError("begins with ~, which only a shell takes for a home: write the path out")
    if re.search(r"[{}<>\n\t]", str(folder)):
        raise ValueError(
            "holds a bracket, a tab or a line end, which Snakemake takes for more than a name"
        )
    if re.search(r":|^[-\s]|\s$", str(folder)):
        raise ValueError(
            "must be a folder of this file system, without ':' and without a space or '-' at its ends"
        )
    return folder


WrittenFolder = Annotated[Path, AfterValidator(_without_wildcards)]
SlurmName = Annotated[
    str,
    matching(r"^[A-Za-z0-9_][A-Za-z0-9_.,@+:-]*$", "a name of SLURM's holds no space and no quote"),
]
Project = Annotated[
    str,
    matching(
        r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", "a project's name holds letters, digits, '_', '.' and '-'"
    ),
]
VariableName = Annotated[str, BeforeValidator(_variable_name)]
Nodes = Annotated[int, Field(gt=0, le=512)]
"""More were never laid out; the plan looks at each rank of a ring beside each other one."""


class LlamaCppServing(Section):
    """llama.cpp's server on this machine's CPU."""

    kind: Literal["llama_cpp"]
    slots: Positive = 4
    """Requests that are answered at once."""
    threads: Positive = 2
    """Of the CPU."""


class VllmCpu(Section):
    """vLLM without a GPU: its build for CPUs (envs/serving-cpu.txt)."""

    threads: Positive = 1
    """Of each data-parallel replica."""
    cache_gib: Positive = 1
    """Memory for the keys and values of each replica."""


OWN_ARGUMENTS = frozenset(
    {"--host", "--port", "--uds", "--api-key", "--model", "--served-model-name", "--root-path"}
)
"""Where a server listens, who may ask it and what it is called are no settings."""


def _without_own(arguments: list[str]) -> list[str]:
    for argument in arguments:
        if argument.partition("=")[0].replace("_", "-") in OWN_ARGUMENTS:
            raise ValueError(f"{argument.partition('=')[0]} is decided here; leave it out")
    return arguments


class VllmServing(Section):
    """vLLM on the job's GPUs, or on its CPU."""

    kind: Literal["vllm"]
    precision: Precision = "bfloat16"
    """Of its weights."""
    tensor_parallel: Positive = 1
    """GPUs that share one replica's weights."""
    data_parallel: Positive = 1
    """Replicas, behind one address."""
    gpu_memory_share: Share = 0.9
    """Of each GPU, for weights and keys."""
    cpu: VllmCpu | None = None
    arguments: Annotated[list[str], AfterValidator(_without_own)] = []
    """More of `vllm serve`'s options, as they stand on a command line."""

    @property
    def threads(self) -> int:
        """Of a CPU, over all replicas."""
        return self.cpu.threads * self.data_parallel if self.cpu else 1


class TransformersServing(Section):
    """`generate` of transformers behind a loopback server."""

    kind: Literal["transformers"]
    threads: Positive = 1
    """Of the CPU."""
    precision: Precision | Literal["auto"] = "auto"
    """auto: what this CPU multiplies faster, measured once for a run."""
    batch_tokens: Positive = 16_384
    """Positions whose keys are held at once, over all prompts; at least one prompt and its answer fit."""


class BatchApi(Section):
    """OpenAI's batch API: half the price, answered within a day."""

    requests: Annotated[int, Field(gt=0, le=50_000)] = 20_000
    """Of a batch at most; a shard's samples are asked together."""
    gather_seconds: Rate = 5.0
    """A batch is sent when no request came for so long."""
    poll_seconds: Rate = 60.0
    """Between two questions whether a batch is done."""
    price_share: Share = 0.5
    """Of the generator's price."""


class RemoteServing(Section):
    """An OpenAI-compatible endpoint; the key is read from an environment variable.

    A budget is that of requests that share a cache: one job's of the synthesis, or one model's in one suite.
    """

    kind: Literal["remote"]
    url: Annotated[str, BeforeValidator(_without_secrets)]
    """Up to /v1, without a key."""
    api_key_variable: VariableName
    """The environment variable that holds the key."""
    maximum_concurrency: Positive = 256
    """Requests at once; fewer while the endpoint refuses some."""
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Needs the generator's price."""
    budget_tokens: Positive | None = None
    """Prompt and answer together, after which nothing more is asked."""
    parameters: dict[Literal["max_tokens", "temperature", "top_p", "seed"], str | None] = {}
    """Other names that the endpoint has for a request's parameters, such as max_completion_tokens for
    max_tokens; null leaves one out that it refuses."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    """Of a model that reasons; it is left out where null."""
    reasoning_tokens: NonNegative = 0
    """What such a model may think before each answer, beside the answer."""
    json_schema: bool = False
    """Ask for instructions as the one field of a JSON object, so that nothing is said around them."""
    batch: BatchApi | None = None
    """Ask by batches in place of single requests."""


Serving = Annotated[
    LlamaCppServing | VllmServing | TransformersServing | RemoteServing, Field(discriminator="kind")
]


class TrainingSite(Section):
    """Devices and the layout of parallelism; what is null of the layout is chosen for each stage."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What trains."""
    precision: Precision | Literal["auto"] = "auto"
    """auto: bfloat16 on GPUs, on a CPU what it multiplies faster; a model of the recipe may fix its own."""
    nodes: Nodes = 1
    """Of one job."""
    ranks_per_node: Annotated[int, Field(gt=0, le=64)]
    """Processes of a node: one a GPU."""
    threads_per_rank: Positive = 1
    """Of the CPU."""
    ring: Annotated[int, Field(gt=0, le=512)] | None = None
    """Ranks that hand keys and values round."""
    ulysses: Positive | None = None
    """Ranks that share a sequence = ring x ulysses; the plan chooses as few as fit, and lets them share heads
    first, as far as key-value heads and a node go: a ring waits for the rank with the longest documents."""
    zero_stage: Annotated[int, Field(ge=1, le=3)] = 3
    """Of DeepSpeed: 1 shares the optimizer's state, 2 gradients too, 3 weights too."""
    offload_optimizer: bool | None = None
    """Its state and step to the node's memory; where null, only what does not fit otherwise."""
    offload_activations: bool | None = None
    """To the node's memory; where null, only what does not fit otherwise."""
    resident_layers: NonNegative | None = None
    """Layers whose activations stay on the device where others' are offloaded; where null, as many as fit."""
    offload_parameters: bool = False
    """To the node's memory as well: what a rank holds of the weights under ZeRO-3."""
    offload_nvme: WrittenFolder | None = None
    """Folder on each node's own fast disk, which takes the optimizer's state, where that is offloaded, in
    place of the node's memory; nothing stays there at the end."""
    zero_hpz_partition_size: Positive = 1
    """Ranks of a node that hold a second copy of the weights among them, so that in the backward pass ZeRO-3
    gathers each layer within the node; 1: no copy."""
    mlp_tiles: Positive | None = None
    """An MLP computes a rank's tokens in so many parts, each again in the backward pass, and holds what one
    part needs; where null, one unless nothing else fits."""
    loss_rows: Positive | None = None
    """Tokens whose logits the loss holds at once; where null, as many as there is memory for."""
    activation_checkpointing: bool = True
    """Compute each layer again in the backward pass in place of keeping what it held."""
    keep_attention: bool | None = None
    """But not its attention: its output and log-sum-exp stay, on the device or with what is offloaded; where
    null, unless nothing else fits."""
    checkpoint_minutes: Rate | None = None
    """Save the state also when so much time has passed since the last one."""

    @model_validator(mode="after")
    def _weights_lie_in_one_place(self) -> Self:
        second, per_node = self.zero_hpz_partition_size, self.ranks_per_node
        if self.offload_parameters and self.zero_stage < 3:
            raise ValueError(
                "offload_parameters needs zero_stage: 3, which alone splits the weights"
            )
        if self.offload_parameters and not self.offload_optimizer:
            raise ValueError(
                "offload_parameters needs offload_optimizer: true, whose weights they are"
            )
        if self.offload_nvme is not None:
            self._check_nvme(self.offload_nvme)
        if second == 1:
            return self
        if self.zero_stage < 3:
            raise ValueError(
                "zero_hpz_partition_size needs zero_stage: 3, which alone gathers weights"
            )
        if self.offload_parameters:
            raise ValueError(
                "zero_hpz_partition_size keeps on the devices what offload_parameters removes"
            )
        if self.nodes == 1:
            raise ValueError(
                "zero_hpz_partition_size is for several nodes: one gathers within itself"
            )
        if per_node % second:
            raise ValueError(
                f"zero_hpz_partition_size: {second} ranks do not share out the {per_node} of a node; give a "
                "divisor of ranks_per_node"
            )
        return self

    def _check_nvme(self, folder: Path) -> None:
        if self.zero_stage < 3:
            raise ValueError("offload_nvme needs zero_stage: 3, which alone hands state to a disk")
        if self.offload_optimizer is False:
            raise ValueError("offload_nvme takes the state that offload_optimizer: false keeps")
        if not folder.is_absolute():
            raise ValueError(f"offload_nvme: {folder} must begin with /: each node has its own")

    @property
    def ranks(self) -> int:
        """Of a job, over all its nodes."""
        return self.nodes * self.ranks_per_node

    @property
    def ulysses_degree(self) -> int:
        """Ranks that share heads: one where none is given."""
        return self.ulysses or 1

    @property
    def ring_degree(self) -> int:
        """Ranks of a ring: what is left of the job's where none is given."""
        return self.ring or max(1, self.ranks // self.ulysses_degree)


class EncodingSite(Section):
    """Where documents are embedded."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What embeds: every GPU of the node, or the CPU."""
    batch_size: Positive = 32
    """Texts at once."""
    threads: Positive = 1
    """Of the CPU."""


class PlanSite(Section):
    """The machines that `snakemake plan` counts with, where not those that follow from the recipe."""

    machine: Literal["two_cores", "h100", "one_h100", "rtx_4090"]
    """Whose speed and memory are counted with."""
    nodes: Nodes = 1
    """Of that machine."""


class HelmetSite(Section):
    """Where HELMET is installed (https://github.com/princeton-nlp/HELMET)."""

    checkout: Path
    """Folder of the repository, its data downloaded."""
    python: str
    """With what envs/evaluation-helmet.txt names."""
    judge: RemoteServing | None = None
    """Where the model answers that a suite names as its judge."""
    citations: Path | None = None
    """Folder of the model of 11 billion parameters that judges ALCE's citations,
    google/t5_xxl_true_nli_mixture."""


class TrackingSite(Section):
    """The program by which a run is followed; its package is installed where the jobs run."""

    kind: Literal["tensorboard", "wandb", "trackio"]
    """The program."""
    project: Project = "selflong"
    """Its name there."""
    offline: bool = True
    """Keep the numbers on this file system, and send none (wandb)."""


class Resources(Section):
    """What a kind of job asks of the scheduler."""

    cpus: Positive = 1
    """Cores."""
    gpus: NonNegative = 0
    """Of a node."""
    memory_mb: Positive = 4000
    """Of a node."""
    minutes: Positive = 60
    """Until the scheduler ends it."""
    partition: SlurmName | None = None
    """Of the queue; its default where it is null."""


JOB_KINDS = ("pipeline", "encoding", "synthesis", "training", "evaluation")
JobKind = Literal[JOB_KINDS]  # type: ignore[valid-type]


RECIPES = Path("recipes")
"""Folder of the recipe files, where a site names none."""


class Site(Section):
    """config.yaml: which recipe, where things lie, and on what they run."""

    recipe: Name
    """Name of the recipe that runs."""
    recipes: Path = RECIPES
    """Folder of the recipe files."""
    results: WrittenFolder = Path("results")
    """Folder of what is made, a folder for each recipe."""
    work: WrittenFolder = Path("work")
    """Folder of what interrupted jobs go on from; it may be removed when nothing runs."""
    hub_token_variable: VariableName = "HF_TOKEN"
    """The environment variable that holds the hub's access token."""
    python: dict[JobKind, str] = {}
    """The Python of each kind of job. Where it is not named: that of the rule's conda environment if
    Snakemake makes those (`--sdm conda`), else the one that runs Snakemake."""
    generators: dict[Name, Serving] = {}
    """How each generator of the recipe is served."""
    evaluation: Serving
    """How checkpoints are served for evaluation."""
    endpoints: dict[Name, RemoteServing] = {}
    """Where the recipe's models of kind endpoint answer."""
    helmet: HelmetSite | None = None
    training: TrainingSite
    encoding: EncodingSite = EncodingSite()
    resources: dict[JobKind, Resources] = {}
    """What each kind of job asks of the scheduler."""
    account: SlurmName | None = None
    """That the scheduler charges."""
    plan: PlanSite | None = None
    tracking: TrackingSite | None = None

    def part(self, place: str) -> Any:
        """What stands at a place, as `helmet.judge`; None where nothing does."""
        found: Any = self
        for name in place.split("."):
            found = getattr(found, name, None)
        return found
