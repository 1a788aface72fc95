"""Every kind of suite: to add one is a folder and a line in NAMES (`kinds.py` says what the folder holds)."""

import importlib
from typing import get_args

from selflong.suites.section import SuiteSection

NAMES = (
    "ruler",
    "published_ruler",
    "needle_grid",
    "output_length",
    "lm_eval",
    "helmet",
    "recall",
    "counterfactual",
    "mrcr",
    "graphwalks",
    "longbench_v2",
    "shared_haystack",
    "perplexity",
)


def section_of(name: str) -> type[SuiteSection]:
    """The class of a kind's settings."""
    module = importlib.import_module(f"{__package__}.{name}.section")
    (section,) = (
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, SuiteSection)
        and get_args(found.model_fields["kind"].annotation) == (name,)
    )
    return section
