"""RULER as a suite: its samples as prompts, and its own texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from selflong.evaluation.generate import Prompt
from selflong.evaluation.ruler import (
    RulerSample,
    Sources,
    generate_samples,
    haystacks,
    questions,
    tracing,
)
from selflong.evaluation.ruler.sources import haystack_text, load_questions
from selflong.evaluation.ruler.tasks import NEEDLE_TASKS
from selflong.suites.ruler.section import RulerSuite
from selflong.tokens import Tokenizer


def prompts(
    suite: RulerSuite, tokenizer: Tokenizer, sources: Sources, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """RULER's samples, length by length, task by task."""
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
    )


def texts(tasks: Sequence[str], samples: int, sources: Sources) -> Iterator[tuple[str, str]]:
    """Name and text of what the tasks ask about in so many samples."""
    specs = [NEEDLE_TASKS[task] for task in tasks if task in NEEDLE_TASKS]
    if any(spec.haystack == "essays" for spec in specs):
        yield "essays", haystack_text(sources.essays)
    if "vt" in tasks or any(spec.haystack == "noise" for spec in specs):
        yield "noise", haystacks.NOISE
    if "vt" in tasks:
        yield "vt/instruction", tracing.INTRO
    for task, path in (("qa_1", sources.squad), ("qa_2", sources.hotpotqa)):
        if task in tasks:
            yield f"{task}/instruction", questions.INSTRUCTION
            yield from _questions(task, path, samples)


def _questions(task: str, path: Path, samples: int) -> Iterator[tuple[str, str]]:
    """Each question that is asked with its answers, and the documents that it always brings."""
    found = load_questions(path)
    for question in found.questions[:samples]:
        yield f"{task}/question", " ".join([question.text, *question.answers])
        for number in question.gold:
            yield f"{task}/document", found.documents[number]
