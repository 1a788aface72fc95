"""HELMET's settings."""

from typing import Annotated, Literal

from pydantic import Field

from selflong.suites.section import LengthsSection


class Helmet(LengthsSection):
    """HELMET (arXiv 2410.02694), run in a checkout of its repository that the site names.

    Its lengths are those of the configs' `input_max_length` whose results are read.
    """

    kind: Literal["helmet"]
    configs: list[str] = Field(min_length=1)
    """Files in the checkout, such as configs/recall.yaml."""
    tasks: dict[str, Annotated[str, Field(pattern=r"^\S+ \S+$")]] = Field(min_length=1)
    """Name in the table -> dataset and metric, as in `json_kv substring_exact_match`."""
