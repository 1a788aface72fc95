"""The probe's prompts: the document of a question among others, as it is and edited."""

import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from selflong.job import UserError
from selflong.suites.counterfactual.edits import Edit, edits, holds
from selflong.suites.counterfactual.section import (
    ANSWER_TOKENS,
    EDITED,
    ORIGINAL,
    REMEMBERED,
    Counterfactual,
)
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.ruler.generator import suite_sources
from selflong.suites.ruler.generator.sources import load_questions
from selflong.tokens import Tokenizer, message

INSTRUCTION = (
    "Answer the question by the given documents, even where they differ from what you know. Give only "
    "the answer, nothing else."
)


def prompts(suite: Counterfactual, respondent: Respondent) -> Iterator[Prompt]:
    """Each question at each length as it is, edited, and edited once more, where the old answer counts.

    The last two are one prompt, whose answer is asked for once and scored by either.
    """
    path = suite_sources(suite.named_files).squad
    tokenizer = respondent.tokenizer
    for length in respondent.lengths:
        for index, edit in enumerate(asked(path, suite)):
            haystack = _Haystack(path, edit, tokenizer, length, f"{suite.seed} {length} {index}")
            given = ((ORIGINAL, edit.document, edit.answer), (EDITED, edit.edited, edit.other),
                     (REMEMBERED, edit.edited, edit.answer))  # fmt: skip
            for task, document, answer in given:
                text = haystack.text(document)
                ids = _ids(tokenizer, text)
                yield Prompt(
                    task=task,
                    length=length,
                    index=index,
                    ids=ids,
                    text=tokenizer.decode(ids),
                    answers=(answer,),
                    answer_tokens=ANSWER_TOKENS,
                    depth=haystack.depth,
                    message=text,
                )


def asked(path: Path, suite: Counterfactual) -> list[Edit]:
    """The suite's questions, the same at every length; UserError where the file has too few."""
    found = edits(load_questions(path), suite.seed)
    if len(found) < suite.samples:
        raise UserError(
            f"{path} holds {len(found)} questions whose answer can be edited: ask for no more samples"
        )
    return found[: suite.samples]


@lru_cache(maxsize=2)
def _sizes(tokenizer: Tokenizer, path: Path) -> np.ndarray:
    """int64 [documents]: tokens of each with its heading."""
    return tokenizer.count_many([_block(text) for text in load_questions(path).documents])


def _block(document: str) -> str:
    return f"Document:\n{document}\n\n"


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.prompt_ids([message("user", text)])


class _Haystack:
    """Documents that hold neither answer, as many as fit, and a place among them for the question's own."""

    def __init__(
        self, path: Path, edit: Edit, tokenizer: Tokenizer, length: int, seed: str
    ) -> None:
        drawn = random.Random(seed)
        self._question = edit.question
        documents = load_questions(path).documents
        others = [
            number
            for number, text in enumerate(documents)
            if number != edit.number
            and not holds(text, edit.answer)
            and not holds(text, edit.other)
        ]
        drawn.shuffle(others)
        self._blocks: list[str] = []
        self.depth = drawn.random()
        fixed = max(len(_ids(tokenizer, self.text(text))) for text in (edit.document, edit.edited))
        room = length - ANSWER_TOKENS - fixed
        if room < 0:
            raise UserError(
                f"counterfactual: length {length} is too short for a question and its document; ask for at "
                f"least {length - room}"
            )
        sums = np.cumsum(_sizes(tokenizer, path)[others])
        whole, rest = divmod(room, int(sums[-1])) if others else (0, 0)
        count = int(np.searchsorted(sums, rest, side="right"))
        chosen = others * whole + others[:count]
        self._blocks = [_block(documents[number]) for number in chosen]
        # Sizes of single documents may not add up exactly.
        while self._blocks and length - ANSWER_TOKENS < max(
            len(_ids(tokenizer, self.text(text))) for text in (edit.document, edit.edited)
        ):
            self._blocks.pop()

    def text(self, document: str) -> str:
        """What the user says, with the question's document at its place."""
        place = round(self.depth * len(self._blocks))
        blocks = [*self._blocks[:place], _block(document), *self._blocks[place:]]
        return f"{INSTRUCTION}\n\n{''.join(blocks)}{INSTRUCTION}\n\nQuestion: {self._question}"
