"""Prompts and templates for questions on long documents and summaries of them (ProLong, appendix B.5).

A set is a folder as those of `selflong.recipe.prompts` are, with prompts and lists of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated

from pydantic import AfterValidator, Field

from selflong.recipe.prompts import Prompt, Text, find_set, read_set
from selflong.recipe.section import Section

SETS = Path(__file__).parents[1] / "synthesis/document_prompts"
PROMPTS: Mapping[str, frozenset[str]] = {
    "question": frozenset({"chunk"}),
    "summary": frozenset({"text"}),
    "merge": frozenset({"text"}),
}
"""Prompt -> its placeholders."""


def _holds(*names: str) -> AfterValidator:
    """Each of `names` once, and no other placeholder."""

    def check(text: str) -> str:
        template = Template(text)
        once = all(text.count(f"${name}") == 1 for name in names)
        if not template.is_valid() or {*template.get_identifiers()} != {*names} or not once:
            wanted = " and ".join(f"${name}" for name in names)
            raise ValueError(f"must hold {wanted}, each once, and no other placeholder")
        return text

    return AfterValidator(check)


QuestionLayout = Annotated[str, _holds("request", "document", "question")]
SummaryLayout = Annotated[str, _holds("request", "document")]
Heading = Annotated[Text, _holds("number")]


class DocumentRules(Section):
    """`set.yaml` of a set of prompts on documents."""

    question_requests: list[Text] = Field(min_length=1)
    """What is said beside a question and the document."""
    passage_requests: list[Text] = Field(min_length=1)
    """What is said beside a question and passages."""
    summary_requests: list[Text] = Field(min_length=1)
    """What asks for a summary."""
    question_layouts: list[QuestionLayout] = Field(min_length=1)
    """Where request, question and document stand."""
    summary_layouts: list[SummaryLayout] = Field(min_length=1)
    """Where request and document stand."""
    passage_headings: list[Heading] = Field(min_length=1)
    """What stands before each passage, on a line of its own."""


@dataclass(frozen=True)
class DocumentPrompts:
    """A set, read."""

    sha256: str
    """Over the names and contents of its files."""
    rules: DocumentRules
    question: Prompt
    summary: Prompt
    merge: Prompt


@cache
def load_document_prompts(reference: str) -> DocumentPrompts:
    """A set by its name or the path of its folder; UserError with the first mistake in it."""
    digest, rules, prompts = read_set(find_set(SETS, reference), DocumentRules, PROMPTS)
    return DocumentPrompts(digest, rules, **prompts)
