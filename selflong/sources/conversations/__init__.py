"""Sources of conversations: a kind is a file here and a line below."""

from typing import Annotated

from pydantic import Field

from selflong.sources.conversations.folder import FolderConversations
from selflong.sources.conversations.hub import HubConversations
from selflong.sources.conversations.mds import HubTokens
from selflong.sources.conversations.package import PackageConversations
from selflong.sources.conversations.synthesised import SynthesisedSamples

ConversationSource = Annotated[
    SynthesisedSamples | PackageConversations | HubConversations | HubTokens | FolderConversations,
    Field(discriminator="kind"),
]
