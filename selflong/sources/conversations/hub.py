"""Conversations of a dataset on the hub."""

from typing import Literal

from selflong.recipe.section import Positive, Section


class HubConversations(Section):
    """Conversations of a dataset on the hub: OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["hub"]
    repository: str
    revision: str
    files: str
    column: Literal["messages", "conversations"]
    languages: list[str] | None = None
    rows: Positive
    tokens: Positive
    gated: bool = False
