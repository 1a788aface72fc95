"""GraphWalks' graphs and operations as prompts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from selflong.suites.graphwalks.section import GraphWalks
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.stored_rows import Stored, first_of_each_length, may_be_of, parquet_rows
from selflong.tokens import message

COLUMNS = ("prompt", "answer_nodes", "prompt_chars", "problem_type")


def prompts(suite: GraphWalks, respondent: Respondent) -> Iterator[Prompt]:
    """The first `suite.samples` of each problem at each length, in the order of the set."""
    stored = _stored(suite, respondent.job.download, respondent.lengths)
    return first_of_each_length(stored, suite.samples, suite.answer_tokens, respondent)


def _stored(suite: GraphWalks, download: Path, lengths: Sequence[int]) -> Iterator[Stored]:
    for place, row in enumerate(parquet_rows(download, COLUMNS)):
        task, text, nodes = row["problem_type"], row["prompt"], row["answer_nodes"]
        if task in suite.problems and may_be_of(row["prompt_chars"], lengths):
            yield Stored(
                task, place, [message("user", text)], f"Final Answer: [{', '.join(nodes)}]",
                tuple(nodes),
            )  # fmt: skip
