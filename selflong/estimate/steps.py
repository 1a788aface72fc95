"""Every step of a recipe with what it costs: the same shards, stages and suites as the rules run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from selflong.estimate import evaluation, retrieval
from selflong.estimate.data_stages import (
    documents,
    samples,
    stage_data,
    synthesised,
)
from selflong.estimate.index import embedding_bytes
from selflong.estimate.synthesis import Usage, usage
from selflong.estimate.training import estimate_stage
from selflong.placement.fit import Fit
from selflong.placement.machines import GB, Machine
from selflong.placement.memory import OPTIMIZER_BYTES, WEIGHT_BYTES
from selflong.recipe.models import Model, Stage
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.recipe.site import LlamaCppServing, RemoteServing, Serving, Site
from selflong.recipe.suites import Suite
from selflong.recipe.synthesis import Generator, LongInput, Synthesis
from selflong.recipe.weights import EndpointWeights, GgufWeights, HubWeights
from selflong.run.shapes import model_shape, weights_shape
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION
from selflong.suites.load import Load

DOWNLOAD_BANDWIDTH = 1e8
PACKED_TOKEN_BYTES = 5
"""A token as uint32 and its role as uint8."""
DEQUANTIZED_PARAMETERS = 7e6
"""A second, from a GGUF file on one core."""
PREDICTION_COMPRESSION = 0.16
"""Of prompts and answers: the prompts of a suite share their haystacks."""
TEXTS_BYTES = 1e6
"""Questions and essays of the evaluation."""
REPORT_BYTES = 2e6
TOKENIZER_BYTES = 1e7
REMOTE_CONCURRENCY = RemoteServing.model_fields["maximum_concurrency"].default
REMOTE_TOKENS_PER_SECOND = 50
"""Of one answer from a remote endpoint."""
LLAMA_CPP_PROMPT_TOKENS = 280
LLAMA_CPP_ANSWER_TOKENS = 120
"""Tokens a second of all slots of llama.cpp's server together, SmolLM2-135M on two cores."""
MADE_BY = {
    "long_input": "answers",
    "long_output": "long outputs",
    "document_tasks": "document tasks",
    "multi_hop": "multi-hop questions",
}
"""The last step of each kind of samples."""


@dataclass(frozen=True)
class Step:
    """Jobs of one kind that may run at the same time."""

    name: str
    part: str
    """Of the workflow: the rules file that runs it."""
    jobs: int
    seconds: float
    """Of one job."""
    after: tuple[str, ...] = ()
    nodes: int = 1
    """Of one job; 0 runs where Snakemake runs."""
    uses_devices: bool = False
    tokens: float = 0.0
    """Read or trained on."""
    requests: float = 0.0
    prompt_tokens: float = 0.0
    shared_tokens: float = 0.0
    """Of the prompts' those that a server which keeps keys does not read again."""
    completion_tokens: float = 0.0
    usd: float = 0.0
    kept_bytes: float = 0.0
    work_bytes: float = 0.0
    memory: float = 0.0
    """Of each device (of the node, where a step uses none)."""
    fits: bool = True
    advice: str = ""

    def device_hours(self, machine: Machine) -> float:
        if not self.uses_devices:
            return 0.0
        return self.jobs * self.seconds * self.nodes * machine.devices_per_node / 3600


@dataclass(frozen=True)
class Planner:
    """Steps of one recipe on one machine."""

    recipe: Recipe
    site: Site
    machine: Machine

    def steps(self) -> list[Step]:
        """Every step, each after those that it waits for."""
        found = [
            *self._downloads(),
            *self._texts(),
            *self._corpora(),
            *self._retrieval(),
            *self._synthesis(),
            *self._mixtures(),
            *self._training(),
            *self._evaluation(),
        ]
        everything = tuple(step.name for step in found)
        seconds = 2 + self.machine.light_start_seconds
        return [*found, Step("report", "report", 5, seconds, everything, kept_bytes=REPORT_BYTES)]

    # ------------------------------------------------------------------------------ downloads

    def _weights(self) -> Iterator[HubWeights]:
        for group in (self.recipe.models, self.recipe.generators, self.recipe.encoders):
            for item in group.values():
                if isinstance(item.weights, HubWeights):
                    yield item.weights

    def _downloads(self) -> Iterator[Step]:
        sizes: dict[str, float] = {
            weights.repository: WEIGHT_BYTES * weights_shape(self.site, weights).parameters
            for weights in self._weights()
        }
        for name, corpus in self.recipe.corpora.items():
            if size := documents(corpus).downloaded:
                sizes[f"corpus {name}"] = size
        for mixture in self.recipe.mixtures.values():
            for entry in mixture.entries.values():
                if entry.source.download_bytes:
                    sizes[entry.source.digest] = entry.source.download_bytes
        for suite in self.recipe.suites.values():
            if suite.download is not None:
                # It holds the prompts.
                tokens = sum(load.prompt_tokens for load in evaluation.loads(suite))
                sizes[suite.download.repository] = tokens * BYTES_PER_TOKEN * COMPRESSION
        if sizes:
            total = sum(sizes.values())
            yield Step(
                "downloads", "download", len(sizes), total / DOWNLOAD_BANDWIDTH,
                nodes=0, kept_bytes=total,
            )  # fmt: skip

    @property
    def _sources(self) -> tuple[str, ...]:
        return ("downloads",) if any(self._downloads()) else ()

    # ------------------------------------------------------------------------------ data stages

    def _text_seconds(self, tokens: float) -> float:
        """To read, count and write text on a node's cores."""
        seconds = tokens / (self.machine.cpu_tokens * self.machine.cores)
        return self.machine.light_start_seconds + seconds

    def _texts(self) -> Iterator[Step]:
        compared = any(mixture.contamination.suites for mixture in self.recipe.mixtures.values())
        if self.recipe.corpora or compared:
            yield Step(
                "evaluation texts", "evaluation", 1, self.machine.start_seconds, self._sources,
                kept_bytes=TEXTS_BYTES,
            )  # fmt: skip

    def _corpora(self) -> Iterator[Step]:
        for name, corpus in self.recipe.corpora.items():
            size = documents(corpus)
            jobs = len(corpus.sources) + 2 * corpus.shards + 1
            text = size.bytes * COMPRESSION
            # The documents as they were collected, and as they were chosen.
            yield Step(
                f"corpus {name}", "corpus", jobs,
                # Every document is counted and compared once, and written once.
                self._text_seconds(2 * size.tokens / jobs),
                (*self._sources, "evaluation texts"),
                tokens=size.tokens, kept_bytes=2 * text, memory=4 * GB,
            )  # fmt: skip

    def _retrieval(self) -> Iterator[Step]:
        section = self.recipe.synthesis
        if section is None or section.encoder is None or section.long_input is None:
            return
        encoder = self.recipe.encoders[section.encoder]
        corpus = self.recipe.corpora[section.corpus]
        size, shape, machine = (
            documents(corpus),
            weights_shape(self.site, encoder.weights),
            self.machine,
        )
        embeddings = embedding_bytes(size.rows, encoder.dimensions)
        queries = section.long_input.samples // section.long_input.shards
        index = retrieval.index_use(encoder, size.rows, queries, machine)
        seconds = retrieval.encode_seconds(
            size, encoder.maximum_tokens, shape, machine, machine.devices_per_node
        )
        embed = f"embeddings {section.encoder}"
        yield Step(
            embed, "retrieval", corpus.shards, machine.start_seconds + seconds / corpus.shards,
            (f"corpus {section.corpus}",), uses_devices=True, tokens=size.tokens,
            kept_bytes=embeddings, work_bytes=embeddings / corpus.shards,
            memory=WEIGHT_BYTES * shape.parameters + 2 * GB,
        )  # fmt: skip
        # One job builds it, the other one compares it with exact search.
        yield Step(
            f"index {section.encoder}", "retrieval", 2,
            machine.start_seconds + (index.build_seconds + index.search_seconds) / 2,
            (embed,), kept_bytes=index.disk, work_bytes=index.disk,
            memory=max(index.build_memory, index.search_memory) + 4 * GB,
        )  # fmt: skip

    def _synthesis(self) -> Iterator[Step]:
        section = self.recipe.synthesis
        if section is None:
            return
        for name, generator in self.recipe.generators.items():
            yield from self._of_generator(section, name, generator)

    def _of_generator(self, section: Synthesis, name: str, generator: Generator) -> Iterator[Step]:
        uses, corpus = usage(self.recipe, name), (f"corpus {section.corpus}",)
        if section.long_input is not None:
            yield from self._long_inputs(section, section.long_input, name, generator, uses)
        for kind in (kind for kind in section.kinds if kind != "long_input"):
            step = MADE_BY[kind]
            yield self._requests(
                f"{step} {name}", uses[step], section.kinds[kind].shards, name, generator,
                corpus, kept=synthesised(self.recipe, kind).tokens,
            )  # fmt: skip

    def _long_inputs(
        self, section: Synthesis, long_input: LongInput, name: str, generator: Generator,
        uses: dict[str, Usage],
    ) -> Iterator[Step]:  # fmt: skip
        machine, corpus = self.machine, f"corpus {section.corpus}"
        encoder = self.recipe.encoders[section.needed_encoder]
        asked = f"instructions {name}"
        yield self._requests(
            asked, uses["instructions"], long_input.shards, name, generator, (corpus,)
        )
        found = f"retrieved documents {name}"
        rows = documents(self.recipe.corpora[section.corpus]).rows
        queries = long_input.samples // long_input.shards
        index = retrieval.index_use(encoder, rows, queries, machine)
        yield Step(
            found, "retrieval", long_input.shards, machine.start_seconds + index.search_seconds,
            (asked, f"index {section.encoder}"), uses_devices=machine.has_gpus,
            memory=index.search_memory + 4 * GB, kept_bytes=long_input.samples * 70 * 60,
        )  # fmt: skip
        yield self._requests(
            f"{MADE_BY['long_input']} {name}", uses["answers"], long_input.shards, name,
            generator, (found,), kept=synthesised(self.recipe, "long_input").tokens,
        )  # fmt: skip

    def _requests(
        self, name: str, asked: Usage, shards: int, generator_name: str, generator: Generator,
        after: tuple[str, ...], kept: float = 0.0,
    ) -> Step:  # fmt: skip
        serving = self.site.generators.get(generator_name)
        remote = isinstance(serving, RemoteServing) or generator.weights is None
        text = (asked.prompt_tokens + asked.completion_tokens) * BYTES_PER_TOKEN
        seconds = self._serving_seconds(asked, generator, serving) / shards
        summaries = asked.completion_tokens * BYTES_PER_TOKEN
        return Step(
            name, "synthesis", shards,
            # A remote endpoint serves all shards together.
            self.machine.start_seconds + seconds * (self.machine.nodes if remote else 1),
            after, uses_devices=not remote,
            requests=asked.requests, prompt_tokens=asked.prompt_tokens,
            completion_tokens=asked.completion_tokens, usd=asked.usd(generator, serving),
            kept_bytes=(kept * BYTES_PER_TOKEN + summaries) * COMPRESSION,
            work_bytes=text * COMPRESSION,
            memory=0.0 if remote else self._generator_bytes(generator),
        )  # fmt: skip

    def _generator_bytes(self, generator: Generator) -> float:
        assert generator.weights is not None
        shape = weights_shape(self.site, generator.weights)
        need = WEIGHT_BYTES * shape.parameters + shape.cache_bytes(generator.context_tokens)
        return need / self.machine.devices_per_node

    def _serving_seconds(
        self, asked: Usage, generator: Generator, serving: Serving | None
    ) -> float:
        """Of all requests, on one node or over the whole endpoint."""
        if isinstance(serving, RemoteServing) or generator.weights is None:
            concurrency = getattr(serving, "maximum_concurrency", REMOTE_CONCURRENCY)
            return asked.completion_tokens / (concurrency * REMOTE_TOKENS_PER_SECOND)
        if isinstance(serving, LlamaCppServing):
            prompt = asked.prompt_tokens / LLAMA_CPP_PROMPT_TOKENS
            return prompt + asked.completion_tokens / LLAMA_CPP_ANSWER_TOKENS
        shape, machine = weights_shape(self.site, generator.weights), self.machine
        mean = asked.prompt_tokens / asked.requests
        prefill = shape.forward_flops(asked.prompt_tokens, mean / 2, logits=False)
        # Dozens of answers are decoded together, so arithmetic bounds them too.
        decode = shape.forward_flops(asked.completion_tokens, mean) * 4
        flops = machine.devices_per_node * machine.flops * machine.prefill_share
        return (prefill + decode) / flops

    # ------------------------------------------------------------------------------ mixtures

    def _mixtures(self) -> Iterator[Step]:
        for name, mixture in self.recipe.mixtures.items():
            sources = (entry.source.synthesised for entry in mixture.entries.values())
            made = {(source.samples, source.generator) for source in sources if source is not None}
            after = [f"{MADE_BY[samples]} {generator}" for samples, generator in sorted(made)]
            if mixture.contamination.suites:
                after.append("evaluation texts")
            read = sum(samples(self.recipe, entry).tokens for entry in mixture.entries.values())
            for stage in stages_of_mixture(self.recipe, name):
                data = stage_data(self.recipe, name, stage)
                # Deduplication reads every row; only the stage's rows are packed. A tokenizer is loaded.
                seconds = self.machine.light_start_seconds + self._text_seconds(read + data.tokens)
                yield Step(
                    f"mixture {name} {stage}", "mixture", 1, seconds,
                    (*self._sources, *after), tokens=data.tokens,
                    kept_bytes=data.tokens * PACKED_TOKEN_BYTES,
                    work_bytes=read * BYTES_PER_TOKEN * COMPRESSION, memory=16 * GB,
                )  # fmt: skip

    # ------------------------------------------------------------------------------ training

    def _training(self) -> Iterator[Step]:
        for name, model in self.recipe.models.items():
            if isinstance(model.weights, EndpointWeights):
                # Its tokenizer alone.
                yield Step(
                    f"model {name}/initial", "training", 1, self.machine.start_seconds,
                    self._sources, kept_bytes=TOKENIZER_BYTES,
                )  # fmt: skip
                continue
            size = WEIGHT_BYTES * model_shape(self.recipe, self.site, name).parameters
            if not model.stages:
                seconds = 2 * size / self.machine.disk_bandwidth
                if isinstance(model.weights, GgufWeights):
                    seconds += size / WEIGHT_BYTES / DEQUANTIZED_PARAMETERS
                yield Step(
                    f"model {name}/initial", "training", 1, self.machine.start_seconds + seconds,
                    self._sources, kept_bytes=size, memory=2 * size,
                )  # fmt: skip
            for stage in model.stages:
                yield self._train(name, model, stage, size)

    def _train(self, name: str, model: Model, stage: Stage, size: float) -> Step:
        checkpoint = f"{name}/{stage.name}"
        before = self.recipe.start_of(checkpoint)
        if stage.tokens == 0:
            return Step(
                f"model {checkpoint}", "training", 1,
                self.machine.start_seconds + size / self.machine.disk_bandwidth,
                (f"model {before}",), kept_bytes=size,
            )  # fmt: skip
        estimated = estimate_stage(self.recipe, self.site, self.machine, name, stage)
        fit = estimated.fit
        # A state at each interval but the last, which is the model; one stays until the next is whole.
        states = min(2, (estimated.steps - 1) // stage.checkpoint_steps)
        return Step(
            f"model {checkpoint}", "training", 1, estimated.seconds,
            (f"model {before}", f"mixture {stage.mixture} {stage.name}"), nodes=fit.nodes,
            uses_devices=True, tokens=estimated.tokens, kept_bytes=size,
            work_bytes=states * OPTIMIZER_BYTES * size / WEIGHT_BYTES,
            memory=fit.memory.total, fits=fit.fits, advice=_advice(fit, estimated.best),
        )  # fmt: skip

    # ------------------------------------------------------------------------------ evaluation

    def _evaluation(self) -> Iterator[Step]:
        for name, suite in self.recipe.suites.items():
            for reference in suite.models:
                yield self.asked(name, suite, reference)
            # The predictions that a download carries are scored by a job of their own.
            jobs = 1 + suite.carries_predictions
            yield Step(
                f"scores {name}", "evaluation", jobs, self.machine.light_start_seconds + 5,
                tuple(f"evaluation {name} {self.recipe.resolve(model)}" for model in suite.models),
            )  # fmt: skip

    def loads_of(self, suite: str, reference: str) -> list[Load]:
        """What one of its models is asked by a suite, by length."""
        supports = self.recipe.models[reference.partition("/")[0]].supports
        return list(evaluation.loads(self.recipe.suites[suite].asked_of(reference), supports))

    def asked(self, name: str, suite: Suite, reference: str) -> Step:
        """What it takes to ask one of a suite's models."""
        checkpoint = self.recipe.resolve(reference)
        model = checkpoint.partition("/")[0]
        weights = self.recipe.models[model].weights
        loads = self.loads_of(name, reference)
        jobs = len(suite.asked_of(reference).jobs)
        prompt = sum(load.prompt_tokens for load in loads)
        completion = sum(load.answer_tokens for load in loads)
        step = Step(
            f"evaluation {name} {checkpoint}", "evaluation", jobs, self.machine.start_seconds,
            (f"model {checkpoint}",), requests=sum(load.requests for load in loads),
            prompt_tokens=prompt, shared_tokens=sum(load.shared_tokens for load in loads),
            completion_tokens=completion,
            kept_bytes=prompt * BYTES_PER_TOKEN * PREDICTION_COMPRESSION,
        )  # fmt: skip
        if isinstance(weights, EndpointWeights):
            concurrency = self.site.endpoints[model].maximum_concurrency
            seconds = completion / (concurrency * REMOTE_TOKENS_PER_SECOND)
            usd = weights.price.usd(prompt, completion) if weights.price else 0.0
            return replace(step, seconds=step.seconds + seconds / jobs, usd=usd)
        shape = model_shape(self.recipe, self.site, model)
        seconds = sum(evaluation.seconds_of(load, shape, self.machine) for load in loads)
        longest = max((load.length for load in loads), default=0)
        memory = evaluation.serving_bytes(longest, shape, self.machine.devices_per_node)
        fits = memory <= self.machine.usable_memory
        return replace(
            step, seconds=step.seconds + seconds / jobs, uses_devices=True, memory=memory, fits=fits,
            advice="" if fits else "serve it over more devices (evaluation.tensor_parallel)",
        )  # fmt: skip


def _settings(fit: Fit) -> str:
    layout = fit.layout
    settings = [f"training.nodes: {fit.nodes}", f"ring x ulysses: {layout.sequence}"]
    if layout.offload_activations:
        settings.append("offload_activations: true")
    if layout.offload_optimizer:
        settings.append("offload_optimizer: true")
    if layout.mlp_tiles > 1:
        settings.append(f"mlp_tiles: {layout.mlp_tiles}")
    return ", ".join([*settings, *_left_to_a_node(fit)])


def _left_to_a_node(fit: Fit) -> Iterator[str]:
    """What the devices of a node leave to its memory and its disk."""
    devices = fit.layout.ranks / fit.nodes
    for place, size in (("memory", fit.offloaded.memory), ("disk", fit.offloaded.disk)):
        if size:
            yield f"{size * devices / GB:,.0f} GB of a node's {place}"


def _advice(fit: Fit, better: Fit) -> str:
    """The layout; where it does not fit, the cheapest one that does."""
    if fit.fits:
        return _settings(fit)
    if better.fits:
        return f"does not fit with {_settings(fit)}; take {_settings(better)}"
    return f"does not fit with {_settings(fit)}, nor in any layout tried; take a shorter stage"
