"""Questions over shared haystacks as prompts."""

from collections.abc import Iterator, Sequence

from selflong.llm.protocol import Endpoint
from selflong.suites.evaluation_job import Job
from selflong.suites.prompt import Prompt
from selflong.suites.ruler.generator import generate_shared, suite_sources
from selflong.suites.ruler.prompts import prompt_of
from selflong.suites.shared_haystack.section import SharedHaystack
from selflong.tokens import Tokenizer


def prompts(
    suite: SharedHaystack,
    job: Job,
    tokenizer: Tokenizer,
    endpoint: Endpoint,
    lengths: Sequence[int],
) -> Iterator[Prompt]:
    """Length by length, task by task, haystack by haystack, whose prompts differ in their question alone."""
    sources = suite_sources(suite.named_files)
    for length in lengths:
        for task in suite.tasks:
            samples = generate_shared(
                task,
                length,
                suite.haystacks,
                suite.questions,
                tokenizer=tokenizer,
                seed=suite.seed,
                sources=sources,
                chat=suite.chat,
                answer_prefix=suite.answer_prefix,
            )
            yield from map(prompt_of, samples)
