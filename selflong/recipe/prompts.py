"""Prompt sets: everything that a generator is asked with, a folder each, read and checked before any job.

A set holds a prompt as a file for each step, and `set.yaml`: the kinds of instructions that it asks for, the
lists that a request is drawn from, and the rules that its answers are read by. A prompt is a chat, its turns
under the headings `## system`, `## user`, `## assistant`; turns before the last one are examples. `$name` is
filled in once, so that what documents hold is never read as a placeholder.
"""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from selflong.job import UserError
from selflong.recipe.reader import read_text, read_yaml
from selflong.recipe.section import Name, Section
from selflong.recipe.wording import does_not_exist, shown

SETS = Path(__file__).parents[1] / "synthesis/prompts"
RULES = "set.yaml"
PROMPTS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "instruction": (
        frozenset({"chunk"}),
        frozenset({"task", "opening", "reader", "form", "length"}),
    ),
    "summary": (frozenset({"text", "instruction"}), frozenset()),
    "merge": (frozenset({"text", "instruction"}), frozenset()),
    "answer": (frozenset({"notes", "instruction"}), frozenset({"form", "length"})),
    "follow_up": (frozenset({"notes", "conversation"}), frozenset()),
    "closed_book": (frozenset({"instruction"}), frozenset({"form", "length"})),
    "back_translation": (frozenset({"excerpt"}), frozenset({"shape"})),
}
"""Step -> placeholders that its prompt must have, and those that it may have."""
OPTIONAL = ("merge", "follow_up")
"""Without the first, summaries are joined by the prompt that reads documents; without the second a recipe
can ask for no further turns."""

Rules = TypeVar("Rules", bound=Section)
_HEADING = re.compile(r"^## (system|user|assistant)\n", re.MULTILINE)
_NAMES = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return text


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


def _names_words(text: str) -> str:
    if Template(text).get_identifiers() != ["words"] or not Template(text).is_valid():
        raise ValueError("must hold the placeholder $words and no other")
    return text


def _names_form(text: str) -> str:
    if {*Template(text).get_identifiers()} - {"reader"} != {"form", "length"}:
        raise ValueError(
            "must hold the placeholders $form and $length, may hold $reader, and no other"
        )
    return text


Length = Annotated[Text, AfterValidator(_names_words)]
Closing = Annotated[Text, AfterValidator(_names_form)]


class Family(Section):
    """A kind of instruction."""

    task: str = ""
    """What the instruction asks for, as $task of the prompt."""
    openings: list[Text] = []
    """Words that the instruction may begin with, one of which is $opening of the prompt."""
    forms: list[Name] = []
    """Of the set's forms those that suit it; all where none is named."""
    marks: Annotated[str, AfterValidator(_pattern)] | None = None
    """Regular expression of what an instruction of it says (case does not count)."""

    @property
    def says(self) -> re.Pattern[str] | None:
        """The marks, compiled."""
        return re.compile(self.marks, re.IGNORECASE | re.DOTALL) if self.marks else None


class PromptRules(Section):
    """`set.yaml` of a prompt set."""

    instruction: Literal["question", "task"]
    """question: one question, its first paragraph alone is read; task: a whole text that asks for work."""
    families: dict[Name, Family] = Field(min_length=1)
    """Kinds of instructions."""
    readers: dict[Name, Text] = {}
    """Whom an answer may be for."""
    forms: dict[Name, Text] = {}
    """Forms that an answer may have."""
    lengths: dict[Name, Length] = {}
    """Ways to say how long the answer is to be."""
    closings: list[Closing] = []
    """Sentences that follow, in the sample alone, a task that does not say the length by itself."""
    shapes: dict[Name, Text] = {}
    """Of an instruction to write a document."""
    length_hints: list[Length] = Field(min_length=1)
    """Sentences that name the length of a document to write."""
    numbered_documents: bool = False
    """Whether a chunk shows the number of each document in its sample."""


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read."""

    name: str
    sha256: str
    set_sha256: str
    """Of the whole set that it belongs to."""
    turns: tuple[tuple[str, str], ...]
    """Role and template of each message; the last one is the user's."""

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The chat with `values` filled in, of which it need not use all; KeyError where one is missing."""
        return [
            {"role": role, "content": Template(template).substitute(values)}
            for role, template in self.turns
        ]

    @property
    def example_names(self) -> frozenset[str]:
        """Names in the examples: words with a capital letter, not where a sentence begins."""
        example = "\n".join(text for role, text in self.turns[:-1] if role != "system")
        return frozenset(_NAMES.findall(example))

    @property
    def characters(self) -> int:
        """Length of the prompt without what is filled in."""
        return sum(len(template) for _, template in self.turns)


@dataclass(frozen=True)
class PromptSet:
    """A folder of prompts with its rules."""

    name: str
    sha256: str
    """Over the names and contents of its files."""
    rules: PromptRules
    prompts: Mapping[str, Prompt]

    def instruction(self, family: str) -> Prompt:
        """The prompt for an instruction of a family."""
        return self.prompts.get(f"instruction_{family}") or self.prompts["instruction"]

    def summary(self, depth: int) -> Prompt:
        """The prompt for a chunk of documents (depth 0) or of summaries."""
        return self.prompts.get("merge", self.prompts["summary"]) if depth else self["summary"]

    def __getitem__(self, step: str) -> Prompt:
        return self.prompts[step]


def set_folder(reference: str) -> Path:
    """The folder of a generator's set; UserError where there is none."""
    return find_set(SETS, reference)


def find_set(sets: Path, reference: str) -> Path:
    """The folder of a set that a recipe names: one of those in `sets`, or a path."""
    known = sorted(path.name for path in sets.iterdir() if path.is_dir())
    folder = sets / reference if reference in known else Path(reference)
    if not folder.is_dir():
        raise UserError(f"{does_not_exist(reference, known)} (or name a folder of your own)")
    return folder


@cache
def load_prompt_set(reference: str) -> PromptSet:
    """A set by its name or the path of its folder; UserError with the first mistake in it."""
    folder = set_folder(reference)
    rules = _rules(folder / RULES)
    digest, prompts = read_prompts(folder, _files(folder, rules))
    for name, prompt in prompts.items():
        _check_placeholders(folder / prompt.name, name, prompt, rules)
    return PromptSet(folder.name, digest, rules, prompts)


def read_set(
    folder: Path, kind: type[Rules], placeholders: Mapping[str, Set[str]]
) -> tuple[str, Rules, dict[str, Prompt]]:
    """Digest, rules and prompts of a set whose prompts have just the placeholders given by their names."""
    rules = read_rules(folder / RULES, kind)
    digest, prompts = read_prompts(folder, placeholders)
    for name, prompt in prompts.items():
        check_names(folder / prompt.name, prompt, placeholders[name])
    return digest, rules, prompts


def read_prompts(folder: Path, names: Iterable[str]) -> tuple[str, dict[str, Prompt]]:
    """Digest of a set's rules and prompts, and its prompts by their names without the ending."""
    contents = {name: _content(folder / f"{name}.md") for name in names}
    state = hashlib.sha256((folder / RULES).read_bytes())
    for name, text in contents.items():
        state.update(f"\n{name} {_sha256(text)}".encode())
    digest = state.hexdigest()
    prompts = {
        name: Prompt(f"{name}.md", _sha256(text), digest, _turns(folder / f"{name}.md", text))
        for name, text in contents.items()
    }
    return digest, prompts


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_rules(path: Path, kind: type[Rules]) -> Rules:
    """`set.yaml` of a set; UserError with its first mistake."""
    try:
        return kind.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {place}: {reason}") from None


def _rules(path: Path) -> PromptRules:
    rules = read_rules(path, PromptRules)
    for family, settings in rules.families.items():
        for form in settings.forms:
            if form not in rules.forms:
                raise UserError(
                    f"{path}: families.{family}.forms: {does_not_exist(form, rules.forms)}"
                )
    return rules


def _files(folder: Path, rules: PromptRules) -> Iterator[str]:
    """Names of the set's prompts, without their ending."""
    for step in PROMPTS:
        if step == "instruction" and not (folder / "instruction.md").exists():
            yield from (f"instruction_{family}" for family in rules.families)
        elif step not in OPTIONAL or (folder / f"{step}.md").exists():
            yield step


def _content(path: Path) -> str:
    text = read_text(path)
    if not text.strip():
        raise UserError(
            f"{path}: is empty: write the prompt, its turns under ## system and ## user"
        )
    return text


def _turns(path: Path, text: str) -> tuple[tuple[str, str], ...]:
    pieces = _HEADING.split(text)
    if pieces[0].strip():
        raise UserError(
            f"{path}: {shown(pieces[0].strip().splitlines()[0])} stands before the first turn: begin "
            "with ## system or ## user on a line of its own"
        )
    turns = tuple(
        (role, part.strip()) for role, part in zip(pieces[1::2], pieces[2::2], strict=True)
    )
    for role, part in turns:
        if not part:
            raise UserError(f"{path}: a turn under ## {role} is empty: write it or remove it")
    if turns[-1][0] != "user":
        raise UserError(f"{path}: its last turn must be the user's, not under ## {turns[-1][0]}")
    return turns


def _check_placeholders(path: Path, name: str, prompt: Prompt, rules: PromptRules) -> None:
    step = name if name in PROMPTS else "instruction"
    found = check_names(path, prompt, *PROMPTS[step])
    lists = {
        "reader": rules.readers,
        "form": rules.forms,
        "length": rules.lengths,
        "shape": rules.shapes,
    }
    for used in sorted(found & lists.keys()):
        if not lists[used]:
            raise UserError(f"{path}: ${used} is filled from {used}s, of which {RULES} has none")
    if step in ("answer", "closed_book") and rules.closings and not {"form", "length"} <= found:
        raise UserError(
            f"{path}: closings in {RULES} ask for form and length: give the answer $form and $length, too"
        )
    for family, settings in rules.families.items():
        if "opening" in found and not settings.openings:
            raise UserError(
                f"{path}: $opening is filled from openings, of which families.{family} in {RULES} has none"
            )


def check_names(
    path: Path, prompt: Prompt, required: Set[str], allowed: Set[str] = frozenset()
) -> set[str]:
    """The placeholders of a prompt; UserError where one is unknown or missing."""
    found: set[str] = set()
    for _, template in prompt.turns:
        if not Template(template).is_valid():
            raise UserError(f"{path}: holds a $ that begins no placeholder: write it twice")
        found.update(Template(template).get_identifiers())
    for unknown in sorted(found - required - allowed):
        raise UserError(
            f"{path}: placeholder ${unknown}: {does_not_exist(unknown, required | allowed)}"
        )
    for missing in sorted(required - found):
        raise UserError(f"{path}: its placeholder ${missing} is missing")
    return found
