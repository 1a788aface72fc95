"""Perplexity by one pass over each document; no server is asked, since none gives so many probabilities."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForCausalLM

from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.recipe.site import Serving, TransformersServing, VllmServing
from selflong.suites.evaluation_job import Job
from selflong.suites.load import supported
from selflong.suites.perplexity.metric import probability
from selflong.suites.perplexity.section import TASK, Perplexity
from selflong.suites.stored_rows import parquet_rows
from selflong.tokens import Tokenizer, load_tokenizer

logger = logging.getLogger(__name__)

LOGIT_ROWS = 1024
"""Tokens whose logits are widened to float32 at once."""
SHOWN_CHARACTERS = 200
"""Of a document's beginning, which names it to whoever reads the predictions."""


def run(suite: Perplexity, job: Job, work: Path) -> pl.DataFrame:
    """formats.PREDICTIONS of the job's checkpoint at every length that it supports, one row a document.

    The prediction is the mean loss of the scored tokens in nats. Raises UserError where no document of the
    set has a length.
    """
    tokenizer = load_tokenizer(job.tokenizer, job.chat_date)
    model = _model(job.model, job.serving)
    rows = []
    for length in supported(suite.lengths, job.supports):
        found = list(islice(documents(suite, job.download, tokenizer, length), suite.documents))
        if not found:
            raise UserError(
                f"suites.{job.suite_name}.lengths: none of its documents has {length} tokens: leave it out"
            )
        logger.info("%s: %d documents at %d tokens", job.suite_name, len(found), length)
        for index, text, ids in found:
            loss = mean_loss(model, ids, suite.scored_tokens)
            rows.append(
                {
                    "suite": job.suite_name,
                    "model": job.checkpoint,
                    "task": TASK,
                    "length": length,
                    "index": index,
                    "prompt": text[:SHOWN_CHARACTERS],
                    "prompt_tokens": length,
                    "answers": [],
                    "prediction": repr(loss),
                    "completion_tokens": 0,
                    "score": probability(repr(loss), ()),
                }
            )
    return table(rows, PREDICTIONS)


def documents(
    suite: Perplexity, download: Path, tokenizer: Tokenizer, length: int
) -> Iterator[tuple[int, str, list[int]]]:
    """Place, text and the first `length` ids of each document that has so many, BOS before them."""
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    for index, row in enumerate(parquet_rows(download, [suite.column])):
        ids = [*bos, *tokenizer.encode(row[suite.column])]
        if len(ids) >= length:
            yield index, row[suite.column], ids[:length]


def _model(folder: Path, serving: Serving) -> Any:
    """The checkpoint in the precision that the site serves it with, on its CPU or on one GPU."""
    if isinstance(serving, TransformersServing):
        torch.set_num_threads(serving.threads)
        device = "cpu"
    elif isinstance(serving, VllmServing):
        device = "cuda" if serving.cpu is None else "cpu"
    else:
        raise UserError(
            f"evaluation: perplexity cannot be measured with kind {serving.kind!r}: use vllm or transformers"
        )
    dtype = getattr(torch, serving.precision)
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa"
    )
    return model.to(device).eval()


def mean_loss(model: Any, ids: list[int], scored: int) -> float:
    """Mean cross-entropy in nats of the last `scored` of a document's ids, each given all before it."""
    tokens = torch.tensor([ids], device=model.device)
    with torch.inference_mode():
        logits = model(tokens[:, :-1], use_cache=False, logits_to_keep=scored).logits[0]
        targets = tokens[0, -scored:]
        losses = [
            torch.nn.functional.cross_entropy(part.float(), wanted, reduction="sum").double()
            for part, wanted in zip(
                logits.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True
            )
        ]
    return float(torch.stack(losses).sum()) / scored
