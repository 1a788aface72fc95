"""Samples that the synthesis made."""

from typing import Literal

from selflong.recipe.section import Section


class SynthesisedSamples(Section):
    """What `synthesis` made with one generator."""

    kind: Literal["synthesised"]
    generator: str
    samples: Literal["long_input", "long_output"]
