"""Conversations that an installed Python package carries."""

from typing import Literal

from selflong.recipe.section import Section


class PackageConversations(Section):
    """Short conversations that an installed Python package carries."""

    kind: Literal["package"]
    reader: Literal["chatterbot"]
    licence: str
