"""What the rules read: folders and files by the parts of the recipe that name them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.recipe.mixture import MixtureEntry
from selflong.recipe.models import INITIAL, Stage
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Download, External
from selflong.recipe.site import Site, TransformersServing
from selflong.recipe.synthesis import Synthesis
from selflong.results import (
    Results,
    corpus_shards,
    download_folder,
    prediction_files,
    report_files,
    results_of,
    synthesis_shards,
    trained_checkpoints,
)


def training_setting(recipe: Recipe, site: Site, checkpoint: str) -> str:
    """The precision that a stage trains in as recipe and site say it; auto means bfloat16 on GPUs."""
    setting = recipe.models[checkpoint.partition("/")[0]].precision or site.training.precision
    return "bfloat16" if setting == "auto" and site.training.device == "cuda" else setting


@dataclass(frozen=True)
class Inputs:
    """Of the rules of one recipe on one site."""

    recipe: Recipe
    site: Site

    @cached_property
    def results(self) -> Results:
        """Where everything that the recipe makes lies."""
        return results_of(self.recipe, self.site)

    # ------------------------------------------------------------------------------------- the hub

    def _sections(self) -> Iterator[External]:
        yield from self.recipe.suites.values()
        for mixture in self.recipe.mixtures.values():
            yield from (entry.source for entry in mixture.entries.values())
        holders = (self.recipe.models, self.recipe.generators, self.recipe.encoders)
        for holder in holders:
            yield from (
                item.weights for item in holder.values() if isinstance(item.weights, External)
            )

    @cached_property
    def downloads(self) -> dict[str, Download]:
        """Folder name -> what is downloaded into it."""
        found = (section.download for section in self._sections())
        return {download.name: download for download in found if download is not None}

    def files_of(self, section: External | str | None) -> list[Path]:
        """What a rule must wait for before it reads a source, weights or a suite."""
        if not isinstance(section, External):
            return []
        if section.download is not None:
            return [download_folder(self.site, section.download.name)]
        if section.folder is None:
            return []
        if not section.folder.exists():
            raise UserError(
                f"recipe {self.recipe.name}: path {section.folder} does not exist; "
                "name an existing folder"
            )
        return [section.folder]

    def weights_files(self, weights: External | str | None) -> list[Path]:
        """The files in a folder of weights that the user names.

        A rule waits for them besides: the time of a folder does not change with that of a file in it.
        """
        folders = [] if not isinstance(weights, External) else filter(None, [weights.folder])
        return [file for folder in folders for file in matching_files(folder, "*")]

    # --------------------------------------------------------------------------------------- corpus

    def source_files(self, corpus: str, source: str) -> list[Path]:
        """Files of the user's that a source of a corpus reads."""
        return self.recipe.corpora[corpus].sources[int(source)].inputs

    def sources(self, corpus: str) -> list[Path]:
        """Folders that a corpus's sources are collected in."""
        count = len(self.recipe.corpora[corpus].sources)
        return [self.results.source(corpus, source) for source in range(count)]

    def notes(self, corpus: str) -> list[Path]:
        """Notes on every shard of a corpus."""
        shards = corpus_shards(self.recipe, corpus)
        return [self.results.notes(corpus, shard) for shard in shards]

    def embeddings(self, encoder: str, corpus: str) -> list[Path]:
        """Embeddings of every shard of a corpus."""
        shards = corpus_shards(self.recipe, corpus)
        return [self.results.embeddings(encoder, corpus, shard) for shard in shards]

    # --------------------------------------------------------------------- retrieval and synthesis

    @property
    def _synthesis(self) -> Synthesis:
        assert self.recipe.synthesis is not None
        return self.recipe.synthesis

    def target_tokenizer(self) -> Path:
        """Folder of the tokenizer that counts samples and documents."""
        return self.tokenizer(self._synthesis.target)

    def synthesis_documents(self) -> list[Path]:
        """Shards of the corpus that the synthesis reads."""
        corpus = self._synthesis.corpus
        shards = corpus_shards(self.recipe, corpus)
        return [self.results.documents(corpus, shard) for shard in shards]

    def synthesis_token_counts(self) -> list[Path]:
        """Their token counts."""
        corpus = self._synthesis.corpus
        shards = corpus_shards(self.recipe, corpus)
        return [self.results.token_counts(corpus, shard) for shard in shards]

    def synthesis_index(self) -> Path:
        """The index that the synthesis searches."""
        return self.results.index(self._synthesis.needed_encoder, self._synthesis.corpus)

    def earlier_instructions(self, generator: str, shard: str) -> list[Path]:
        """Instructions of the shards before one."""
        return [self.results.instructions(generator, earlier) for earlier in range(int(shard))]

    def generator_tokenizer(self, generator: str) -> Path:
        """Folder of the tokenizer that counts a generator's tokens."""
        section = self.recipe.generators[generator]
        if section.tokenizer is not None:
            return self.tokenizer(section.tokenizer)
        return next(iter(self.files_of(section.weights)), self.target_tokenizer())

    def generator_weights(self, generator: str) -> list[Path]:
        """Download of a generator, or its folder."""
        return self.files_of(self.recipe.generators[generator].weights)

    def encoder_weights(self, encoder: str) -> list[Path]:
        """Download of an encoder, or its folder."""
        return self.files_of(self.recipe.encoders[encoder].weights)

    def synthesis_encoder_weights(self) -> list[Path]:
        """Of the encoder that the synthesis searches with."""
        return self.encoder_weights(self._synthesis.needed_encoder)

    # ------------------------------------------------------------------------------------- mixture

    def entry_files(self, entry: MixtureEntry) -> list[Path]:
        """Files with the rows of a mixture's entry."""
        made, corpus = entry.source.synthesised, entry.source.of_corpus
        if corpus is not None:
            shards = corpus_shards(self.recipe, corpus)
            return [self.results.documents(corpus, shard) for shard in shards]
        if made is None:
            return self.files_of(entry.source)
        return [
            self.results.samples(made.generator, made.samples, shard)
            for shard in synthesis_shards(self.recipe, made.samples)
        ]

    def mixture_files(self, mixture: str) -> list[Path]:
        """The files of all entries of a mixture, those in the user's own folders too."""
        found = []
        for entry in self.recipe.mixtures[mixture].entries.values():
            files = self.entry_files(entry)
            found += files if entry.source.folder is None else entry.source.input_files(files)
        return found

    def entries(self, mixture: str) -> dict[str, list[Path]]:
        """Entry of a mixture -> the files with its rows."""
        entries = self.recipe.mixtures[mixture].entries
        return {name: self.entry_files(entry) for name, entry in entries.items()}

    def mixture_texts(self, mixture: str) -> list[Path]:
        """The evaluation's own texts, where a mixture is compared with them."""
        compared = self.recipe.mixtures[mixture].contamination.suites
        return [self.results.evaluation_texts] if compared else []

    def mixture_tokenizer(self, mixture: str, stage: str) -> list[Path]:
        """Folder of the tokenizer that a stage's sequences are packed with, where they are text.

        Other models that train on it need the same vocabulary: training compares it with theirs.
        """
        if self.recipe.mixtures[mixture].vocabulary is not None:
            return []
        models = (
            name
            for name, model in self.recipe.models.items()
            if any((s.mixture, s.name) == (mixture, stage) for s in model.stages)
        )
        return [self.tokenizer(next(models))]

    # ------------------------------------------------------------------------------------- training

    def tokenizer(self, model: str) -> Path:
        """Folder that holds a model's tokenizer: that of the loaded model at the head of its chain."""
        return self.checkpoint(f"{self.recipe.root(self.recipe.resolve(model))}/{INITIAL}")

    def checkpoint(self, reference: str) -> Path:
        """Folder of '<model>' (its last stage) or '<model>/<stage>'."""
        return self.results.checkpoint(self.recipe.resolve(reference))

    def model_weights(self, model: str) -> list[Path]:
        """Download of a model's own weights, or their folder."""
        return self.files_of(self.recipe.models[model].weights)

    @cached_property
    def _staged(self) -> dict[str, Stage]:
        stages = {
            checkpoint: self.recipe.stage(checkpoint) for checkpoint in self.recipe.checkpoints()
        }
        return {checkpoint: stage for checkpoint, stage in stages.items() if stage is not None}

    @property
    def trained_checkpoints(self) -> list[str]:
        """'<model>/<stage>' of the stages that train."""
        return trained_checkpoints(self.recipe)

    @property
    def adjusted_checkpoints(self) -> list[str]:
        """'<model>/<stage>' of the stages that only set another rope base."""
        return [checkpoint for checkpoint, stage in self._staged.items() if stage.tokens == 0]

    def initial(self, checkpoint: str) -> Path:
        """Folder of the checkpoint that a stage starts from."""
        start = self.recipe.start_of(checkpoint)
        assert start is not None
        return self.checkpoint(start)

    def packed(self, checkpoint: str) -> Path:
        """Folder of the packed sequences that a stage trains on."""
        stage = self._staged[checkpoint]
        assert stage.mixture is not None
        return self.results.packed(stage.mixture, stage.name)

    # ----------------------------------------------------------------------------------- precision

    @property
    def measured_model(self) -> Path:
        """Folder of the model whose matrices are measured: the recipe's first that is loaded."""
        return self.tokenizer(next(iter(self.recipe.models)))

    def _measurement(self, setting: str) -> list[Path]:
        # Of bfloat16 its cost is said where it is slow.
        return [] if setting == "float32" else [self.results.machine]

    def suite_machine(self, suite: str) -> list[Path]:
        """The measurement, where a CPU evaluates in what it may have to say about."""
        serving = self.site.evaluation
        own = self.recipe.suites[suite].own_precision is not None
        if own or not isinstance(serving, TransformersServing):
            return []
        return self._measurement(serving.precision)

    def stage_machine(self, checkpoint: str) -> list[Path]:
        """The same of a stage's training."""
        if self.site.training.device != "cpu":
            return []
        return self._measurement(training_setting(self.recipe, self.site, checkpoint))

    def machine(self) -> list[Path]:
        """The measurement, where anything of the run needs it."""
        stages = [path for name in self.trained_checkpoints for path in self.stage_machine(name)]
        suites = [path for name in self.recipe.suites for path in self.suite_machine(name)]
        return sorted({*stages, *suites})

    # ----------------------------------------------------------------------------------- evaluation

    @property
    def published_suites(self) -> list[str]:
        """Suites that carry predictions."""
        return [name for name, suite in self.recipe.suites.items() if suite.carries_predictions]

    def suite_files(self, suite: str) -> list[Path]:
        """Downloads that a suite reads, or the files that it names."""
        section = self.recipe.suites[suite]
        found = self.files_of(section)
        for setting, path in section.named_files.items():
            files = matching_files(path, "*") or [path]
            if not files[0].is_file():
                raise UserError(
                    f"recipe {self.recipe.name}: suites.{suite}.files.{setting}: {path} is no file; "
                    "name an existing one"
                )
            found += files
        return found

    @property
    def texts_downloads(self) -> dict[str, Path]:
        """Suite -> its download, of those that hold the texts which it asks about."""
        return {
            name: download_folder(self.site, suite.download.name)
            for name, suite in self.recipe.suites.items()
            if suite.texts_in_download and suite.download is not None
        }

    @property
    def texts_files(self) -> list[Path]:
        """What the evaluation's own texts are read from: files that the suites name, and downloads."""
        named = {name for name, suite in self.recipe.suites.items() if suite.named_files}
        files = {file for suite in named for file in self.suite_files(suite)}
        return sorted(files | set(self.texts_downloads.values()))

    def predictions(self, suite: str) -> list[Path]:
        """Every file of predictions of a suite."""
        return prediction_files(self.recipe, self.results, suite)

    # -------------------------------------------------------------------------------------- report

    def report(self) -> list[Path]:
        """What the tables and figures are made from."""
        return report_files(self.recipe, self.results)
