"""Sources of documents: a kind is a file here and a line below."""

from typing import Annotated

from pydantic import Field

from selflong.sources.documents.folder import FolderDocuments
from selflong.sources.documents.hub import HubDocuments
from selflong.sources.documents.package import PackageDocuments

DocumentSource = Annotated[
    PackageDocuments | HubDocuments | FolderDocuments, Field(discriminator="kind")
]
