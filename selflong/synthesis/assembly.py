"""The text of a sample: an instruction or a question, and as much of its documents as its length holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import Template
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


Layout = Callable[[Sequence[int]], list[dict[str, Any]]]
"""Texts, by their places -> the conversation that holds them."""


@dataclass(frozen=True)
class Fitted:
    """A conversation that has at most the tokens that it may have."""

    messages: list[dict[str, Any]]
    tokens: int
    taken: list[int]
    """Places of the texts in it, in the order in which they were offered."""

    def row(
        self, sample_id: str, source: str, family: str, documents: Iterable[str],
        provenance: Mapping[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        """The row of formats.SAMPLES; responses alone are trained on, as of short conversations."""
        return {
            "sample_id": sample_id,
            "kind": "short",
            "source": source,
            "family": family,
            "messages": self.messages,
            "document_ids": list(documents),
            "tokens": self.tokens,
            "provenance": provenance,
        }


def fit(
    places: Sequence[int], tokens: Sequence[int], lay_out: Layout, length: int,
    tokenizer: Tokenizer, least: int = 1,
) -> Fitted | None:  # fmt: skip
    """The conversation with as many of the first places as `length` tokens hold; None where it does not hold
    the `least` first ones.

    tokens: of each text, by its place.
    """
    taken = take(places, tokens, length, least)
    while len(taken) >= least:
        messages = lay_out(taken)
        total = len(tokenizer.render(messages).ids)
        if total <= length:
            return Fitted(messages, total, taken)
        # Words beside the texts, and tokens that join at their seams.
        taken.pop()
    return None


def take(places: Sequence[int], tokens: Sequence[int], room: int, least: int = 1) -> list[int]:
    """The first places whose texts have at most `room` tokens together; the `least` first ones whatever
    they have."""
    taken: list[int] = []
    total = 0
    for place in places:
        total += tokens[place]
        if len(taken) >= least and total > room:
            break
        taken.append(place)
    return taken


def asked_of(
    layout: str, words: Mapping[str, str], parts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The user's message by a template: `words` for its placeholders, and `parts` where $document stands."""
    before, after = (Template(part).substitute(words) for part in layout.split("$document"))
    whole = [("prompt", before), *parts, ("prompt", after)]
    return message("user", *((kind, text) for kind, text in whole if text))


def under_headings(heading: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    """Parts of a message: texts, each below the template `heading` with its $number on a line of its own."""
    parts: list[tuple[str, str]] = []
    for number, text in enumerate(texts, 1):
        title = Template(heading).substitute(number=number)
        parts.append(("prompt", f"\n\n{title}\n" if number > 1 else f"{title}\n"))
        parts.append(("document", text.strip()))
    return parts


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
