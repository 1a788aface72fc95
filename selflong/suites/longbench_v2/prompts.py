"""LongBench v2's questions as prompts, worded as the benchmark words them (prompts/ of its repository)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from selflong.suites.longbench_v2.section import LongBenchV2, task_name
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.stored_rows import json_rows
from selflong.tokens import Tokenizer, message

FILE = "data.json"
CHOICES = ("choice_A", "choice_B", "choice_C", "choice_D")
FIELDS = ("context", "question", *CHOICES, "answer", "difficulty", "length")
ANSWER_TOKENS, REASONING_TOKENS = 128, 1024
"""Room for the choice, and for the reasoning before it."""

_QUESTION = """What is the correct answer to this question: $question$
Choices:
(A) $choice_A$
(B) $choice_B$
(C) $choice_C$
(D) $choice_D$

"""
_FORMAT = 'Format your response as follows: "The correct answer is (insert answer here)".'
_THINK = "Let’s think step by step:"
DIRECT = (
    "Please read the following text and answer the question below.\n\n"
    f"<text>\n$context$\n</text>\n\n{_QUESTION}{_FORMAT}"
)
REASON = (
    "Please read the following text and answer the questions below.\n\n"
    f"<text>\n$context$\n</text>\n\n{_QUESTION}{_THINK}"
)
CHOOSE = (
    "Please read the following text and answer the questions below.\n\n"
    f"The text is too long and omitted here.\n\n{_QUESTION}{_THINK} $reasoning$\n\n"
    f"Based on the above, what is the single, most likely answer choice? {_FORMAT}"
)
_FIELD = re.compile(r"\$(\w+)\$")


def prompts(suite: LongBenchV2, respondent: Respondent) -> Iterator[Prompt]:
    """Every question at each length."""
    for length in respondent.lengths:
        asking = Asking(respondent.tokenizer, length, respondent.endpoint.context_tokens)
        for index, row in enumerate(json_rows(respondent.job.download / FILE, FIELDS)):
            if suite.chain_of_thought:
                yield asking.reasoning(row, index)
            else:
                yield asking.prompt(DIRECT, row, index, ANSWER_TOKENS)


@dataclass(frozen=True)
class Asking:
    """How questions are put at a length."""

    tokenizer: Tokenizer
    length: int
    """Most tokens of a message."""
    context_tokens: int
    """Most of template, message and answer together."""

    def prompt(
        self, template: str, row: Mapping[str, str], index: int, answer_tokens: int
    ) -> Prompt:
        """The question in a template, without its middle where it is too long."""
        text = _FIELD.sub(lambda field: row[field[1]].strip(), template)
        kept, ids = self._fitted(text, answer_tokens)
        return Prompt(
            task=task_name(row["length"], row["difficulty"]),
            length=self.length,
            index=index,
            ids=ids,
            text=self.tokenizer.decode(ids),
            answers=(row["answer"],),
            answer_tokens=answer_tokens,
            message=kept,
        )

    def reasoning(self, row: Mapping[str, str], index: int) -> Prompt:
        """The same for reasoning; the choice is asked for afterwards, without the documents."""
        without = {**row, "context": ""}

        def choose(reasoning: str) -> Prompt:
            return self.prompt(CHOOSE, {**without, "reasoning": reasoning}, index, ANSWER_TOKENS)

        return replace(self.prompt(REASON, row, index, REASONING_TOKENS), then=choose)

    def _fitted(self, text: str, answer_tokens: int) -> tuple[str, list[int]]:
        """As much of the text as there is room for, and the prompt's ids."""
        tokens = self.tokenizer.encode(text)
        room = min(self.length, self.context_tokens - answer_tokens - len(self._rendered("")))
        while True:
            kept = text if len(tokens) <= room else self._without_middle(tokens, room)
            ids = self._rendered(kept)
            excess = len(ids) + answer_tokens - self.context_tokens
            # Text of two halves may have a few tokens more than they had.
            if excess <= 0 or room <= 1:
                return kept, ids
            room -= excess

    def _without_middle(self, tokens: Sequence[int], room: int) -> str:
        """The first and the last halves of `room` tokens."""
        half = room // 2
        return self.tokenizer.decode([*tokens[:half], *tokens[len(tokens) - room + half :]])

    def _rendered(self, text: str) -> list[int]:
        return self.tokenizer.prompt_ids([message("user", text)])
