"""Fixtures that several packages' tests share."""

import signal
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.suites.ruler.generator import Sources, packaged_sources
from selflong.tokens import Tokenizer, load_tokenizer
from tests.checkpoints import write_checkpoint, write_tokenizer

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture(scope="session")
def smollm2_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct's tokenizer, read from the GGUF file of an installed package."""
    folder = tmp_path_factory.mktemp("smollm2_tokenizer")
    write_tokenizer(folder)
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
    write_checkpoint(smollm2_tokenizer_folder, folder)
    return folder


@pytest.fixture(scope="session")
def sources() -> Sources:
    """RULER's packaged data."""
    return packaged_sources()


def pytest_collection_finish() -> None:
    """What is tested took Ctrl-C for itself where it was imported; pytest ends its tests by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest folder begins first; what takes minutes is skipped unless it is asked for."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    if "long" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="it takes minutes: make test-long"))


class FolderScheduling(LoadScopeScheduling):
    """One process runs a folder, whose tests share what they prepare."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    """What `-n` uses."""
    return FolderScheduling(config, log)
