"""Digests of the parts of a recipe that each rule reads, and of the version of its stage's code."""

import importlib
from dataclasses import dataclass
from typing import Any

from selflong.formats import digest
from selflong.recipe.recipe import Recipe, stages_of_mixture, tokens_of_stage
from selflong.recipe.section import Section
from selflong.recipe.site import Site
from selflong.results import ALL_LENGTHS
from selflong.run.inputs import training_setting
from selflong.suites.section import SuiteSection


@dataclass(frozen=True)
class Digests:
    """Of one recipe on one site. A reworded description or assumption changes none of them."""

    recipe: Recipe
    site: Site

    def of(self, stage: str, *parts: Any) -> str:
        """Of the parts of the recipe that a rule reads, and of the version of the stage's code."""
        version = importlib.import_module(f"selflong.{stage}").VERSION
        values = [part.digest if isinstance(part, Section) else part for part in parts]
        return digest([stage, version, self.recipe.seed, *values])

    def plan(self) -> str:
        """Of what the plan reads: recipe, site and the prompts of all generators."""
        kinds = self.recipe.synthesis.kinds if self.recipe.synthesis else {}
        prompts = [
            kind.prompts_sha256(generator)
            for kind in kinds.values()
            for generator in self.recipe.generators.values()
        ]
        return self.of("estimate", self.recipe, self.site, prompts)

    def source(self, corpus: str, source: str) -> str:
        """Of a source of a corpus, by its position."""
        return self.of("corpus", self.recipe.corpora[corpus].sources[int(source)])

    def corpus(self, corpus: str) -> str:
        """Of how a corpus is filtered and sampled."""
        return self.of("corpus", self.recipe.corpora[corpus])

    def encoder(self, encoder: str) -> str:
        """Of an encoder and its index."""
        return self.of("retrieval", self.recipe.encoders[encoder])

    def retrieval(self) -> str:
        """Of what a search reads."""
        synthesis = self.recipe.synthesis
        assert synthesis is not None
        encoder = self.recipe.encoders[synthesis.needed_encoder]
        section = synthesis.needed_long_input
        return self.of("retrieval", encoder, section.include_seed_document, section.hard_negatives)

    def synthesis(self, generator: str, samples: str) -> str:
        """Of what the synthesis of a kind of samples reads."""
        synthesis, section = self.recipe.synthesis, self.recipe.generators[generator]
        assert synthesis is not None
        kind = synthesis.kinds[samples]
        prompts = kind.prompts_sha256(section)
        return self.of("synthesis", section, kind, synthesis.gates, prompts, self.recipe.chat_date)

    def mixture(self, mixture: str, stage: str) -> str:
        """Of what a stage's packed sequences depend on."""
        section = self.recipe.mixtures[mixture]
        by_share = any(entry.share is not None for entry in section.entries.values())
        return self.of(
            "mixture",
            section,
            stage,
            stages_of_mixture(self.recipe, mixture),
            tokens_of_stage(self.recipe, mixture, stage) if by_share else None,
            self.recipe.chat_date,
        )

    def weights(self, model: str) -> str:
        """Of what a model's own weights depend on."""
        section = self.recipe.models[model]
        return self.of("training", section.weights, section.seed)

    def adjustment(self, checkpoint: str) -> str:
        """Of a stage that only sets another rope base."""
        return self.of("training", self.recipe.stage(checkpoint))

    def training(self, checkpoint: str) -> str:
        """Of what a stage reads of its model."""
        model = self.recipe.models[checkpoint.partition("/")[0]]
        return self.of(
            "training",
            self.recipe.stage(checkpoint),
            model.mask_prompt,
            training_setting(self.recipe, self.site, checkpoint),
            model.seed,
        )

    def evaluation_texts(self) -> str:
        """Of what the evaluation's own text depends on: not the lengths, depths and seeds of its suites."""
        return self.of(
            "decontamination",
            *(
                suite.model_dump(mode="json", include=set(suite.decides_texts))
                for suite in self.recipe.suites.values()
            ),
        )

    def suite(self, suite: str) -> str:
        """Of what the scores of a suite depend on."""
        return self._suite(self.recipe.suites[suite])

    def asked(self, suite: str, checkpoint: str, lengths: str) -> str:
        """Of what a job's predictions depend on beside the checkpoint: no other model, no other length."""
        section = self.recipe.asked(suite, checkpoint)
        assert section is not None
        if lengths != ALL_LENGTHS:
            section = section.at([int(lengths)])
        chat = self.recipe.models[checkpoint.partition("/")[0]].chat
        spoken = [] if chat is None else [chat]
        return self._suite(section.model_copy(update={"models": []}), *spoken)

    def _suite(self, section: SuiteSection, *chat: Section) -> str:
        precision = section.own_precision or getattr(self.site.evaluation, "precision", None)
        return self.of("evaluation", section, precision, *chat)

    def report(self) -> str:
        """Of what the report reads of the recipe."""
        labels = {name: model.label for name, model in self.recipe.models.items()}
        order = [list(labels), list(self.recipe.mixtures), list(self.recipe.suites)]
        return self.of("report", self.recipe.report, labels, order)
