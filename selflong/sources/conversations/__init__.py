"""Sources of conversations: a kind is a file here and a line below."""

from typing import Annotated

from pydantic import Field

from selflong.sources.conversations.corpus import CorpusDocuments
from selflong.sources.conversations.folder import FolderConversations
from selflong.sources.conversations.hub import HubConversations
from selflong.sources.conversations.mds import HubTokens
from selflong.sources.conversations.mds_folder import FolderTokens
from selflong.sources.conversations.package import PackageConversations
from selflong.sources.conversations.recall import RecallSequences
from selflong.sources.conversations.synthesised import SynthesisedSamples
from selflong.sources.conversations.text import HubText
from selflong.sources.conversations.text_folder import FolderText

ConversationSource = Annotated[
    SynthesisedSamples
    | PackageConversations
    | HubConversations
    | FolderConversations
    | HubTokens
    | FolderTokens
    | HubText
    | FolderText
    | CorpusDocuments
    | RecallSequences,
    Field(discriminator="kind"),
]
