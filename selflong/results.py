"""The one place that names a result: where each file lies that a run makes, and which files a recipe makes.

Paths name what a file depends on, not the run. Any part of a name may be a wildcard of Snakemake in place of
a value: `documents("{corpus}", "{shard}")` is the pattern of a rule, `documents("fineweb_edu", 3)` a file.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from selflong.recipe.recipe import DOWNLOADS, Recipe, stages_of_mixture
from selflong.recipe.site import Site

Shard = int | str
SynthesisStep = Literal["instructions", "long_input", "long_output", "document_tasks"]
ALL_LENGTHS = "all"
"""In place of a length, where one job asks at all of them."""


@dataclass(frozen=True)
class Results:
    """Names of everything below the folder of a recipe's results."""

    root: Path

    @property
    def downloads(self) -> Path:
        """Folder of what the hub gave; all recipes of a site share it."""
        return self.root.parent / DOWNLOADS

    # ---------------------------------------------------------------------------------------- corpus

    def source(self, corpus: str, source: Shard) -> Path:
        """Folder that a source of a corpus is collected in; `source` is its position."""
        return self.root / f"corpus/{corpus}/sources/{source}"

    def notes(self, corpus: str, shard: Shard) -> Path:
        """Which documents of a shard pass the filters."""
        return self.root / f"corpus/{corpus}/notes/{shard}.parquet"

    def overlaps(self, corpus: str, shard: Shard) -> Path:
        """formats.CORPUS_OVERLAPS: text that documents share with the evaluation."""
        return self.root / f"corpus/{corpus}/overlaps/{shard}.parquet"

    def selection(self, corpus: str) -> Path:
        """Folder with a file a shard: the documents that the corpus keeps."""
        return self.root / f"corpus/{corpus}/selection"

    def corpus_drops(self, corpus: str) -> Path:
        """formats.DROPS of the whole corpus."""
        return self.root / f"corpus/{corpus}/drops.parquet"

    def documents(self, corpus: str, shard: Shard) -> Path:
        """formats.DOCUMENTS"""
        return self.root / f"corpus/{corpus}/documents/{shard}.parquet"

    def token_counts(self, corpus: str, shard: Shard) -> Path:
        """formats.TOKEN_COUNTS of the documents beside it."""
        return self.root / f"corpus/{corpus}/token_counts/{shard}.parquet"

    # ------------------------------------------------------------------------------------- retrieval

    def embeddings(self, encoder: str, corpus: str, shard: Shard) -> Path:
        """Folder of a shard's embeddings and their documents' ids."""
        return self.root / f"retrieval/{encoder}/{corpus}/embeddings/{shard}"

    def index(self, encoder: str, corpus: str) -> Path:
        """Folder of the index over all shards."""
        return self.root / f"retrieval/{encoder}/{corpus}/index"

    def retrieval_quality(self, encoder: str, corpus: str) -> Path:
        """What the index finds beside exact search."""
        return self.root / f"retrieval/{encoder}/{corpus}/quality.json"

    # ------------------------------------------------------------------------------------- synthesis

    def instructions(self, generator: str, shard: Shard) -> Path:
        """formats.INSTRUCTIONS"""
        return self.root / f"synthesis/{generator}/instructions/{shard}.parquet"

    def retrieved(self, generator: str, shard: Shard) -> Path:
        """formats.RETRIEVED: documents for each instruction."""
        return self.root / f"synthesis/{generator}/retrieved/{shard}.parquet"

    def summaries(self, generator: str, shard: Shard) -> Path:
        """formats.SUMMARIES"""
        return self.root / f"synthesis/{generator}/summaries/{shard}.parquet"

    def answers(self, generator: str, shard: Shard) -> Path:
        """formats.ANSWERS: what the answers of long inputs hold."""
        return self.root / f"synthesis/{generator}/answers/{shard}.parquet"

    def samples(self, generator: str, kind: str, shard: Shard) -> Path:
        """formats.SAMPLES of `long_input`, `long_output` or `document_tasks`."""
        return self.root / f"synthesis/{generator}/{kind}/{shard}.parquet"

    def synthesis_drops(self, generator: str, step: str, shard: Shard) -> Path:
        """formats.DROPS of a step of the synthesis."""
        return self.root / f"synthesis/{generator}/drops/{step}/{shard}.parquet"

    def usage(self, generator: str, step: str, shard: Shard) -> Path:
        """Requests and tokens of a step of the synthesis."""
        return self.root / f"synthesis/{generator}/usage/{step}/{shard}.json"

    # --------------------------------------------------------------------------------------- mixture

    def packed(self, mixture: str, stage: str) -> Path:
        """Folder of the packed sequences that a stage trains on."""
        return self.root / f"mixtures/{mixture}/{stage}/packed"

    def accounting(self, mixture: str, stage: str) -> Path:
        """formats.ACCOUNTING"""
        return self.root / f"mixtures/{mixture}/{stage}/accounting.parquet"

    def contamination(self, mixture: str, stage: str) -> Path:
        """formats.CONTAMINATION"""
        return self.root / f"mixtures/{mixture}/{stage}/contamination.parquet"

    # -------------------------------------------------------------------------------------- training

    def checkpoint(self, checkpoint: str) -> Path:
        """Folder of '<model>/<stage>'."""
        return self.root / f"models/{checkpoint}"

    def metrics(self, checkpoint: str) -> Path:
        """What training wrote at each step, inside the folder of the checkpoint."""
        return self.checkpoint(checkpoint) / "metrics.jsonl"

    # ------------------------------------------------------------------------------------ evaluation

    @property
    def evaluation_texts(self) -> Path:
        """formats.EVALUATION_TEXTS"""
        return self.root / "evaluation/texts.parquet"

    def predictions(self, suite: str, checkpoint: str, lengths: Shard) -> Path:
        """formats.PREDICTIONS at one of the suite's lengths, or ALL_LENGTHS."""
        return self.root / f"evaluation/{suite}/{checkpoint}/{lengths}.parquet"

    def stored_predictions(self, suite: str) -> Path:
        """formats.PREDICTIONS that a published suite carries."""
        return self.root / f"evaluation/{suite}/stored.parquet"

    def scores(self, suite: str) -> Path:
        """formats.SCORES"""
        return self.root / f"evaluation/{suite}/scores.parquet"

    # ---------------------------------------------------------------------------------------- report

    @property
    def tables(self) -> Path:
        """Folder of the tables."""
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.root / "figures"

    @property
    def workflow_figure(self) -> Path:
        """Folder of the figure of the rules."""
        return self.root / "report/workflow"

    @property
    def page(self) -> Path:
        """The page with all tables and figures."""
        return self.root / "report/report.html"

    @property
    def summary(self) -> Path:
        """The page's first words alone."""
        return self.root / "report/summary.md"

    @property
    def times(self) -> Path:
        """What the jobs took, by rule."""
        return self.root / "report/time.json"

    @property
    def machine(self) -> Path:
        """What a run measured of its machine."""
        return self.root / "machine.json"

    @property
    def manifest(self) -> Path:
        """What the run was made from and what it made."""
        return self.root / "manifest.json"

    @property
    def crate(self) -> Path:
        """The same as RO-Crate."""
        return self.root / "ro-crate-metadata.json"

    @property
    def crate_workflow(self) -> Path:
        """Folder of the crate's copy of Snakefile, rules and recipe."""
        return self.root / "workflow"

    # ------------------------------------------------------------------------------------------ plan

    @property
    def plan(self) -> Path:
        """Folder of what the recipe costs."""
        return self.root / "plan"

    def check(self, kind: str) -> Path:
        """What a node lacks for a kind of job."""
        return self.root / f"check/{kind}.txt"

    @property
    def logs(self) -> Path:
        """Folder of the jobs' logs."""
        return self.root / "logs"

    @property
    def benchmarks(self) -> Path:
        """Folder of the jobs' times and memory."""
        return self.root / "benchmarks"


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
