"""Tokenizers and sources for the tests of RULER."""

from pathlib import Path

import pytest

from benchmarks.ruler import train_tokenizer
from selflong.suites.ruler.generator import Sources
from selflong.suites.ruler.generator.sources import load_questions
from selflong.tokens import Tokenizer, load_tokenizer


@pytest.fixture(scope="session")
def texts(sources: Sources) -> list[str]:
    """Text to train small tokenizers on."""
    return list(load_questions(sources.squad).documents)


@pytest.fixture(scope="session")
def llama_3_like(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Llama 3's pre-tokenizer, chat template and BOS over 4,000 entries."""
    folder = tmp_path_factory.mktemp("llama_3_like")
    train_tokenizer(folder, texts, entries=4000)
    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def without_bos(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without BOS: the reference counts none."""
    folder = tmp_path_factory.mktemp("without_bos")
    train_tokenizer(folder, texts, entries=4000, bos=False)
    return folder


@pytest.fixture(scope="session", params=["llama_3_like", "smollm2_tokenizer"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """Tokenizers of two kinds: digits by threes and one by one, with a BOS of their own and without."""
    return request.getfixturevalue(request.param)
