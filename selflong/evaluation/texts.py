"""The evaluation's own text, which training data must not hold: questions, documents, haystacks, patterns."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from selflong.evaluation import needle_grid, output_length
from selflong.evaluation.ruler import haystacks, questions, tracing
from selflong.evaluation.ruler.sources import (
    Sources,
    load_questions,
    load_words_of_haystack,
    suite_sources,
)
from selflong.evaluation.ruler.tasks import NEEDLE_TASKS
from selflong.formats import EVALUATION_TEXTS, table, write_parquet
from selflong.recipe import (
    RULER_TASKS,
    NeedleGrid,
    OutputLength,
    PublishedRulerSuite,
    RulerSuite,
    Suite,
)

PUBLISHED_QUESTIONS = 500
"""Of each question task, in the published sets."""


def write_evaluation_texts(suites: Mapping[str, Suite], output: Path) -> None:
    """Publish formats.EVALUATION_TEXTS of a recipe's suites.

    Short tasks are not in it: their data are the harness's, which downloads them when it runs.
    """
    rows = [
        {"suite": suite_name, "name": name, "text": text}
        for suite_name, suite in suites.items()
        for name, text in _texts(suite, suite_sources(suite))
    ]
    write_parquet(
        table(rows, EVALUATION_TEXTS).unique(maintain_order=True), output, EVALUATION_TEXTS
    )


def _texts(suite: Suite, sources: Sources) -> Iterator[tuple[str, str]]:
    if isinstance(suite, RulerSuite):
        yield from _ruler(tuple(suite.tasks), max(suite.samples.values()), sources)
    elif isinstance(suite, PublishedRulerSuite):
        yield from _ruler(RULER_TASKS, PUBLISHED_QUESTIONS, sources)
    elif isinstance(suite, NeedleGrid):
        yield "essays", _essays(sources)
        yield "needle", needle_grid.NEEDLE
        yield "question", needle_grid.QUESTION
    elif isinstance(suite, OutputLength):
        for topic in output_length.TOPICS:
            yield "topic", topic


def _ruler(tasks: tuple[str, ...], samples: int, sources: Sources) -> Iterator[tuple[str, str]]:
    specs = [NEEDLE_TASKS[task] for task in tasks if task in NEEDLE_TASKS]
    if any(spec.haystack == "essays" for spec in specs):
        yield "essays", _essays(sources)
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


def _essays(sources: Sources) -> str:
    return " ".join(load_words_of_haystack(sources.essays))
