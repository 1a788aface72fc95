"""Conversations of a dataset on the hub."""

from typing import Literal

from selflong.sources.conversations.records import RecordConversations
from selflong.sources.conversations.section import HubRows


class HubConversations(HubRows, RecordConversations):
    """Conversations of a dataset on the hub: OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["hub"]
    files: str
    column: Literal["messages", "conversations"]
    languages: list[str] | None = None
    """Rows of others are left out; null: all stay."""

    @property
    def wanted_languages(self) -> list[str] | None:
        return self.languages
