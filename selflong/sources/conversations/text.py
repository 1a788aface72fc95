"""Plain text of a dataset on the hub."""

from typing import Literal

from selflong.recipe.section import Download, Positive, Repository, Revision
from selflong.sources.conversations.section import Size
from selflong.sources.conversations.text_rows import TextRows
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION


class HubText(TextRows):
    """Documents of a dataset on the hub, to train on as they are."""

    kind: Literal["text"]
    repository: Repository
    revision: Revision
    rows: Positive
    tokens: Positive
    gated: bool = False

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, self.files)

    @property
    def download_bytes(self) -> float:
        return self.tokens * BYTES_PER_TOKEN * COMPRESSION

    def size(self) -> Size:
        return Size(self.rows, self.tokens)
