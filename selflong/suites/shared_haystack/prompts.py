"""Questions over shared haystacks as prompts."""

from collections.abc import Iterator

from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.ruler.generator import generate_shared, suite_sources
from selflong.suites.ruler.prompts import prompt_of
from selflong.suites.shared_haystack.section import SharedHaystack


def prompts(suite: SharedHaystack, respondent: Respondent) -> Iterator[Prompt]:
    """Length by length, task by task, haystack by haystack, whose prompts differ in their question alone."""
    sources = suite_sources(suite.named_files)
    for length in respondent.lengths:
        for task in suite.tasks:
            samples = generate_shared(
                task,
                length,
                suite.haystacks,
                suite.questions,
                tokenizer=respondent.tokenizer,
                seed=suite.seed,
                sources=sources,
                chat=suite.chat,
                answer_prefix=suite.answer_prefix,
            )
            yield from map(prompt_of, samples)
