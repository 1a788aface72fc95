"""GraphWalks' graphs and operations as prompts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from selflong.llm.protocol import Endpoint
from selflong.suites.evaluation_job import Job
from selflong.suites.graphwalks.section import GraphWalks
from selflong.suites.prompt import Prompt
from selflong.suites.stored_rows import answer_room, length_of, may_be_of, parquet_rows
from selflong.tokens import Tokenizer

COLUMNS = ("prompt", "answer_nodes", "prompt_chars", "problem_type")


def prompts(
    suite: GraphWalks, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """The first `suite.samples` of each problem at each length, in the order of the set.

    The index of a prompt is its place in the set, whatever the model.
    """
    asked: Counter[tuple[str, int]] = Counter()
    for place, row in enumerate(parquet_rows(job.download, COLUMNS)):
        task = row["problem_type"]
        if task not in suite.problems or not may_be_of(row["prompt_chars"], lengths):
            continue
        message = {"role": "user", "parts": [{"kind": "prompt", "text": row["prompt"]}]}
        ids = tokenizer.render([message], add_generation_prompt=True).ids.tolist()
        needed = tokenizer.count(f"Final Answer: [{', '.join(row['answer_nodes'])}]")
        length = length_of(len(ids) + needed, lengths)
        if length is None or asked[task, length] == suite.samples:
            continue
        asked[task, length] += 1
        yield Prompt(
            task=task,
            length=length,
            index=place,
            ids=ids,
            text=tokenizer.decode(ids),
            answers=tuple(row["answer_nodes"]),
            answer_tokens=answer_room(len(ids), needed, suite.answer_tokens, endpoint),
            message=row["prompt"],
        )
