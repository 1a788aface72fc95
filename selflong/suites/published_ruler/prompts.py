"""RULER's prompts as SelfLong published them (self-long/RULER-llama3-1M)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.published_ruler.files import read_files
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.ruler.section import ANSWER_TOKENS

PROMPTS: Mapping[Any, Any] = {
    "index": pl.Int64,
    "input": pl.String,
    "answers": pl.List(pl.String),
}


def prompts(suite: PublishedRulerSuite, respondent: Respondent) -> Iterator[Prompt]:
    """Every published prompt of its lengths."""
    job = respondent.job
    pretrained = AutoTokenizer.from_pretrained(str(job.tokenizer), local_files_only=True)
    return read_prompts(job.download, respondent.lengths, pretrained)


def read_prompts(
    folder: Path, lengths: Sequence[int], pretrained: PreTrainedTokenizerBase
) -> Iterator[Prompt]:
    """Every published prompt of `lengths`. Control tokens that the input writes out become control tokens.

    Those of a file are sorted: each shares all that it can with the one before, whose keys a server keeps.
    """
    for task, length, rows in read_files(folder, lengths, list(PROMPTS)):
        for row in rows.cast(PROMPTS).sort("input").iter_rows(named=True):
            ids = pretrained.encode(row["input"], add_special_tokens=False)
            bos = pretrained.bos_token_id
            if bos is not None and ids[:1] != [bos]:
                ids = [bos, *ids]
            yield Prompt(
                task=task,
                length=length,
                index=row["index"],
                ids=ids,
                text=row["input"],
                answers=tuple(row["answers"]),
                answer_tokens=ANSWER_TOKENS[task.partition("_")[0]],
            )
