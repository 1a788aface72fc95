"""One job: a suite, a checkpoint, some or all lengths; out come predictions with their scores."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from transformers import AutoTokenizer

from selflong.evaluation import (
    helmet,
    needle_grid,
    output_length,
    published_ruler,
    short_tasks,
)
from selflong.evaluation.generate import Prompt, predict
from selflong.evaluation.ruler import RulerSample, Sources, generate_samples
from selflong.evaluation.score import suite_metric
from selflong.formats import PREDICTIONS, table, write_parquet
from selflong.job import UserError, sole_owner
from selflong.llm.protocol import Endpoint
from selflong.llm.serve import serve
from selflong.recipe import (
    FolderWeights,
    Helmet,
    HelmetSite,
    NeedleGrid,
    OutputLength,
    PublishedRulerSuite,
    RulerSuite,
    Serving,
    ShortTasks,
    Suite,
)
from selflong.tokens import Tokenizer, load_tokenizer

logger = logging.getLogger(__name__)


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


def evaluate(job: Job, output: Path, lengths: Sequence[int] | None = None) -> None:
    """Publish formats.PREDICTIONS of `lengths` of the suite, all by default, at `output`.

    A job that asks for no length that the model supports publishes a table without rows.
    """
    mine = job.work / ("all" if lengths is None else "-".join(map(str, lengths)))
    with sole_owner(mine):
        if isinstance(job.suite, ShortTasks | Helmet):
            write_parquet(_harness(job, mine), output, PREDICTIONS)
        elif asked := asked_lengths(job, lengths):
            _ask(job, asked, mine, output)
        else:
            write_parquet(table([], PREDICTIONS), output, PREDICTIONS)


def _harness(job: Job, mine: Path) -> pl.DataFrame:
    """What an external harness found."""
    of_model = (job.checkpoint, job.model, job.serving)
    if isinstance(job.suite, ShortTasks):
        return short_tasks.run(job.suite_name, job.suite, *of_model, mine)
    assert isinstance(job.suite, Helmet)
    return helmet.run(job.suite_name, job.suite, *of_model, job.helmet, mine)


def _ask(job: Job, asked: Sequence[int], mine: Path, output: Path) -> None:
    tokenizer = load_tokenizer(job.tokenizer, job.chat_date)
    with serve(
        job.serving,
        FolderWeights(kind="folder", path=job.model),
        name=job.checkpoint,
        log=mine / "server.log",
    ) as endpoint:
        predict(
            job.suite_name,
            job.checkpoint,
            suite_prompts(job, tokenizer, endpoint, asked),
            suite_metric(job.suite),
            tokenizer,
            endpoint,
            job.work / "requests",
            output,
            longest=1 if isinstance(job.suite, OutputLength) else max(asked),
        )


def asked_lengths(job: Job, lengths: Sequence[int] | None) -> list[int]:
    """Lengths of the suite that the job asks for and the model supports."""
    suite = job.suite
    assert not isinstance(suite, ShortTasks | Helmet)
    unknown = [length for length in lengths or () if length not in suite.lengths]
    if unknown:
        raise UserError(
            f"suites.{job.suite_name}.lengths: {unknown[0]} is not among {sorted(suite.lengths)}"
        )
    wanted = suite.lengths if lengths is None else lengths
    if isinstance(suite, OutputLength) or job.supports is None:
        return list(wanted)
    kept = [length for length in wanted if length <= job.supports]
    if left_out := sorted(set(wanted) - set(kept)):
        logger.info("%s is not asked at %s", job.checkpoint, left_out)
    return kept


def suite_prompts(
    job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """Prompts of a suite at some of its lengths."""
    suite, sources = job.suite, job.sources
    if isinstance(suite, RulerSuite):
        return ruler_prompts(suite, tokenizer, sources, lengths)
    if isinstance(suite, PublishedRulerSuite):
        if job.published is None:
            raise UserError(f"suites.{job.suite_name}: its download is missing")
        pretrained = AutoTokenizer.from_pretrained(str(job.tokenizer), local_files_only=True)
        return published_ruler.prompts(job.published, lengths, pretrained)
    if isinstance(suite, NeedleGrid):
        return needle_grid.prompts(suite, tokenizer, sources.essays, lengths)
    assert isinstance(suite, OutputLength)
    return output_length.prompts(suite, tokenizer, endpoint.context_tokens, lengths)


def ruler_prompts(
    suite: RulerSuite, tokenizer: Tokenizer, sources: Sources, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """RULER's samples as prompts, length by length, task by task."""
    for length in lengths:
        for task in suite.tasks:
            for sample in generate_samples(
                task,
                length,
                suite.samples[length],
                convention=suite.convention,
                tokenizer=tokenizer,
                seed=suite.seed,
                sources=sources,
                chat=suite.chat,
                answer_prefix=suite.answer_prefix,
            ):
                yield _ruler_prompt(sample)


def _ruler_prompt(sample: RulerSample) -> Prompt:
    return Prompt(
        task=sample.task,
        length=sample.length,
        index=sample.index,
        ids=sample.prompt_ids,
        text=sample.text,
        answers=tuple(sample.answers),
        answer_tokens=sample.generation_tokens,
        depth=min(sample.depths) if sample.depths else None,
    )
