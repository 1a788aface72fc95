"""Rows as tokens with a role each, and how many of them the loss counts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from selflong.formats import TokenRole
from selflong.job import UserError
from selflong.mixture.duplicates import compared_text
from selflong.recipe.mixture import MixtureEntry
from selflong.sources.conversations.rows import Conversation, Document, Rejected, Row, Sequence
from selflong.tokens import CannotRender, Rendered, Tokenizer

_SHORTEST_DOCUMENT = 2
_AROUND = 2
"""Tokens that begin and end a document."""
TOO_SHORT = "too_short"
"""Reason of what has fewer tokens than an entry's `minimum_tokens`."""


@dataclass(frozen=True)
class Prepared:
    """A row that can be trained on."""

    sample_id: str
    kind: str
    rendered: Rendered
    compared: Callable[[], str]
    """Text that duplicates are found by. It is made when it is asked for: of tokens it takes as long as all
    else."""
    whole: Callable[[], str]
    """Text that the overlap with the evaluation is found by."""
    documents: tuple[int, ...]
    """Tokens of each document in it."""


def render(row: Row, entry: MixtureEntry, tokenizer: Tokenizer | None) -> Prepared | Rejected:
    """A row as tokens, or the reason why the entry's filters or the chat template leave it out.

    Only rows of token ids need no tokenizer.
    """
    if isinstance(row, Rejected):
        return row
    if isinstance(row, Sequence):
        prepared = _sequence(row, tokenizer)
    elif tokenizer is None:
        raise UserError(f"{row.sample_id} is text, which needs a model with a tokenizer")
    elif isinstance(row, Document):
        prepared = _document(row, entry, tokenizer)
    else:
        prepared = _conversation(row, entry, tokenizer)
    if isinstance(prepared, Rejected):
        return prepared
    tokens = len(prepared.rendered.ids)
    if tokens < entry.minimum_tokens:
        return Rejected(row.sample_id, prepared.kind, TOO_SHORT, tokens)
    if entry.maximum_tokens is not None and tokens > entry.maximum_tokens:
        return Rejected(row.sample_id, prepared.kind, "too_long", tokens)
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
    return Prepared(
        row.sample_id, row.kind, rendered, partial(compared_text, row.messages), lambda: whole,
        (len(rendered.ids),),
    )  # fmt: skip


def _document(row: Document, entry: MixtureEntry, tokenizer: Tokenizer) -> Prepared | Rejected:
    """Text between the tokens that begin and end one, where the tokenizer has them."""
    if len(row.text.encode()) + _AROUND < entry.minimum_tokens:
        # No token has less than a byte: most of the web is known to be short before it is encoded.
        return Rejected(row.sample_id, "pretraining", TOO_SHORT)
    ids = [
        *([] if tokenizer.bos_id is None else [tokenizer.bos_id]),
        *tokenizer.encode(row.text),
        *([] if tokenizer.eos_id is None else [tokenizer.eos_id]),
    ]
    roles = np.full(len(ids), TokenRole.DOCUMENT, dtype=np.uint8)
    rendered = Rendered(np.array(ids, dtype=np.uint32), roles)
    return Prepared(
        row.sample_id, "pretraining", rendered, lambda: row.text, lambda: row.text, (len(ids),)
    )


def _sequence(row: Sequence, tokenizer: Tokenizer | None) -> Prepared | Rejected:
    """Tokens as they are, but for documents of a single one, which teach nothing."""
    if row.bounds is not None:
        row = _without_single_tokens(row)
    if len(row.ids) < _SHORTEST_DOCUMENT:
        return Rejected(row.sample_id, row.kind, "no_response")
    if tokenizer is not None and row.ids.max() >= tokenizer.vocabulary_size:
        raise UserError(
            f"{row.sample_id} holds token {row.ids.max()}, but the tokenizer has "
            f"{tokenizer.vocabulary_size}: another one made these sequences; name its model in the recipe"
        )
    learned = TokenRole.RESPONSE if row.kind == "short" else TokenRole.DOCUMENT
    roles = np.full(len(row.ids), learned, dtype=np.uint8)
    if row.targets is not None:
        roles[~row.targets] = TokenRole.PROMPT
    documents = (
        (len(row.ids),)
        if row.bounds is None
        else tuple(np.diff(row.bounds, axis=1).ravel().tolist())
    )
    if packed_loss_tokens(row.kind, roles, documents) == 0:
        return Rejected(row.sample_id, row.kind, "nothing_to_learn", len(row.ids))
    text = cache(partial(tokenizer.decode if tokenizer else _as_words, row.ids))
    return Prepared(row.sample_id, row.kind, Rendered(row.ids, roles), text, text, documents)


def _as_words(ids: np.ndarray) -> str:
    """What stands for the text of ids that have none."""
    return " ".join(map(str, ids.tolist()))


def _without_single_tokens(row: Sequence) -> Sequence:
    """The row's documents one after the other, what lies between them and single tokens left out."""
    assert row.bounds is not None
    bounds = row.bounds[np.diff(row.bounds, axis=1).ravel() >= _SHORTEST_DOCUMENT]
    sizes = np.diff(bounds, axis=1).ravel()
    ends = np.cumsum(sizes)
    if sizes.sum() == len(row.ids):
        return row
    kept = np.concatenate(
        [np.empty(0, np.int64), *(np.arange(start, end) for start, end in bounds)]
    )
    targets = None if row.targets is None else row.targets[kept]
    bounds = np.stack([ends - sizes, ends], axis=1)
    return replace(row, ids=row.ids[kept], targets=targets, bounds=bounds)


def packed_loss_tokens(kind: str, roles: np.ndarray, documents: tuple[int, ...]) -> int:
    """`loss_tokens` of packed documents of so many tokens each."""
    ends = np.cumsum(documents)
    return sum(
        loss_tokens(kind, roles[end - size : end])
        for size, end in zip(documents, ends.tolist(), strict=True)
    )


def loss_tokens(kind: str, roles: np.ndarray) -> int:
    """How many tokens the default loss counts: all of a long sample, a short one's responses, and of plain
    text what its source does not mask.

    Never a sample's first token, which nothing predicts.
    """
    return int(targets(kind, roles)[1:].sum())


def targets(kind: str, roles: np.ndarray) -> np.ndarray:
    """bool [tokens]: what the default loss counts where something predicts it."""
    if kind == "short":
        return (roles == TokenRole.RESPONSE) | (roles == TokenRole.END)
    if kind == "pretraining":
        return roles != TokenRole.PROMPT
    return np.ones(len(roles), dtype=bool)
