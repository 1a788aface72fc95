"""Files from outside or from another stage, mutated: refused with the file's name, or read."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from selflong.corpus.stretches import collect, read, stretches
from selflong.formats import DOCUMENTS, PackedFiles, table, write_parquet
from selflong.hub import recorded
from selflong.job import UserError
from selflong.recipe.loading import parse
from selflong.sources.conversations.folder import FolderConversations
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.documents.folder import FolderDocuments
from selflong.training.batches import PackedData
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
    path.write_text(json.dumps({"commit": "0" * 40, "files": {"a": {"bytes": 1}}}))
    return path


FORMATS: dict[str, tuple[Write, Read]] = {
    "conversations in parquet": (write_chats_parquet, conversations),
    "conversations in lines": (write_chats_lines, conversations),
    "documents in parquet": (write_documents_parquet, documents),
    "documents in lines": (write_documents_lines, documents),
    "an index of MDS": (write_mds("index.json"), mds),
    "a shard of MDS": (write_mds("shard.00000.mds"), mds),
    "the record of a download": (write_record, recorded),
}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, taken out, put in or doubled; or the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(changed)) if changed else 0
        kind = rng.randrange(5)
        if kind == 0 and changed:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + rng.randrange(1, 20)]
        elif kind == 2:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 3:
            changed[place:place] = changed[place : place + 30]
        else:
            del changed[place:]
    return bytes(changed)


TOKENS = [
    *(b"-1", b"null", b"{", b"[", b"]", b'"', b"\x00", b"\xff\xfe", b"1e999", b"NaN", b"9" * 5000),
    *(b"../", b"\n", b"\xed\xa0\xbd", b"[" * 3000, b'{"a":1}', b"\\ud83d", b"\xff\xff\xff\xff"),
]


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
