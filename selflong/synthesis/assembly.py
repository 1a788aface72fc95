"""A long-input sample's text: the instruction and as many whole documents as its length holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from selflong.recipe.synthesis import LongInput
from selflong.tokens import Tokenizer

HEADING = "\n\n[Document {number}]\n"
_CLOSING = "\n\n"


@dataclass(frozen=True)
class Document:
    """A retrieved document; `tokens` are the trained model's."""

    id: str
    text: str
    tokens: int


@dataclass(frozen=True)
class LongSample:
    """The input of a sample, as it stands in formats.MESSAGES, without the answer."""

    messages: list[dict[str, Any]]
    documents: list[Document]
    """In the order of the text."""
    input_tokens: int
    """Rendered, up to where the answer begins."""


def assemble(
    instruction: str,
    ranked: Sequence[Document],
    room: int,
    settings: LongInput,
    tokenizer: Tokenizer,
    random: Random,
) -> LongSample | None:
    """The instruction with the best documents such that the rendered input has at most `room` tokens; None
    where not even one document fits.

    A document is taken whole or left out; one that is too long does not keep shorter ones behind it out.
    Whether all of it fits is decided by counting the rendered chat.
    """
    empty = _count(_messages(instruction, [], settings), tokenizer)
    heading = tokenizer.count(HEADING.format(number=len(ranked)))
    chosen: list[Document] = []
    total = empty
    for document in ranked:
        if total + heading + document.tokens <= room:
            chosen.append(document)
            total += heading + document.tokens
    while chosen:
        ordered = random.sample(chosen, len(chosen))
        if settings.document_order == "ranked":
            ordered = chosen
        messages = _messages(instruction, ordered, settings)
        tokens = _count(messages, tokenizer)
        if tokens <= room:
            return LongSample(messages, list(ordered), tokens)
        # Tokens that join at the seams made the estimate too low.
        chosen.pop()
    return None


def with_answer(
    sample: LongSample,
    answer: str,
    tokenizer: Tokenizer,
    further: Sequence[tuple[str, str]] = (),
) -> tuple[list[dict[str, Any]], int]:
    """The whole conversation and its tokens. further: tasks and answers that follow.

    A chat template sets messages apart by control tokens, across which no tokens join: what an answer adds
    to a short input it adds to this one too, and the documents need not be encoded again.
    """
    replies = [message("assistant", ("response", answer))]
    for task, following in further:
        replies += [
            message("user", ("prompt", task)),
            message("assistant", ("response", following)),
        ]
    short = [message("user", ("prompt", "?"))]
    with_replies = len(tokenizer.render([*short, *replies]).ids)
    added = with_replies - _count(short, tokenizer)
    return [*sample.messages, *replies], sample.input_tokens + added


def message(role: str, *parts: tuple[str, str]) -> dict[str, Any]:
    """One message from (kind, text) parts."""
    return {"role": role, "parts": [{"kind": kind, "text": text} for kind, text in parts]}


def _messages(
    instruction: str, documents: Sequence[Document], settings: LongInput
) -> list[dict[str, Any]]:
    parts: list[tuple[str, str]] = []
    if settings.instruction_position in ("before", "both"):
        parts.append(("prompt", instruction))
    for number, document in enumerate(documents, 1):
        heading = HEADING.format(number=number)
        parts.append(("prompt", heading if parts else heading.lstrip()))
        parts.append(("document", document.text))
    if settings.instruction_position in ("after", "both"):
        parts.append(("prompt", _CLOSING + instruction if parts else instruction))
    return [message("user", *parts)]


def _count(messages: list[dict[str, Any]], tokenizer: Tokenizer) -> int:
    return len(tokenizer.render(messages, add_generation_prompt=True).ids)
