"""Prompts and templates for questions over two documents (synthesis.multi_hop).

A set is a folder as those of `selflong.recipe.prompts` are, with prompts and lists of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated

from pydantic import AfterValidator, Field

from selflong.recipe.document_prompts import Heading, QuestionLayout
from selflong.recipe.prompts import Prompt, Text, find_set, read_set
from selflong.recipe.section import Name, Section

SETS = Path(__file__).parents[1] / "synthesis/multi_hop_prompts"
PROMPTS: Mapping[str, frozenset[str]] = {
    "first": frozenset({"chunk"}),
    "second": frozenset({"chunk", "entity"}),
    "describe": frozenset({"question"}),
    "answer": frozenset({"documents", "question"}),
    "closed_book": frozenset({"question"}),
}
"""Prompt -> its placeholders."""


def _gives_the_answer(text: str) -> str:
    template = Template(text)
    names = template.get_identifiers() if template.is_valid() else []
    if "answer" not in names or {*names} - {"answer", "entity", "first", "second"}:
        raise ValueError("must hold $answer, may hold $entity, $first and $second, and no other")
    return text


Reply = Annotated[Text, AfterValidator(_gives_the_answer)]


class Form(Section):
    """What a question's answer is to look like."""

    requests: list[Text] = Field(min_length=1)
    """What is said beside the question and the documents."""
    reply: Reply
    """The answer that is trained on: $answer, and where the requests ask for them $entity, through which the
    documents hang together, and the numbers of the $first and the $second of the two documents."""


class MultiHopRules(Section):
    """`set.yaml` of a set of prompts on two documents."""

    forms: dict[Name, Form] = Field(min_length=1)
    """Of answers, one as likely as another."""
    layouts: list[QuestionLayout] = Field(min_length=1)
    """Where request, question and documents stand."""
    headings: list[Heading] = Field(min_length=1)
    """What stands before each document, on a line of its own."""


@dataclass(frozen=True)
class MultiHopPrompts:
    """A set, read."""

    sha256: str
    """Over the names and contents of its files."""
    rules: MultiHopRules
    first: Prompt
    second: Prompt
    describe: Prompt
    answer: Prompt
    closed_book: Prompt


@cache
def load_multi_hop_prompts(reference: str) -> MultiHopPrompts:
    """A set by its name or the path of its folder; UserError with the first mistake in it."""
    digest, rules, prompts = read_set(find_set(SETS, reference), MultiHopRules, PROMPTS)
    return MultiHopPrompts(digest, rules, **prompts)
