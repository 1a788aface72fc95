"""Documents that an installed Python package carries."""

from typing import Literal

from selflong.recipe.section import Positive, Section


class PackageDocuments(Section):
    """Documents that an installed Python package carries; `reader` names the function that reads them."""

    kind: Literal["package"]
    reader: Literal["speeches", "countries", "encyclopedia", "documentation"]
    licence: str
    maximum_documents: Positive | None = None
