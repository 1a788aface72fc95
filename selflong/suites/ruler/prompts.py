"""RULER's samples as prompts."""

from collections.abc import Iterator, Sequence

from selflong.llm.protocol import Endpoint
from selflong.suites.job import Job
from selflong.suites.prompt import Prompt
from selflong.suites.ruler.generator import RulerSample, generate_samples, suite_sources
from selflong.suites.ruler.section import RulerSuite
from selflong.tokens import Tokenizer


def prompts(
    suite: RulerSuite, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """RULER's samples, length by length, task by task."""
    sources = suite_sources(suite.named_files)
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
                yield _prompt(sample)


def _prompt(sample: RulerSample) -> Prompt:
    return Prompt(
        task=sample.task,
        length=sample.length,
        index=sample.index,
        ids=sample.prompt_ids,
        text=sample.text,
        answers=tuple(sample.answers),
        answer_tokens=sample.generation_tokens,
        depth=min(sample.depths) if sample.depths else None,
        message=sample.prompt,
    )
