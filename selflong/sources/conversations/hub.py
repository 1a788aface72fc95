"""Conversations of a dataset on the hub."""

from typing import Literal

from selflong.recipe.section import Download, Positive, Repository, Revision
from selflong.sources.conversations.records import RecordConversations
from selflong.sources.conversations.section import Size
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION


class HubConversations(RecordConversations):
    """Conversations of a dataset on the hub: OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision
    files: str
    column: Literal["messages", "conversations"]
    languages: list[str] | None = None
    rows: Positive
    tokens: Positive
    gated: bool = False

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, self.files)

    @property
    def wanted_languages(self) -> list[str] | None:
        return self.languages

    @property
    def download_bytes(self) -> float:
        return self.tokens * BYTES_PER_TOKEN * COMPRESSION

    def size(self) -> Size:
        return Size(self.rows, self.tokens)
