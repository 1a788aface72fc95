"""What comes from outside or from another stage, mutated: refused with the file's name, or read."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from selflong.corpus.stretches import collect, read, stretches
from selflong.formats import (
    DOCUMENTS,
    EMBEDDING_IDS,
    PackedFiles,
    read_lines,
    table,
    write_parquet,
)
from selflong.hub import damaged_files, recorded
from selflong.integrity import beside, file_digest
from selflong.job import UserError
from selflong.llm import Answer, Cache
from selflong.llm.batches import _read_journal
from selflong.llm.serve import checkpoint_context
from selflong.placement.shapes import read_shape
from selflong.recipe.loading import parse
from selflong.recipe.retrieval import Encoder
from selflong.retrieval.encode import EMBEDDINGS, IDS
from selflong.retrieval.index import DESCRIPTION, Vectors, build_index, open_index
from selflong.sources.conversations.folder import FolderConversations
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.documents.folder import FolderDocuments
from selflong.suites.lm_eval.harness import _checked_answers
from selflong.suites.stored_rows import json_rows, parquet_rows
from selflong.training.batches import PackedData
from selflong.training.checkpoint import INDEX, MOMENTS, open_state, read_state
from selflong.training.weights import check_weights
from tests.damage import mutated
from tests.training.jobs import write_packed

MDS = Path(__file__).parent / "sources" / "conversations" / "mds" / "book-1024"
DRAWN = 60

Write = Callable[[Path], Path]
Read = Callable[[Path], object]


def conversations(folder: Path) -> object:
    content = {"kind": "folder", "path": str(folder), "files": "rows.*"}
    source = parse(FolderConversations, content, "recipe")
    files = source.input_files([folder])
    return [row for chunk in source.chunks(files) for row in source.read("entry", chunk)]


def documents(folder: Path) -> object:
    content = {"kind": "folder", "path": str(folder), "files": "rows.*"}
    collect(parse(FolderDocuments, content, "recipe"), folder / "collected", "HF_TOKEN")
    found = stretches([folder / "collected" / "source.json"], 0, 1)
    return [frame for stretch in found for frame in read(stretch, list(DOCUMENTS))]


def write_chats_parquet(folder: Path) -> Path:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]
    pl.DataFrame({"messages": [turns] * 30}).write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def write_chats_lines(folder: Path) -> Path:
    turns = [{"role": "user", "content": "Hi é"}, {"role": "assistant", "content": "Hello"}]
    path = folder / "rows.jsonl"
    path.write_text((json.dumps({"messages": turns}) + "\n") * 10)
    return path


def write_documents_parquet(folder: Path) -> Path:
    rows = [{"id": f"d{number}", "text": f"text {number}"} for number in range(30)]
    write_parquet(table(rows, DOCUMENTS), folder / "rows.parquet", DOCUMENTS)
    return folder / "rows.parquet"


def write_documents_lines(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(n), "text": "é \ud83d x"}) + "\n" for n in range(9))
    )
    return path


def write_mds(name: str) -> Write:
    def write(folder: Path) -> Path:
        for path in MDS.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return folder / name

    return write


def mds(folder: Path) -> object:
    found = MdsFolder(folder)
    return [found[row] for row in range(min(len(found), 200))]


def write_record(folder: Path) -> Path:
    path = folder / ".download.json"
    about = {"repository": "o/n", "kind": "model", "revision": "main", "commit": "0" * 40}
    path.write_text(json.dumps({**about, "files": {"a": {"bytes": 1, "git_blob": "0" * 40}}}))
    return path


def record(folder: Path) -> object:
    return [recorded(folder), list(damaged_files(folder))]


def write_weights(folder: Path) -> Path:
    save_file({"a": np.ones(3), "b": np.zeros((2, 2))}, folder / "model.safetensors")
    return folder / "model.safetensors"


def write_weights_index(folder: Path) -> Path:
    write_weights(folder)
    places = {"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}
    (folder / INDEX).write_text(json.dumps(places))
    return folder / INDEX


def write_state(name: str) -> Write:
    def write(folder: Path) -> Path:
        state = {"progress": {"step": 3}, "optimizer_step": 3.0, "files": {"a": 0, "b": 0}}
        (folder / "state.json").write_text(json.dumps(state))
        parts = [f"{part}/{of}" for part in ("weight", *MOMENTS) for of in "ab"]
        save_file(dict.fromkeys(parts, np.ones(2)), folder / "rank-00000.safetensors")
        return folder / name

    return write


def state(folder: Path) -> object:
    files = read_state(folder)["files"]
    return [open_state(folder, owner, [name]).keys() for name, owner in files.items()]


def write_configuration(folder: Path) -> Path:
    sizes = ("num_attention_heads", "hidden_size", "num_hidden_layers", "intermediate_size")
    content = {**dict.fromkeys(sizes, 8), "vocab_size": 9, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(content))
    return folder / "config.json"


def write_benchmark_parquet(folder: Path) -> Path:
    pl.DataFrame({"prompt": [f"p{number}" for number in range(30)]}).write_parquet(
        folder / "a.parquet"
    )
    return folder / "a.parquet"


def write_benchmark_json(folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps([{"prompt": "one"}, {"prompt": "two"}]))
    return folder / "a.json"


ANSWERS = {bytes([number]) * 32: f"answer {number}" for number in range(3)}


def write_segment(folder: Path) -> Path:
    with Cache(folder) as cache:
        for key, text in ANSWERS.items():
            cache.put(key, Answer(key.hex(), text, 1, 2, "stop"))
    return folder / "000001.segment"


def segment(folder: Path) -> None:
    """Nothing is refused: what is damaged is asked again."""
    with Cache(folder) as cache:
        for key, text in ANSWERS.items():
            found = cache.get(key)
            assert found is None or found == Answer(key.hex(), text, 1, 2, "stop")


def write_journal(folder: Path) -> Path:
    content = {"path": "/v1/chat/completions", "requests": ["a", "b"], "id": "batch_1"}
    (folder / "1.json").write_text(json.dumps(content))
    return folder / "1.json"


def write_shard(folder: Path, vectors: np.ndarray, ids: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    np.save(folder / EMBEDDINGS, vectors)
    rows = [{"id": name} for name in ids]
    write_parquet(table(rows, EMBEDDING_IDS), folder / IDS, EMBEDDING_IDS)


def write_embeddings(name: str) -> Write:
    def write(folder: Path) -> Path:
        vectors = np.eye(16, 8, dtype=np.float16)
        write_shard(folder / "shard", vectors, [f"d{row}" for row in range(len(vectors))])
        return folder / "shard" / name

    return write


def embeddings(folder: Path) -> object:
    vectors = Vectors([folder / "shard"])
    return vectors.rows(0, len(vectors))


def write_index(name: str, factory: str) -> Write:
    def write(folder: Path) -> Path:
        write_embeddings(EMBEDDINGS)(folder)
        content = {
            "weights": "package:none", "dimensions": 8, "maximum_tokens": 8, "index": factory, "probes": 1,
        }  # fmt: skip
        build_index(
            shards=[folder / "shard"], encoder=parse(Encoder, content, "recipe"),
            output=folder / "index", work=folder / "work",
        )  # fmt: skip
        return folder / "index" / name

    return write


def index(folder: Path) -> object:
    searcher, _ = open_index(folder / "index")
    return searcher.search(np.ones((1, 8), dtype=np.float32), 2)


def write_counted(folder: Path) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss": 1.5}) + "\n" for step in range(5)))
    return path


def write_answers(folder: Path) -> Path:
    path = folder / "answers.db"
    with _checked_answers(folder), closing(sqlite3.connect(path)) as database:
        database.execute("create table answers (key text, value blob)")
        database.execute("insert into answers values ('a', 'b')")
        database.commit()
    return path


def harness_answers(folder: Path) -> None:
    """Nothing is refused: what is damaged is asked again."""
    path, whole = folder / "answers.db", folder / "whole"
    if not whole.exists():
        whole.write_bytes(path.read_bytes())
    beside(path).write_text(json.dumps({path.name: file_digest(whole)}))
    with _checked_answers(folder):
        assert not path.exists() or path.read_bytes() == whole.read_bytes()


FORMATS: dict[str, tuple[Write, Read]] = {
    "weights": (write_weights, check_weights),
    "the index of weights": (write_weights_index, check_weights),
    "the state of a stage": (write_state("state.json"), state),
    "the tensors of a state": (write_state("rank-00000.safetensors"), state),
    "a model's shape": (write_configuration, read_shape),
    "a model's context": (write_configuration, checkpoint_context),
    "a benchmark in parquet": (
        write_benchmark_parquet,
        lambda folder: list(parquet_rows(folder, ["prompt"])),
    ),
    "a benchmark in JSON": (
        write_benchmark_json,
        lambda folder: list(json_rows(folder / "a.json", ["prompt"])),
    ),
    "stored answers": (write_segment, segment),
    "the journal of batches": (
        write_journal,
        lambda folder: _read_journal(folder / "1.json"),
    ),
    "answers of a harness": (write_answers, harness_answers),
    "embeddings": (write_embeddings(EMBEDDINGS), embeddings),
    "ids of embeddings": (write_embeddings(IDS), embeddings),
    "the description of an index": (write_index(DESCRIPTION, "SQ8"), index),
    "what a stage counted": (write_counted, lambda folder: read_lines(folder / "metrics.jsonl")),
    "conversations in parquet": (write_chats_parquet, conversations),
    "conversations in lines": (write_chats_lines, conversations),
    "documents in parquet": (write_documents_parquet, documents),
    "documents in lines": (write_documents_lines, documents),
    "an index of MDS": (write_mds("index.json"), mds),
    "a shard of MDS": (write_mds("shard.00000.mds"), mds),
    "the record of a download": (write_record, record),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_file_is_refused_by_its_name_or_read(tmp_path: Path, name: str) -> None:
    write, read_whole = FORMATS[name]
    path = write(tmp_path)
    whole = path.read_bytes()
    read_whole(tmp_path)
    rng = random.Random(name)
    for number in range(DRAWN):
        path.write_bytes(mutated(whole, rng))
        try:
            read_whole(tmp_path)
        except UserError as mistake:
            assert str(tmp_path) in str(mistake), (number, str(mistake))
            assert "\n" not in str(mistake)


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required")
def test_a_mutated_packed_folder_is_refused_by_its_name_or_read(tmp_path: Path) -> None:
    write_packed(tmp_path / "packed", 64, 5)
    rng = random.Random(1)
    for file in (PackedFiles.INPUT_IDS, PackedFiles.ROLES, PackedFiles.SEQUENCES):
        path = tmp_path / "packed" / file
        whole = path.read_bytes()
        for number in range(DRAWN // 2):
            path.write_bytes(mutated(whole, rng))
            try:
                PackedData(tmp_path / "packed")
            except UserError as mistake:
                assert str(tmp_path) in str(mistake), (file, number, str(mistake))
        path.write_bytes(whole)
