"""RULER (arXiv 2404.06654) to a million tokens and more: every sample exact by the tokenizer."""

from selflong.suites.ruler.generator.generate import (
    RulerSample,
    generate_samples,
    generate_shared,
)
from selflong.suites.ruler.generator.sources import Sources, packaged_sources, suite_sources

__all__ = [
    "RulerSample",
    "Sources",
    "generate_samples",
    "generate_shared",
    "packaged_sources",
    "suite_sources",
]
