"""What an instruction is to ask for: drawn from the lists of a prompt set, by the recipe's weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from string import Template
from typing import Any

from selflong.recipe.prompts import PromptRules
from selflong.recipe.synthesis import LongInput

TOKENS_PER_WORD = 2.0
"""Set aside for each word that is asked for: an English word takes 1.3 tokens, tables and headings more, and
models write more than they are asked."""
TOKENS_TO_END = 64
LARGEST_ANSWER = 0.25
"""Of a sample's tokens: the documents are to be the longer part of it."""
_ROUND = ((100, 10), (500, 50), (10_000, 100))
"""Below so many words a length is said in steps of so many."""


@dataclass(frozen=True)
class Brief:
    """Kind of task, reader, form and length by their names in the prompt set; null where it has no list."""

    family: str
    reader: str | None = None
    form: str | None = None
    length: str | None = None
    answer_words: int | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Brief":
        """Of a row of formats.INSTRUCTIONS."""
        names = ("family", "reader", "form", "length", "answer_words")
        return cls(**{name: row[name] for name in names})

    def values(self, rules: PromptRules) -> dict[str, str]:
        """What the placeholders of a prompt are filled with."""
        filled = {"task": rules.families[self.family].task}
        if self.reader is not None:
            filled["reader"] = rules.readers[self.reader]
        if self.form is not None:
            filled["form"] = rules.forms[self.form]
        if self.length is not None:
            words = f"{self.answer_words:,}"
            filled["length"] = Template(rules.lengths[self.length]).substitute(words=words)
        return filled

    def closing(self, task: str, rules: PromptRules, random: Random) -> str | None:
        """A sentence on form and length for the end of a task that does not say its length by itself.

        The answer will have them, so what is trained on must ask for them.
        """
        if self.answer_words is None or not rules.closings or self._says_length(task):
            return None
        return Template(random.choice(rules.closings)).substitute(self.values(rules))

    def _says_length(self, task: str) -> bool:
        return re.search(rf"\b{self.answer_words}\b", task.replace(",", "")) is not None

    def answer_tokens(self, section: LongInput) -> int:
        """The most that its answer may have, in the generator's tokens."""
        if self.answer_words is None:
            return section.answer_tokens
        wanted = round(TOKENS_PER_WORD * self.answer_words) + TOKENS_TO_END
        return min(section.answer_tokens, wanted)

    def reserve(self, section: LongInput) -> int:
        """Of a sample's tokens, those kept for its answers and for the tasks of its further turns."""
        further = section.follow_ups * section.instruction_tokens
        return (1 + section.follow_ups) * self.answer_tokens(section) + further

    def in_another_form(self, rules: PromptRules, section: LongInput, random: Random) -> "Brief":
        """What a further turn asks for: as many words in a form, and said in a way, that are drawn again."""
        return replace(
            self,
            form=_choose(_suitable(rules, self.family), section.forms, random),
            length=_choose(list(rules.lengths), {}, random),
        )


def draw_brief(
    rules: PromptRules, section: LongInput, family: str, target_tokens: int, random: Random
) -> Brief:
    """One combination for an instruction of `family` whose sample has `target_tokens`."""
    return Brief(
        family,
        _choose(list(rules.readers), section.readers, random),
        _choose(_suitable(rules, family), section.forms, random),
        _choose(list(rules.lengths), {}, random),
        _draw_words(section, target_tokens, random) if rules.lengths else None,
    )


def _suitable(rules: PromptRules, family: str) -> list[str]:
    return rules.families[family].forms or list(rules.forms)


def _choose(names: Sequence[str], weights: Mapping[str, float], random: Random) -> str | None:
    """One of the names that have a weight; of all alike where none of them has one."""
    weighted = [name for name in names if name in weights] or names
    if not weighted:
        return None
    return random.choices(weighted, [weights.get(name, 1.0) for name in weighted])[0]


def _draw_words(section: LongInput, target_tokens: int, random: Random) -> int:
    assert section.answer_words is not None
    low = section.answer_words.minimum
    most_tokens = LARGEST_ANSWER * target_tokens / (1 + section.follow_ups)
    most = (most_tokens - TOKENS_TO_END) / TOKENS_PER_WORD
    high = max(low, min(section.answer_words.maximum, most))
    words = low * (high / low) ** random.random()
    step = next(step for below, step in _ROUND if words < below)
    return max(low, round(words / step) * step)


def combinations(rules: PromptRules, section: LongInput) -> int:
    """How many requests differ by more than their subject, lengths by their rounded words."""
    tasks = sum(
        max(1, len(rules.families[family].forms or rules.forms))
        * max(1, len(rules.families[family].openings))
        for family in section.families
    )
    lengths = 1
    if rules.lengths and section.answer_words is not None:
        low, high = section.answer_words.minimum, section.answer_words.maximum
        steps = [(0, 0), *_ROUND]
        lengths = len(rules.lengths) * sum(
            len(range(max(low, before), min(high + 1, below), step))
            for (before, _), (below, step) in pairwise(steps)
        )
    return tasks * max(1, len(rules.readers)) * lengths
