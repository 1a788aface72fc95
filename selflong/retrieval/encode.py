"""Embed documents and queries with a sentence-transformers model.

A shard's documents are embedded in batches of like length, longest first, and stored in the documents' own
order. Each finished batch is noted in a work folder, so a job that was killed goes on behind its last batch.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from selflong.formats import (
    EMBEDDING_IDS,
    digest,
    new_array,
    publish,
    remove,
    write_json,
    write_parquet,
)
from selflong.job import UserError, sole_owner
from selflong.packages import find_encoder
from selflong.progress import Progress
from selflong.recipe.retrieval import Encoder
from selflong.recipe.weights import FolderWeights
from selflong.recipe.wording import shown

# It loads scikit-learn and datasets, which takes seconds; an index is built and searched without it.
if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


EMBEDDINGS = "embeddings.npy"
IDS = "ids.parquet"

READ_ROWS = 1024
POOLING_MODES = {"mean": "mean", "last_token": "lasttoken"}

# Of a book only the first page is tokenised: a text is cut at this many characters for each token that the
# encoder reads, and taken whole where the tokens then come near the cut.
CHARACTERS_PER_TOKEN = 16
CUT_MARGIN = 256  # characters


class TextEncoder:
    """A model on one device, with the recipe's prompts, length and pooling."""

    def __init__(self, encoder: Encoder, folder: Path | None, device: str) -> None:
        """`folder` holds a hub model that was downloaded; packages and folders are found without it."""
        self._encoder = encoder
        self._device = device
        self._model = _load(encoder, _model_folder(encoder, folder), device)
        self._tokenizer = self._model.tokenizer
        self._end = self._missing_end() if encoder.append_end_token else None
        self._check_length()
        dimensions = self._model.get_embedding_dimension()
        if dimensions != encoder.dimensions:
            raise UserError(
                f"the encoder's vectors have {dimensions} dimensions: "
                f"set `dimensions` of the encoder to that, not {encoder.dimensions}"
            )

    def _check_length(self) -> None:
        """UserError where the recipe asks for more tokens than the model has a table of positions for."""
        body = getattr(self._model[0], "auto_model", None)
        table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
        if table is None:
            return
        # RoBERTa's positions begin behind that of its padding.
        positions = table.num_embeddings - (
            0 if table.padding_idx is None else table.padding_idx + 1
        )
        if self._encoder.maximum_tokens > positions:
            raise UserError(
                f"the encoder reads {positions} tokens at most: set `maximum_tokens` of the encoder to that, "
                f"not {self._encoder.maximum_tokens}"
            )

    def _missing_end(self) -> int | None:
        """The token that closes a text, where the tokenizer does not write it by itself."""
        end: int = self._tokenizer.eos_token_id
        return None if self._tokenizer("text")["input_ids"][-1] == end else end

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[np.ndarray]:
        """uint32 ids of each text behind `prompt`, cut to the recipe's length, special tokens included."""
        whole = [prompt + text for text in texts]
        size = CHARACTERS_PER_TOKEN * self._encoder.maximum_tokens + CUT_MARGIN
        ids, reached = self._ids([text[:size] for text in whole])
        for index, text in enumerate(whole):
            was_cut = len(text) > size
            is_full = len(ids[index]) == self._encoder.maximum_tokens
            if was_cut and not (is_full and reached[index] < size - CUT_MARGIN):
                ids[index] = self._ids([text])[0][0]
        return ids

    def _ids(self, texts: list[str]) -> tuple[list[np.ndarray], list[int]]:
        """Ids of each text, and the character up to which they reach; control tokens of theirs are text."""
        limit = self._encoder.maximum_tokens - (self._end is not None)
        batch = self._tokenizer(
            texts, truncation=True, max_length=limit, split_special_tokens=True, verbose=False
        )
        closing = [] if self._end is None else [self._end]
        ids = [np.array(row + closing, dtype=np.uint32) for row in batch["input_ids"]]
        reached = [
            max((stop for _, stop in encoding.offsets), default=0) for encoding in batch.encodings
        ]
        return ids, reached

    @torch.inference_mode()
    def embed(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """float16 [texts, dimensions] of length one, for one batch of `tokenize`'s ids."""
        batch = self._tokenizer.pad(
            {"input_ids": [ids.tolist() for ids in tokens]}, return_tensors="pt", verbose=False
        )
        features = {name: value.to(self._device) for name, value in batch.items()}
        vectors = self._model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(vectors.float(), dim=1).half().cpu().numpy()


def _model_folder(encoder: Encoder, downloaded: Path | None) -> Path:
    if isinstance(encoder.weights, str):
        return find_encoder(encoder.weights.removeprefix("package:"))
    if isinstance(encoder.weights, FolderWeights):
        return encoder.weights.path
    if downloaded is None:
        raise ValueError("weights on the hub need the folder that they were downloaded to")
    return downloaded


def _load(encoder: Encoder, folder: Path, device: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    # Half precision on a GPU, as the models' cards do; CPUs have no fast half-precision products.
    options = {"dtype": torch.float32 if device == "cpu" else torch.float16}
    if encoder.pooling == "from_model":
        model = SentenceTransformer(
            str(folder), device=device, local_files_only=True, model_kwargs=options
        )
    else:
        body = Transformer(str(folder), model_kwargs={**options, "local_files_only": True})
        pooling = Pooling(
            body.get_embedding_dimension(), pooling_mode=POOLING_MODES[encoder.pooling]
        )
        model = SentenceTransformer(modules=[body, pooling], device=device)
    return model.eval()


# ---------------------------------------------------------------------------------------- queries


def encode_queries(
    queries: Sequence[str], encoder: Encoder, folder: Path | None, device: str, batch_size: int
) -> np.ndarray:
    """float16 [queries, dimensions] of length one, each query behind the recipe's query prompt."""
    text_encoder = TextEncoder(encoder, folder, devices(device)[0])
    tokens = text_encoder.tokenize(queries, encoder.query_prompt)
    vectors = np.empty((len(queries), encoder.dimensions), dtype=np.float16)
    for rows in _batches(np.array([len(ids) for ids in tokens]), batch_size):
        vectors[rows] = text_encoder.embed([tokens[row] for row in rows])
    for row in _without_direction(vectors):
        raise _no_vector(f"the query {shown(queries[row])}")
    return vectors


def _without_direction(vectors: np.ndarray) -> np.ndarray:
    """Rows of vectors that no search can compare: not finite, or zero."""
    lengths = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32)
    return np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))


def _no_vector(what: str) -> UserError:
    return UserError(
        f"the encoder gives no vector for {what}, but nan, infinity or zero: take it out, or take "
        "another encoder"
    )


def devices(device: str) -> list[str]:
    """Each GPU of the node for "cuda"; otherwise the device itself."""
    if device != "cuda":
        return [device]
    count = torch.cuda.device_count()
    if count == 0:
        raise UserError("config.yaml: encoding.device: is cuda, but this job sees no GPU")
    return [f"cuda:{index}" for index in range(count)]


def _batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows of each batch, longest first, so that what does not fit in memory fails at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


# -------------------------------------------------------------------------------------- documents


def encode_shard(
    *,
    documents: Path,
    encoder: Encoder,
    weights: Path | None = None,
    device: str,
    batch_size: int,
    output: Path,
    work: Path,
    threads: int = 1,
) -> None:
    """Write embeddings.npy (float16 [documents, dimensions], unit length) and ids.parquet to `output`.

    With device "cuda" all GPUs of the node share the shard. A job that is killed and started again with
    the same `work` folder goes on; at most the batches in flight, one on each device, are done again.
    weights: folder of what the hub gave. threads: of the CPU.
    """
    torch.set_num_threads(threads)
    with sole_owner(work):
        text_encoders = [TextEncoder(encoder, weights, name) for name in devices(device)]
        ids, tokens = _read(documents, text_encoders[0], encoder.document_prompt)
        done = _Done(work, ids, encoder, batch_size)
        batches = _batches(np.array([len(row) for row in tokens]), batch_size)
        waiting: SimpleQueue[int] = SimpleQueue()
        missing = done.missing(len(batches))
        for number in missing:
            waiting.put(number)
        before = len(ids) - sum(len(batches[number]) for number in missing)
        progress = Progress(documents.stem, "documents", len(ids), before)

        def embed_waiting(text_encoder: TextEncoder) -> None:
            for number in _drain(waiting):
                rows = batches[number]
                vectors = text_encoder.embed([tokens[row] for row in rows])
                for row in _without_direction(vectors):
                    raise _no_vector(f"the document {shown(ids[int(rows[row])])} of {documents}")
                done.store(number, rows, vectors)
                progress.advance(len(rows))

        # A thread for each device: a forward pass waits for its GPU without holding the interpreter.
        with ThreadPoolExecutor(len(text_encoders)) as pool:
            list(pool.map(embed_waiting, text_encoders))
        progress.close()
        done.finish(output)


def _read(
    documents: Path, text_encoder: TextEncoder, prompt: str
) -> tuple[pl.Series, list[np.ndarray]]:
    """Ids and tokens of a shard; its texts are read in small batches and not kept."""
    ids = [pl.Series("id", [], dtype=pl.String)]
    tokens: list[np.ndarray] = []
    rows = pl.scan_parquet(documents).select("id", "text")
    for batch in rows.collect_batches(chunk_size=READ_ROWS, maintain_order=True):
        ids.append(batch["id"])
        tokens.extend(text_encoder.tokenize(batch["text"].to_list(), prompt))
    return pl.concat(ids), tokens


def _drain(queue: SimpleQueue[int]) -> Iterator[int]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


class _Done:
    """What is embedded of a shard: vectors in a memory-mapped file, and the numbers of finished batches."""

    def __init__(self, work: Path, ids: pl.Series, encoder: Encoder, batch_size: int) -> None:
        self._ids = ids
        self._vectors_path = work / EMBEDDINGS
        self._journal_path = work / "batches"
        self._lock = Lock()
        key = digest(
            {"encoder": encoder.digest, "batch_size": batch_size, "ids": digest(ids.to_list())}
        )
        key_path = work / "key.json"
        if not key_path.exists() or json.loads(key_path.read_text(encoding="utf-8")) != key:
            remove(key_path)
            remove(self._journal_path)
            shape = (len(ids), encoder.dimensions)
            new_array(self._vectors_path, np.float16, shape)
            self._journal_path.touch()
            write_json(key, key_path)
        # An empty file cannot be mapped, and needs not be.
        self._vectors = np.load(self._vectors_path, mmap_mode="r+" if len(ids) > 0 else None)

    def missing(self, batches: int) -> list[int]:
        done = set(np.fromfile(self._journal_path, dtype=np.uint32).tolist())
        return [number for number in range(batches) if number not in done]

    def store(self, number: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        with self._lock:
            self._vectors[rows] = vectors
            self._vectors.flush()  # the vectors reach the disk before the note about them does
            with self._journal_path.open("ab") as journal:
                journal.write(np.uint32(number).tobytes())

    def finish(self, output: Path) -> None:
        with publish(output / EMBEDDINGS) as partial:
            shutil.copyfile(self._vectors_path, partial)
        write_parquet(pl.DataFrame({"id": self._ids}), output / IDS, EMBEDDING_IDS)
        for name in ("key.json", "batches", EMBEDDINGS):
            remove(self._vectors_path.with_name(name))
