"""Tokenised sequences in MDS shards."""

from typing import Literal

from selflong.recipe.section import Positive, Section


class HubTokens(Section):
    """Already tokenised sequences in MDS shards on the hub (ProLong)."""

    kind: Literal["mds"]
    repository: str
    revision: str
    files: str
    tokenizer: str
    """Model whose tokenizer made them; another one is refused."""
    rows: Positive
    tokens: Positive
