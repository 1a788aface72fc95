"""What the Snakefile asks of a recipe and a site: digests, lists of files, how jobs find both.

The recipe file is never an input of a rule. A rule's params carry `digest(...)` of the parts of the recipe
that it reads and its stage's version, so that a change of one part runs again what depends on it alone.
Jobs read copies of the recipe and the site that are named by their content: an edit while a run is under way
does not reach it.
"""

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from selflong.cluster import launch, scheduled
from selflong.formats import digest, write_json
from selflong.job import RUNNER_VARIABLE, UserError, runner
from selflong.recipe import (
    INITIAL,
    JOB_KINDS,
    FolderConversations,
    FolderDocuments,
    FolderWeights,
    HubConversations,
    HubTokens,
    HubWeights,
    JobKind,
    MixtureEntry,
    NeedleGrid,
    PublishedRulerSuite,
    RecallSuite,
    Recipe,
    RulerSuite,
    Section,
    Site,
    Stage,
    Synthesis,
    SynthesisedSamples,
    load_recipe,
    parse,
    read_yaml,
    stages_of_mixture,
)

LENGTHS = RulerSuite | PublishedRulerSuite | NeedleGrid
HubSource = HubConversations | HubTokens | HubWeights | PublishedRulerSuite


@dataclass(frozen=True)
class Run:
    """One recipe on one site, as the rules see it."""

    recipe: Recipe
    site: Site

    @classmethod
    def from_config(cls, overrides: dict[str, Any]) -> "Run":
        """Read config.yaml, with what `--config` or `--configfile` gave on top of it."""
        path = Path("config.yaml")
        content = read_yaml(path) if path.exists() else {}
        site = parse(Site, content | overrides, str(path))
        recipe = load_recipe(site.recipes / f"{site.recipe}.yaml")
        return cls(recipe, site)

    # ------------------------------------------------------------------------------- how jobs find it

    @property
    def results(self) -> Path:
        """Where everything that the recipe makes lies."""
        return self.site.results / self.recipe.name

    @property
    def work(self) -> Path:
        """State that an interrupted job resumes from."""
        return self.site.work / self.recipe.name

    @cached_property
    def _copies(self) -> dict[str, tuple[Path, Any]]:
        parts = {"RECIPE": self.recipe, "SITE": self.site}
        contents = {name: part.model_dump(mode="json") for name, part in parts.items()}
        return {
            name: (self.work / "configuration" / f"{name.lower()}-{digest(content)}.json", content)
            for name, content in contents.items()
        }

    def environment(self, base: Path) -> dict[str, str]:
        """Environment variables that the rules' commands use; `base` is the folder of the Snakefile."""
        variables = {f"SELFLONG_{name}": str(path) for name, (path, _) in self._copies.items()}
        for kind in JOB_KINDS:
            variables[f"{kind.upper()}_PYTHON"] = self.site.python.get(kind, sys.executable)
            variables[f"{kind.upper()}_LAUNCH"] = " ".join(launch(self.site, kind))
        paths = [str(base), *filter(None, [os.environ.get("PYTHONPATH")])]
        return variables | {
            RUNNER_VARIABLE: runner(),
            "SELFLONG": str(base),
            "SELFLONG_WORK": str(self.work),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }

    def write_copies(self) -> None:
        """Write the copies of recipe and site that the jobs read."""
        for path, content in self._copies.values():
            if not path.exists():
                write_json(content, path)

    # --------------------------------------------------------------------------------------- digests

    def digest(self, stage: str, *parts: Any) -> str:
        """Of the parts of the recipe that a rule reads, and of the version of the stage's code."""
        version = importlib.import_module(f"selflong.{stage}").VERSION
        values = [part.digest if isinstance(part, Section) else part for part in parts]
        return digest([stage, version, self.recipe.seed, *values])

    # ------------------------------------------------------------------------------------- the hub

    def _sections(self) -> Iterator[Section]:
        yield from self.recipe.suites.values()
        for mixture in self.recipe.mixtures.values():
            yield from (entry.source for entry in mixture.entries.values())
        holders = (self.recipe.models, self.recipe.generators, self.recipe.encoders)
        for holder in holders:
            yield from (
                item.weights for item in holder.values() if isinstance(item.weights, Section)
            )

    @cached_property
    def downloads(self) -> dict[str, HubSource]:
        """Folder name -> what is downloaded into it."""
        found: dict[str, HubSource] = {}
        for section in self._sections():
            if isinstance(section, HubSource):
                found.setdefault(download_name(section), section)
        return found

    def files_of(self, section: object) -> list[str]:
        """What a rule must wait for before it reads a source or weights."""
        if isinstance(section, HubSource):
            return [f"{self.site.results}/downloads/{download_name(section)}"]
        if isinstance(section, FolderDocuments | FolderConversations | FolderWeights):
            if not section.path.exists():
                raise UserError(
                    f"recipe {self.recipe.name}: path {section.path} does not exist; "
                    "name an existing folder"
                )
            return [str(section.path)]
        return []

    # --------------------------------------------------------------------------------------- lists

    def tokenizer(self, model: str) -> str:
        """Folder that holds a model's tokenizer: that of the loaded model at the head of its chain."""
        return self.checkpoint(f"{self.recipe.root(self.recipe.resolve(model))}/{INITIAL}")

    def checkpoint(self, reference: str) -> str:
        """Folder of '<model>' (its last stage) or '<model>/<stage>'."""
        return f"{self.results}/models/{self.recipe.resolve(reference)}"

    def stage(self, model: str, name: str) -> Stage:
        """A stage by the wildcards of its rule; UserError where there is none."""
        stage = self.recipe.stage(f"{model}/{name}") if model in self.recipe.models else None
        if stage is None:
            raise UserError(f"recipe {self.recipe.name} has no stage {model}/{name}")
        return stage

    def entry_files(self, entry: MixtureEntry) -> list[str]:
        """Files with the rows of a mixture's entry."""
        source = entry.source
        if isinstance(source, SynthesisedSamples):
            return [
                f"{self.results}/synthesis/{source.generator}/{source.samples}/{shard}.parquet"
                for shard in self.synthesis_shards(source.samples)
            ]
        return self.files_of(source)

    def corpus_shards(self, corpus: str) -> range:
        """Shards that a corpus is written in."""
        return range(self.recipe.corpora[corpus].shards)

    def synthesis_shards(self, samples: str) -> range:
        """Shards of `instructions`, `long_input` or `long_output`."""
        synthesis = self.recipe.synthesis
        assert synthesis is not None
        section = synthesis.long_output if samples == "long_output" else synthesis.long_input
        return range(section.shards)

    # ------------------------------------------------------------------------------------- training

    @cached_property
    def _staged(self) -> dict[str, Stage]:
        stages = {
            checkpoint: self.recipe.stage(checkpoint) for checkpoint in self.recipe.checkpoints()
        }
        return {checkpoint: stage for checkpoint, stage in stages.items() if stage is not None}

    @property
    def trained_checkpoints(self) -> list[str]:
        """'<model>/<stage>' of the stages that train."""
        return [checkpoint for checkpoint, stage in self._staged.items() if stage.tokens > 0]

    @property
    def adjusted_checkpoints(self) -> list[str]:
        """'<model>/<stage>' of the stages that only set another rope base."""
        return [checkpoint for checkpoint, stage in self._staged.items() if stage.tokens == 0]

    def initial(self, checkpoint: str) -> str:
        """Folder of the checkpoint that a stage starts from."""
        forerunner = self.recipe.forerunner(checkpoint)
        assert forerunner is not None
        return self.checkpoint(forerunner)

    def packed(self, checkpoint: str) -> str:
        """Folder of the packed sequences that a stage trains on."""
        stage = self._staged[checkpoint]
        if self.recipe.recall is not None and stage.mixture in self.recipe.recall.data:
            return f"{self.results}/recall/{stage.mixture}/{stage.length}/packed"
        return f"{self.results}/mixtures/{stage.mixture}/{stage.name}/packed"

    def weights_digest(self, model: str) -> str:
        """Of what a model's own weights depend on."""
        section = self.recipe.models[model]
        return self.digest("training", section.weights, section.seed)

    def training_digest(self, checkpoint: str) -> str:
        """Of what a stage reads of its model."""
        model = self.recipe.models[checkpoint.partition("/")[0]]
        return self.digest(
            "training", self._staged[checkpoint], model.mask_prompt, model.precision, model.seed
        )

    def threads(self, kind: str) -> int:
        """CPU threads that a kind of job uses on this machine."""
        site = self.site
        return {
            "training": site.training.ranks_per_node * site.training.threads_per_rank,
            "encoding": site.encoding.threads,
            "evaluation": getattr(site.evaluation, "threads", 1),
        }[kind]

    def generator_threads(self, generator: str) -> int:
        """CPU threads of a job that asks a generator."""
        return getattr(self.serving(generator), "threads", 1)

    def serving(self, generator: str) -> Section:
        """How the site serves a generator."""
        if generator not in self.site.generators:
            raise UserError(
                f"config.yaml: generators.{generator} is missing: "
                f"say how the generator {generator!r} of recipe {self.recipe.name!r} is served"
            )
        serving = self.site.generators[generator]
        if (
            getattr(serving, "budget_usd", None) is not None
            and self.recipe.generators[generator].price is None
        ):
            raise UserError(
                f"config.yaml: generators.{generator}.budget_usd has no price to count with: give "
                f"generators.{generator}.price in recipe {self.recipe.name!r}, or a budget_tokens instead"
            )
        return serving

    # ------------------------------------------------------------------------------------- corpus

    def sources(self, corpus: str) -> list[str]:
        """Folders that a corpus's sources are collected in."""
        count = len(self.recipe.corpora[corpus].sources)
        return [f"{self.results}/corpus/{corpus}/sources/{source}" for source in range(count)]

    # --------------------------------------------------------------------- retrieval and synthesis

    @property
    def _synthesis(self) -> Synthesis:
        assert self.recipe.synthesis is not None
        return self.recipe.synthesis

    def target_tokenizer(self) -> str:
        """Folder of the tokenizer that counts samples and documents."""
        return self.tokenizer(self._synthesis.target)

    def synthesis_files(self, folder: Literal["documents", "token_counts"]) -> list[str]:
        """Shards of the corpus that the synthesis reads."""
        corpus = self._synthesis.corpus
        return [
            f"{self.results}/corpus/{corpus}/{folder}/{shard}.parquet"
            for shard in self.corpus_shards(corpus)
        ]

    def synthesis_index(self) -> str:
        """The index that the synthesis searches."""
        return f"{self.results}/retrieval/{self._synthesis.encoder}/{self._synthesis.corpus}/index"

    def generator_tokenizer(self, generator: str) -> str:
        """Folder of the tokenizer that counts a generator's tokens."""
        section = self.recipe.generators[generator]
        if section.tokenizer is not None:
            return self.tokenizer(section.tokenizer)
        return next(iter(self.files_of(section.weights)), self.target_tokenizer())

    def encoder_weights(self) -> list[str]:
        """Download of the encoder that the synthesis searches with."""
        return self.files_of(self.recipe.encoders[self._synthesis.encoder].weights)

    def synthesis_digest(
        self, generator: str, samples: Literal["long_input", "long_output"]
    ) -> str:
        """Of what the synthesis of a kind of samples reads."""
        synthesis = self._synthesis
        return self.digest(
            "synthesis",
            self.recipe.generators[generator],
            getattr(synthesis, samples),
            synthesis.gates,
            self.recipe.chat_date,
        )

    def retrieval_digest(self) -> str:
        """Of what a search reads."""
        synthesis = self._synthesis
        encoder = self.recipe.encoders[synthesis.encoder]
        return self.digest("retrieval", encoder, synthesis.long_input.include_seed_document)

    # ------------------------------------------------------------------------------------- mixture

    def entries(self, mixture: str) -> dict[str, list[str]]:
        """Entry of a mixture -> the files with its rows."""
        entries = self.recipe.mixtures[mixture].entries
        return {name: self.entry_files(entry) for name, entry in entries.items()}

    def entry_arguments(self, mixture: str) -> list[str]:
        """The same as arguments of a command."""
        return [
            f"--entry {name} {' '.join(files)}" for name, files in self.entries(mixture).items()
        ]

    def mixture_tokenizer(self, mixture: str, stage: str) -> str:
        """Folder of the tokenizer that a stage's sequences are packed with.

        UserError where models with different tokenizers' roots train on it and no synthesis names the target.
        """
        if self.recipe.synthesis is not None:
            return self.target_tokenizer()
        models = (
            name
            for name, model in self.recipe.models.items()
            if any((s.mixture, s.name) == (mixture, stage) for s in model.stages)
        )
        return self.tokenizer(next(models))

    def mixture_digest(self, mixture: str, stage: str) -> str:
        """Of what a stage's packed sequences depend on."""
        return self.digest(
            "mixture",
            self.recipe.mixtures[mixture],
            stage,
            stages_of_mixture(self.recipe, mixture),
            self.recipe.chat_date,
        )

    # --------------------------------------------------------------------------------------- recall

    @property
    def recall_data(self) -> list[str]:
        """Names of the data of the recall study."""
        return list(self.recipe.recall.data) if self.recipe.recall else []

    @property
    def recall_suites(self) -> list[str]:
        """Suites that ask in the recall study's language."""
        return [n for n, suite in self.recipe.suites.items() if isinstance(suite, RecallSuite)]

    def recall_digest(self, *parts: Section) -> str:
        """Of sequences in the recall study's language."""
        assert self.recipe.recall is not None
        return self.digest("recall", self.recipe.recall.language, *parts)

    # ----------------------------------------------------------------------------------- evaluation

    @property
    def asked_suites(self) -> list[str]:
        """Suites whose questions are text."""
        return [name for name in self.recipe.suites if name not in self.recall_suites]

    @property
    def published_suites(self) -> list[str]:
        """Suites that carry predictions."""
        suites = self.recipe.suites.items()
        return [name for name, suite in suites if isinstance(suite, PublishedRulerSuite)]

    def texts_digest(self) -> str:
        """Of what the evaluation's own text depends on: not the lengths, depths and seeds of its suites."""
        read = {"kind", "tasks", "samples", "files"}
        return self.digest(
            "evaluation",
            *(suite.model_dump(mode="json", include=read) for suite in self.recipe.suites.values()),
        )

    def suite_files(self, suite: str) -> list[str]:
        """Downloads that a suite reads, or the files that it names."""
        section = self.recipe.suites[suite]
        if isinstance(section, PublishedRulerSuite):
            return self.files_of(section)
        named = section.files if isinstance(section, RulerSuite | NeedleGrid) else None
        files = named.model_dump(exclude={"assumed"}, exclude_none=True) if named else {}
        for setting, path in files.items():
            if not path.is_file():
                raise UserError(
                    f"recipe {self.recipe.name}: suites.{suite}.files.{setting}: {path} is no file; "
                    "name an existing one"
                )
        return [str(path) for path in files.values()]

    @property
    def named_files(self) -> list[str]:
        """Files that the suites name."""
        suites = set(self.recipe.suites) - set(self.published_suites)
        return sorted({file for suite in suites for file in self.suite_files(suite)})

    def predictions(self, suite: str) -> list[str]:
        """Every file of predictions of a suite."""
        section = self.recipe.suites[suite]
        lengths: list[int] | list[str] = ["all"]
        if isinstance(section, LENGTHS) and section.job_per_length:
            lengths = section.lengths
        folder = f"{self.results}/evaluation/{suite}"
        stored = [f"{folder}/stored.parquet"] if suite in self.published_suites else []
        return stored + [
            f"{folder}/{self.recipe.resolve(reference)}/{length}.parquet"
            for reference in section.models
            for length in lengths
        ]

    # -------------------------------------------------------------------------------------- report

    @property
    def composition(self) -> list[str]:
        """Accounting of every mixture and stage."""
        return [
            f"{self.results}/mixtures/{mixture}/{stage}/accounting.parquet"
            for mixture in self.recipe.mixtures
            for stage in stages_of_mixture(self.recipe, mixture)
        ]

    def report_inputs(self) -> dict[str, list[str]]:
        """What the tables and figures are made from, by what it is."""
        recipe, results = self.recipe, self.results
        inputs = {
            "scores": [f"{results}/evaluation/{suite}/scores.parquet" for suite in recipe.suites],
            "models": [f"{results}/models/{name}" for name in self.trained_checkpoints],
            "composition": self.composition,
            "contamination": [
                path.replace("accounting.parquet", "contamination.parquet")
                for path in self.composition
            ],
            "corpora": [f"{results}/corpus/{corpus}/drops.parquet" for corpus in recipe.corpora],
            "documents": [
                f"{results}/corpus/{corpus}/{folder}/{shard}.parquet"
                for corpus in recipe.corpora
                for folder in ("token_counts", "overlaps")
                for shard in self.corpus_shards(corpus)
            ],
        }
        if recipe.synthesis is not None:
            synthesis = recipe.synthesis
            inputs["retrieval"] = [
                f"{results}/retrieval/{synthesis.encoder}/{synthesis.corpus}/quality.json"
            ]
            inputs["synthesis"] = [
                f"{results}/synthesis/{generator}/drops/{samples}/{shard}.parquet"
                for generator in recipe.generators
                for samples in ("instructions", "long_input", "long_output")
                for shard in self.synthesis_shards(samples)
            ]
        return inputs

    def report_digest(self) -> str:
        """Of what the report reads of the recipe."""
        labels = {name: model.label for name, model in self.recipe.models.items()}
        return self.digest("report", self.recipe.report, labels)

    def resources(self, kind: JobKind) -> dict[str, Any]:
        """What a kind of job asks of the scheduler."""
        return scheduled(self.site, kind)


def alternatives(names: Iterable[str]) -> str:
    """A regular expression that matches just these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def dataset_files(section: HubConversations | HubTokens | PublishedRulerSuite) -> str:
    """Glob of the files of a dataset's repository that are downloaded."""
    return "*.parquet" if isinstance(section, PublishedRulerSuite) else section.files


def download_name(section: HubSource) -> str:
    """Folder name of a download; parts of one repository lie in folders of their own."""
    name = section.repository.replace("/", "--")
    return (
        name if isinstance(section, HubWeights) else f"{name}--{digest(dataset_files(section))[:8]}"
    )
