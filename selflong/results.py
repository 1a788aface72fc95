"""The one place that names a result: where each file lies that a run makes, and which files a recipe makes.

Paths name what a file depends on, not the run. Any part of a name may be a wildcard of Snakemake in place of
a value: `documents("{corpus}", "{shard}")` is the pattern of a rule, `documents("fineweb_edu", 3)` a file.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Generic, Literal, ParamSpec, get_args

from selflong.recipe.recipe import DOWNLOADS, Recipe, stages_of_mixture
from selflong.recipe.site import Site

Shard = int | str
SynthesisStep = Literal["instructions", "long_input", "long_output", "document_tasks", "multi_hop"]
ALL_LENGTHS = "all"
"""In place of a length, where one job asks at all of them."""


P = ParamSpec("P")


class At:
    """A path below the root of the results."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, results: "Results", _: type) -> Path:
        return results.root / self.path


class Named(Generic[P]):
    """A path that holds names, which are given in its order: P are their types."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.names = re.findall(r"\{(\w+)\}", path)

    def __get__(self, results: "Results", _: type) -> Callable[P, Path]:
        def named(*names: P.args, **_: P.kwargs) -> Path:
            return results.root / self.path.format(**dict(zip(self.names, names, strict=True)))

        return named


@dataclass(frozen=True)
class Results:
    """Names of everything below the folder of a recipe's results."""

    root: Path

    @property
    def downloads(self) -> Path:
        """Folder of what the hub gave; all recipes of a site share it."""
        return self.root.parent / DOWNLOADS

    # ---------------------------------------------------------------------------------------- corpus

    source = Named[str, Shard]("corpus/{corpus}/sources/{source}")
    """Folder that a source of a corpus is collected in; `source` is its position."""
    notes = Named[str, Shard]("corpus/{corpus}/notes/{shard}.parquet")
    """Which documents of a shard pass the filters."""
    overlaps = Named[str, Shard]("corpus/{corpus}/overlaps/{shard}.parquet")
    """formats.CORPUS_OVERLAPS: text that documents share with the evaluation."""
    selection = Named[str]("corpus/{corpus}/selection")
    """Folder with a file a shard: the documents that the corpus keeps."""
    corpus_drops = Named[str]("corpus/{corpus}/drops.parquet")
    """formats.DROPS of the whole corpus."""
    documents = Named[str, Shard]("corpus/{corpus}/documents/{shard}.parquet")
    """formats.DOCUMENTS"""
    token_counts = Named[str, Shard]("corpus/{corpus}/token_counts/{shard}.parquet")
    """formats.TOKEN_COUNTS of the documents beside it."""

    # ------------------------------------------------------------------------------------- retrieval

    embeddings = Named[str, str, Shard]("retrieval/{encoder}/{corpus}/embeddings/{shard}")
    """Folder of a shard's embeddings and their documents' ids."""
    index = Named[str, str]("retrieval/{encoder}/{corpus}/index")
    """Folder of the index over all shards."""
    retrieval_quality = Named[str, str]("retrieval/{encoder}/{corpus}/quality.json")
    """What the index finds beside exact search."""

    # ------------------------------------------------------------------------------------- synthesis

    instructions = Named[str, Shard]("synthesis/{generator}/instructions/{shard}.parquet")
    """formats.INSTRUCTIONS"""
    retrieved = Named[str, Shard]("synthesis/{generator}/retrieved/{shard}.parquet")
    """formats.RETRIEVED: documents for each instruction."""
    summaries = Named[str, Shard]("synthesis/{generator}/summaries/{shard}.parquet")
    """formats.SUMMARIES"""
    answers = Named[str, Shard]("synthesis/{generator}/answers/{shard}.parquet")
    """formats.ANSWERS: what the answers of long inputs hold."""
    samples = Named[str, str, Shard]("synthesis/{generator}/{kind}/{shard}.parquet")
    """formats.SAMPLES of a kind of samples (`Synthesis.kinds`)."""
    hops = Named[str, Shard]("synthesis/{generator}/hops/{shard}.parquet")
    """formats.HOPS: what the questions of `multi_hop` were composed of."""
    synthesis_drops = Named[str, str, Shard]("synthesis/{generator}/drops/{step}/{shard}.parquet")
    """formats.DROPS of a step of the synthesis."""
    usage = Named[str, str, Shard]("synthesis/{generator}/usage/{step}/{shard}.json")
    """Requests and tokens of a step of the synthesis."""

    # --------------------------------------------------------------------------------------- mixture

    packed = Named[str, str]("mixtures/{mixture}/{stage}/packed")
    """Folder of the packed sequences that a stage trains on."""
    accounting = Named[str, str]("mixtures/{mixture}/{stage}/accounting.parquet")
    """formats.ACCOUNTING"""
    contamination = Named[str, str]("mixtures/{mixture}/{stage}/contamination.parquet")
    """formats.CONTAMINATION"""

    # -------------------------------------------------------------------------------------- training

    checkpoint = Named[str]("models/{checkpoint}")
    """Folder of '<model>/<stage>'."""
    metrics = Named[str]("models/{checkpoint}/metrics.jsonl")
    """What training wrote at each step, inside the folder of the checkpoint."""

    # ------------------------------------------------------------------------------------ evaluation

    evaluation_texts = At("evaluation/texts.parquet")
    """formats.EVALUATION_TEXTS"""
    predictions = Named[str, str, Shard]("evaluation/{suite}/{checkpoint}/{lengths}.parquet")
    """formats.PREDICTIONS at one of the suite's lengths, or ALL_LENGTHS."""
    stored_predictions = Named[str]("evaluation/{suite}/stored.parquet")
    """formats.PREDICTIONS that a published suite carries."""
    scores = Named[str]("evaluation/{suite}/scores.parquet")
    """formats.SCORES"""

    # ---------------------------------------------------------------------------------------- report

    tables = At("tables")
    """Folder of the tables."""
    figures = At("figures")
    """Folder of the figures."""
    workflow_figure = At("report/workflow")
    """Folder of the figure of the rules."""
    page = At("report/report.html")
    """The page with all tables and figures."""
    summary = At("report/summary.md")
    """The page's first words alone."""
    times = At("report/time.json")
    """What the jobs took, by rule."""
    machine = At("machine.json")
    """What a run measured of its machine."""
    manifest = At("manifest.json")
    """What the run was made from and what it made."""
    crate = At("ro-crate-metadata.json")
    """The same as RO-Crate."""
    crate_workflow = At("workflow")
    """Folder of the crate's copy of Snakefile, rules and recipe."""

    # ------------------------------------------------------------------------------------------ plan

    plan = At("plan")
    """Folder of what the recipe costs."""
    check = Named[str]("check/{kind}.txt")
    """What a node lacks for a kind of job."""
    logs = At("logs")
    """Folder of the jobs' logs."""
    benchmarks = At("benchmarks")
    """Folder of the jobs' times and memory."""


def results_of(recipe: Recipe, site: Site) -> Results:
    """Where the results of a recipe lie on a site."""
    return Results(site.results / recipe.name)


def download_folder(site: Site, name: str) -> Path:
    """Folder of one download."""
    return Results(site.results / site.recipe).downloads / name


# ---------------------------------------------------------------------------- which files a recipe makes


def prediction_files(recipe: Recipe, results: Results, suite: str) -> list[Path]:
    """Every file of predictions of a suite, those that it carries first."""
    section = recipe.suites[suite]
    stored = [results.stored_predictions(suite)] if section.carries_predictions else []
    return stored + [
        results.predictions(suite, recipe.resolve(reference), length)
        for reference in section.models
        for length in section.asked_of(reference).jobs
    ]


def mixture_stages(recipe: Recipe) -> list[tuple[str, str]]:
    """(mixture, stage) of all that training packs, in the recipe's order."""
    return [
        (mixture, stage)
        for mixture in recipe.mixtures
        for stage in stages_of_mixture(recipe, mixture)
    ]


def synthesis_steps(recipe: Recipe) -> list[SynthesisStep]:
    """What a recipe's synthesis counts separately: what it dropped and what it asked of a generator."""
    kinds = recipe.synthesis.kinds if recipe.synthesis is not None else {}
    steps: tuple[SynthesisStep, ...] = get_args(SynthesisStep)
    return [step for step in steps if _kind_of(step) in kinds]


def synthesis_shards(recipe: Recipe, step: str) -> range:
    """Shards of a step of the synthesis."""
    assert recipe.synthesis is not None
    return range(recipe.synthesis.kinds[_kind_of(step)].shards)


def _kind_of(step: str) -> str:
    return "long_input" if step == "instructions" else step


def corpus_shards(recipe: Recipe, corpus: str) -> range:
    """Shards that a corpus is written in."""
    return range(recipe.corpora[corpus].shards)


def trained_checkpoints(recipe: Recipe) -> list[str]:
    """'<model>/<stage>' of every stage that trains."""
    return [
        f"{name}/{stage.name}"
        for name, model in recipe.models.items()
        for stage in model.stages
        if stage.tokens > 0
    ]


def report_files(recipe: Recipe, results: Results) -> list[Path]:
    """What tables and figures are made from; a folder stands for what lies in it."""
    files = [results.scores(suite) for suite in recipe.suites]
    for suite in recipe.suites:
        files += prediction_files(recipe, results, suite)
    files += [results.checkpoint(checkpoint) for checkpoint in trained_checkpoints(recipe)]
    for mixture, stage in mixture_stages(recipe):
        files += [results.accounting(mixture, stage), results.contamination(mixture, stage)]
    for corpus in recipe.corpora:
        files.append(results.corpus_drops(corpus))
        for shard in corpus_shards(recipe, corpus):
            files += [results.token_counts(corpus, shard), results.overlaps(corpus, shard)]
    if recipe.synthesis is not None:
        synthesis = recipe.synthesis
        if synthesis.encoder is not None:
            files.append(results.retrieval_quality(synthesis.encoder, synthesis.corpus))
            shards = synthesis_shards(recipe, "long_input")
            for generator, shard in product(recipe.generators, shards):
                files += [results.instructions(generator, shard), results.answers(generator, shard)]
        for generator, step in product(recipe.generators, synthesis_steps(recipe)):
            for shard in synthesis_shards(recipe, step):
                files.append(results.synthesis_drops(generator, step, shard))
                files.append(results.usage(generator, step, shard))
    return files
