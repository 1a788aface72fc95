"""RULER's samples as prompts."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace

from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.ruler.generator import RulerSample, generate_samples, suite_sources
from selflong.suites.ruler.section import NEEDLES_IN_ONE_HAYSTACK, RulerSuite


def prompts(suite: RulerSuite, respondent: Respondent) -> Iterator[Prompt]:
    """RULER's samples, length by length, task by task; of one haystack in the order that shares most."""
    sources = suite_sources(suite.named_files)
    for length in respondent.lengths:
        for task in suite.tasks:
            samples = generate_samples(
                task,
                length,
                suite.samples[length],
                convention=suite.convention,
                tokenizer=respondent.tokenizer,
                seed=suite.seed,
                sources=sources,
                chat=suite.chat,
                answer_prefix=suite.answer_prefix,
            )
            found = map(prompt_of, samples)
            yield from by_beginning(found) if task in NEEDLES_IN_ONE_HAYSTACK else found


def by_beginning(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    """Prompts sorted by their tokens: no order shares more with the prompt before, whose keys a server keeps.

    All are held: 13 bytes a token, 1.3 GB for a hundred prompts of a million.
    """
    held = [(array("I", prompt.ids), replace(prompt, ids=())) for prompt in prompts]
    held.sort(key=lambda pair: pair[0])
    yield from (replace(prompt, ids=ids) for ids, prompt in held)


def prompt_of(sample: RulerSample) -> Prompt:
    """A sample as it is asked; its depth is that of the first thing to be found."""
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
