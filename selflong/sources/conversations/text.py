"""Plain text of a dataset on the hub."""

from typing import Literal

from selflong.sources.conversations.section import HubRows
from selflong.sources.conversations.text_rows import TextRows


class HubText(HubRows, TextRows):
    """Documents of a dataset on the hub, to train on as they are."""

    kind: Literal["text"]
