"""The typed recipe: the science of one run in one complete YAML file, with nothing about machines.

Unknown settings of a paper carry an entry in their section's `assumed` with the reason.
"""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from selflong.recipe.corpus import Corpus
from selflong.recipe.mixture import Mixture
from selflong.recipe.models import INITIAL, Model, Stage
from selflong.recipe.report import Report
from selflong.recipe.retrieval import Encoder
from selflong.recipe.section import DATE, Name, Section, Seed
from selflong.recipe.suites import Suite
from selflong.recipe.synthesis import Generator, Synthesis
from selflong.recipe.weights import Weights
from selflong.recipe.wording import shown

DOWNLOADS = "downloads"
"""Folder beside those of the recipes' results, of what comes from the hub; no recipe has its name."""


def _date(text: str) -> str:
    try:
        datetime.strptime(text, DATE)
    except ValueError:
        raise ValueError(f"must read like '26 Jul 2024', not {shown(text)}") from None
    return text


class Recipe(Section):
    """The whole science of one run."""

    name: Name
    """Of the folder of its results."""
    description: str
    """What it is for, in a sentence or two; stands on the page."""
    seed: Seed
    deviations: list[str] = []
    """What this recipe does otherwise than the paper."""
    chat_date: Annotated[str, AfterValidator(_date)] = "26 Jul 2024"
    """Date that a chat template prints (Llama-3.1's default); without it the data would change each day."""
    corpora: dict[Name, Corpus] = {}
    """Documents for retrieval and synthesis."""
    encoders: dict[Name, Encoder] = {}
    """Embedding models."""
    generators: dict[Name, Generator] = {}
    """Models that synthesise."""
    synthesis: Synthesis | None = None
    mixtures: dict[Name, Mixture] = {}
    """Training data of the stages."""
    models: dict[Name, Model] = Field(min_length=1)
    """What is trained, and what is only evaluated."""
    suites: dict[Name, Suite] = {}
    """What the models are asked."""
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

    def asked(self, suite: str, checkpoint: str) -> Suite | None:
        """A suite as a checkpoint is asked it; None where it is not."""
        section = self.suites[suite]
        named = (name for name in section.models if self.resolve(name) == checkpoint)
        return next((section.asked_of(name) for name in named), None)

    def start_of(self, checkpoint: str) -> str | None:
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
            stage.continue_optimizer and self.start_of(f"{name}/{stage.name}") == checkpoint
            for name, model in self.models.items()
            for stage in model.stages
        )

    def root(self, checkpoint: str) -> str:
        """The loaded model that a chain of stages began with: its tokenizer is everyone's in the chain."""
        while (before := self.start_of(checkpoint)) is not None:
            checkpoint = before
        return checkpoint.partition("/")[0]

    def root_weights(self, model: str) -> Weights:
        """The weights that the chain of a model's stages begins with."""
        weights = self.models[self.root(self.last_checkpoint(model))].weights
        assert weights is not None
        return weights

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


def tokens_of_stage(recipe: Recipe, mixture: str, stage: str) -> int:
    """Tokens that a stage trains on, in whole global batches: the most of all models that share its data."""
    return max(
        -(-section.tokens // section.global_batch_tokens) * section.global_batch_tokens
        for model in recipe.models.values()
        for section in model.stages
        if (section.mixture, section.name) == (mixture, stage) and section.global_batch_tokens
    )


def stages_of_mixture(recipe: Recipe, mixture: str) -> dict[str, int]:
    """Name -> length of the stages that train on a mixture, shortest first."""
    stages = {
        stage.name: stage.length
        for model in recipe.models.values()
        for stage in model.stages
        if stage.mixture == mixture
    }
    return dict(sorted(stages.items(), key=lambda item: item[1]))
