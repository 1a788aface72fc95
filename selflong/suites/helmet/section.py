"""HELMET's settings."""

from typing import Annotated, Literal

from pydantic import Field

from selflong.recipe.section import Positive, Section


class Helmet(Section):
    """HELMET (arXiv 2410.02694), run in a checkout of its repository that the site names."""

    kind: Literal["helmet"]
    models: list[str] = Field(min_length=1)
    configs: list[str] = Field(min_length=1)
    """Files in the checkout, such as configs/recall.yaml."""
    tasks: dict[str, Annotated[str, Field(pattern=r"^\S+ \S+$")]] = Field(min_length=1)
    """Name in the table -> dataset and metric, as in `json_kv substring_exact_match`."""
    lengths: list[Positive] = Field(min_length=1)
    """Of the configs' `input_max_length`: those whose results are read."""
