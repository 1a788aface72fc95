"""Rows as tokens with a role each, and how many of them the loss counts."""

from dataclasses import dataclass

import numpy as np

from selflong.formats import TokenRole
from selflong.job import UserError
from selflong.mixture.duplicates import compared_text
from selflong.recipe.mixture import MixtureEntry
from selflong.sources.conversations.rows import Conversation, Rejected, Row, Sequence
from selflong.tokens import CannotRender, Rendered, Tokenizer

_RESPONSE = (TokenRole.RESPONSE, TokenRole.END)


@dataclass(frozen=True)
class Prepared:
    """A row that can be trained on."""

    sample_id: str
    kind: str
    rendered: Rendered
    compared: str
    """Text that duplicates are found by."""
    whole: str
    """Text that the overlap with the evaluation is found by."""


def render(row: Row, entry: MixtureEntry, tokenizer: Tokenizer) -> Prepared | Rejected:
    """A row as tokens, or the reason why the entry's filters or the chat template leave it out."""
    if isinstance(row, Rejected):
        return row
    prepared = (
        _sequence(row, tokenizer)
        if isinstance(row, Sequence)
        else _conversation(row, entry, tokenizer)
    )
    if (
        isinstance(prepared, Prepared)
        and entry.maximum_tokens is not None
        and len(prepared.rendered.ids) > entry.maximum_tokens
    ):
        return Rejected(row.sample_id, prepared.kind, "too_long", len(prepared.rendered.ids))
    return prepared


def _conversation(
    row: Conversation, entry: MixtureEntry, tokenizer: Tokenizer
) -> Prepared | Rejected:
    turns = sum(message["role"] == "assistant" for message in row.messages)
    if turns < entry.minimum_turns:
        return Rejected(row.sample_id, row.kind, "too_few_turns")
    try:
        rendered = tokenizer.render(row.messages)
    except CannotRender:
        return Rejected(row.sample_id, row.kind, "template_refuses")
    if loss_tokens(row.kind, rendered.roles) == 0:
        return Rejected(row.sample_id, row.kind, "nothing_to_learn", len(rendered.ids))
    whole = "\n".join(part["text"] for message in row.messages for part in message["parts"])
    return Prepared(row.sample_id, row.kind, rendered, compared_text(row.messages), whole)


def _sequence(row: Sequence, tokenizer: Tokenizer) -> Prepared | Rejected:
    if row.ids.max() >= tokenizer.vocabulary_size:
        raise UserError(
            f"{row.sample_id} holds token {row.ids.max()}, but the tokenizer has "
            f"{tokenizer.vocabulary_size}: another one made these sequences; name its model in the recipe"
        )
    roles = np.full(len(row.ids), TokenRole.DOCUMENT, dtype=np.uint8)
    if row.targets is not None:
        roles[~row.targets] = TokenRole.PROMPT
    if loss_tokens("pretraining", roles) == 0:
        return Rejected(row.sample_id, "pretraining", "nothing_to_learn", len(row.ids))
    text = tokenizer.decode(row.ids)
    return Prepared(row.sample_id, "pretraining", Rendered(row.ids, roles), text, text)


def loss_tokens(kind: str, roles: np.ndarray) -> int:
    """How many tokens the default loss counts: all of a long sample, a short one's responses, and of plain
    text what its source does not mask.

    Never a sample's first token, which nothing predicts.
    """
    if kind == "short":
        return int(np.isin(roles[1:], _RESPONSE).sum())
    if kind == "pretraining":
        return int((roles[1:] != TokenRole.PROMPT).sum())
    return max(0, len(roles) - 1)
