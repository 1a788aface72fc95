"""RULER's own texts: haystacks, questions with their documents, instructions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from selflong.suites.ruler.generator import Sources, haystacks, questions, suite_sources, tracing
from selflong.suites.ruler.generator.sources import haystack_text, load_questions
from selflong.suites.ruler.generator.tasks import NEEDLE_TASKS
from selflong.suites.ruler.section import RulerSuite


def texts(suite: RulerSuite, download: Path | None) -> Iterator[tuple[str, str]]:
    """Name and text of what the suite asks about."""
    sources = suite_sources(suite.named_files)
    return texts_of_tasks(suite.tasks, max(suite.samples.values()), sources)


def texts_of_tasks(
    tasks: Sequence[str], samples: int, sources: Sources
) -> Iterator[tuple[str, str]]:
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
