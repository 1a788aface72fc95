"""Documents of a dataset on the Hugging Face hub."""

from typing import Literal

from selflong.recipe.section import Positive, Section


class HubDocuments(Section):
    """Parquet files of a dataset on the Hugging Face hub, with FineWeb-Edu's columns."""

    kind: Literal["hub"]
    repository: str
    revision: str
    files: str
    """Glob inside the repository."""
    rows: Positive
    """Published number of rows: what the plan counts with before anything is downloaded."""
    tokens: Positive
    bytes: Positive
