"""One job: a suite, a checkpoint, some or all lengths; out come predictions with their scores."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl

from selflong.evaluation.generate import predict
from selflong.formats import PREDICTIONS, table, write_parquet
from selflong.job import UserError, sole_owner
from selflong.llm.limits import budget_of
from selflong.llm.protocol import Endpoint
from selflong.llm.serve import serve
from selflong.precision import serving_precision
from selflong.recipe.weights import FolderWeights
from selflong.suites.evaluation_job import Job
from selflong.suites.kinds import Prompts, kind_of
from selflong.suites.prompt import Respondent
from selflong.tokens import load_tokenizer

logger = logging.getLogger(__name__)


def evaluate(job: Job, output: Path, lengths: Sequence[int] | None = None) -> None:
    """Publish formats.PREDICTIONS of `lengths` of the suite, all by default, at `output`.

    A job that asks for no length that the model supports publishes a table without rows.
    """
    kind = kind_of(job.suite)
    prompts = kind.prompts
    mine = job.work / ("all" if lengths is None else "-".join(map(str, lengths)))
    with sole_owner(mine):
        if prompts is None:
            frame = kind.harness(job.suite, job, mine)
            precision = job.suite.own_precision or serving_precision(job.serving)
            frame = frame.with_columns(precision=pl.lit(precision, pl.String))
            write_parquet(frame, output, PREDICTIONS)
        elif asked := asked_lengths(job, lengths):
            _ask(job, prompts, asked, mine, output)
        else:
            write_parquet(table([], PREDICTIONS), output, PREDICTIONS)


def _ask(job: Job, prompts: Prompts, asked: Sequence[int], mine: Path, output: Path) -> None:
    said = job.chat
    tokenizer = load_tokenizer(
        job.tokenizer, job.chat_date, said.system_prompt, said.template_arguments
    )
    with _served(job, mine / "server.log") as endpoint:
        predict(
            job.suite_name,
            job.checkpoint,
            serving_precision(job.serving),
            prompts(job.suite, Respondent(job, tokenizer, endpoint, asked)),
            kind_of(job.suite).metric,
            tokenizer,
            endpoint,
            job.work / "requests",
            output,
            budget=budget_of(job.serving),
            chat=job.chat,
            longest=1 if job.suite.lengths_of_answers else max(asked),
        )


def _served(job: Job, log: Path) -> AbstractContextManager[Endpoint]:
    """The endpoint of the job's checkpoint, for the length of the block."""
    remote = job.endpoint
    if remote is None:
        weights = FolderWeights(kind="folder", path=job.model)
        return serve(job.serving, weights, name=job.checkpoint, log=log)
    return serve(
        job.serving, None, name=remote.model, log=log,
        context_tokens=remote.context_tokens, price=remote.price,
    )  # fmt: skip


def asked_lengths(job: Job, lengths: Sequence[int] | None) -> list[int]:
    """Lengths of the suite that the job asks for and the model supports."""
    suite = job.suite
    unknown = [length for length in lengths or () if length not in suite.lengths]
    if unknown:
        raise UserError(
            f"suites.{job.suite_name}.lengths: {unknown[0]} is not among {sorted(suite.lengths)}"
        )
    wanted = suite.lengths if lengths is None else lengths
    if suite.lengths_of_answers or job.supports is None:
        return list(wanted)
    kept = [length for length in wanted if length <= job.supports]
    if left_out := sorted(set(wanted) - set(kept)):
        logger.info("%s is not asked at %s", job.checkpoint, left_out)
    return kept
