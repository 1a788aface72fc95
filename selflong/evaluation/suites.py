"""What each kind of suite brings: prompts or a harness, a metric, and texts that no training data may hold.

A new kind is a section of the recipe (`selflong.recipe`), a module here, and a row of `KINDS`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from selflong.evaluation import (
    helmet,
    needle_grid,
    output_length,
    published_ruler,
    ruler_suite,
    short_tasks,
)
from selflong.evaluation.generate import Metric, Prompt
from selflong.evaluation.ruler import Sources
from selflong.evaluation.ruler.metrics import score as ruler_score
from selflong.job import UserError
from selflong.llm.protocol import Endpoint
from selflong.recipe import (
    RULER_TASKS,
    Helmet,
    HelmetSite,
    NeedleGrid,
    OutputLength,
    PublishedRulerSuite,
    RecallSuite,
    RulerSuite,
    Serving,
    ShortTasks,
    Suite,
)
from selflong.scores import share_in_place
from selflong.tokens import Tokenizer

PUBLISHED_QUESTIONS = 500
"""Of each question task, in the published sets."""


@dataclass(frozen=True)
class Job:
    """What is asked of which checkpoint."""

    suite_name: str
    suite: Suite
    checkpoint: str
    """<model>/<stage>, as the predictions name it."""
    model: Path
    """Hugging Face model folder."""
    tokenizer: Path
    """Folder of the tokenizer, which is that of the model at the head of the checkpoint's chain."""
    serving: Serving
    work: Path
    """Where answers are kept, so that an interrupted job goes on; jobs of other lengths may share it."""
    sources: Sources
    """Essays and questions."""
    chat_date: str
    supports: int | None = None
    """Longest length that the model is asked at; longer ones of the suite are left out."""
    published: Path | None = None
    """Download of a published suite."""
    helmet: HelmetSite | None = None


@dataclass(frozen=True)
class Kind:
    """Of suite. Each function takes the suite first, which is of the kind's own section."""

    prompts: Callable[..., Iterator[Prompt]] | None = None
    """(suite, job, tokenizer, endpoint, lengths): what a checkpoint is asked; None where it is not."""
    harness: Callable[..., pl.DataFrame] | None = None
    """(suite, job, folder): formats.PREDICTIONS of an external harness, which works in the folder."""
    metric: Callable[[str], Metric] | None = None
    """By task; None where it is the harness's, which needs more than the prediction."""
    texts: Callable[..., Iterator[tuple[str, str]]] | None = None
    """(suite, sources): name and text of what the suite asks about; None where it is not known here."""
    by_depth: bool = False
    """Whether scores count by depth too."""
    lengths_of_answers: bool = False
    """Whether the lengths are those of answers, not of prompts."""


def kind_of(suite: Suite) -> Kind:
    """The kind of a suite."""
    return KINDS[type(suite)]


def _ruler_prompts(
    suite: RulerSuite, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    return ruler_suite.prompts(suite, tokenizer, job.sources, lengths)


def _published_prompts(
    suite: PublishedRulerSuite,
    job: Job,
    tokenizer: Tokenizer,
    endpoint: Endpoint,
    lengths: Sequence[int],
) -> Iterator[Prompt]:
    if job.published is None:
        raise UserError(f"suites.{job.suite_name}: its download is missing")
    from transformers import AutoTokenizer

    pretrained = AutoTokenizer.from_pretrained(str(job.tokenizer), local_files_only=True)
    return published_ruler.prompts(job.published, lengths, pretrained)


def _needle_prompts(
    suite: NeedleGrid, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    return needle_grid.prompts(suite, tokenizer, job.sources.essays, lengths)


def _writing_prompts(
    suite: OutputLength, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    return output_length.prompts(suite, tokenizer, endpoint.context_tokens, lengths)


def _run_short_tasks(suite: ShortTasks, job: Job, folder: Path) -> pl.DataFrame:
    return short_tasks.run(job.suite_name, suite, job.checkpoint, job.model, job.serving, folder)


def _run_helmet(suite: Helmet, job: Job, folder: Path) -> pl.DataFrame:
    return helmet.run(
        job.suite_name, suite, job.checkpoint, job.model, job.serving, job.helmet, folder
    )


def _ruler_texts(suite: RulerSuite, sources: Sources) -> Iterator[tuple[str, str]]:
    return ruler_suite.texts(suite.tasks, max(suite.samples.values()), sources)


def _published_texts(suite: PublishedRulerSuite, sources: Sources) -> Iterator[tuple[str, str]]:
    return ruler_suite.texts(RULER_TASKS, PUBLISHED_QUESTIONS, sources)


def _ruler_metric(task: str) -> Metric:
    return partial(ruler_score, task)


KINDS = {
    RulerSuite: Kind(_ruler_prompts, metric=_ruler_metric, texts=_ruler_texts),
    PublishedRulerSuite: Kind(_published_prompts, metric=_ruler_metric, texts=_published_texts),
    NeedleGrid: Kind(
        _needle_prompts,
        metric=lambda _: needle_grid.score,
        texts=needle_grid.texts,
        by_depth=True,
    ),
    OutputLength: Kind(
        _writing_prompts,
        metric=lambda _: output_length.score,
        texts=output_length.texts,
        lengths_of_answers=True,
    ),
    RecallSuite: Kind(metric=lambda _: share_in_place),
    ShortTasks: Kind(harness=_run_short_tasks),
    Helmet: Kind(harness=_run_helmet),
}
