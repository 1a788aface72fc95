"""Digests beside what a run makes, so that a damaged file is named before anything is made from it.

A file's digest stands beside it (`.<name>.xxh3`), those of a folder inside of it (`.xxh3`). They are of XXH3
(128 bits), which reads a file as fast as the disk gives it: they tell damage from what was written, not one
author from another.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import xxhash

from selflong.job import UserError

ENDING = ".xxh3"
CHEAP_BYTES = 1 << 30
"""What a job compares of its inputs before it begins, the smallest files first: a second or less."""
_BLOCK = 1 << 22


def file_digest(path: Path) -> str:
    """XXH3 of a file's bytes, 128 bits in hexadecimal."""
    found = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def beside(path: Path) -> Path:
    """Where the digest of a file stands."""
    return path.with_name(f".{path.name}{ENDING}")


def record_folder(folder: Path) -> None:
    """Write the digests of all files of a folder into it; a link is as good as what it leads to."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_record(path)]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    (folder / ENDING).write_text(json.dumps(digests, indent=1), encoding="utf-8")


def record_file(path: Path) -> None:
    """Write the digest of a file beside it."""
    beside(path).write_text(json.dumps({path.name: file_digest(path)}), encoding="utf-8")


def forget(path: Path) -> None:
    """Remove the digest of a file that is about to be another one."""
    beside(path).unlink(missing_ok=True)


def _is_record(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(ENDING)


def recorded(path: Path) -> dict[Path, str]:
    """File -> digest of what was recorded of a file or of a folder and what lies in it."""
    records = filter(_is_record, path.rglob(f"*{ENDING}")) if path.is_dir() else [beside(path)]
    return {
        file: digest
        for record in records
        for file, digest in _read(record).items()
        # Snakemake removes the output of a job that failed, and knows nothing of what stands beside it.
        if record.name == ENDING or file.is_file()
    }


def _read(record: Path) -> dict[Path, str]:
    if not record.is_file():
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {record.parent / name: str(digest) for name, digest in content.items()}
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{record} is damaged: remove it and what lies beside it, and start again"
        ) from None


def damaged(digests: dict[Path, str]) -> Iterator[str]:
    """A sentence for each file that is not what was recorded."""
    for path, digest in digests.items():
        if not path.is_file():
            yield f"{path} is gone since it was made: remove {path.parent}, and start again"
        elif file_digest(path) != digest:
            yield f"{path} is not what was made: its bytes have changed; remove it, and start again"


def check_inputs(paths: Iterable[Path]) -> None:
    """UserError where a file among a job's inputs was damaged, as far as CHEAP_BYTES go."""
    digests = {file: digest for path in paths for file, digest in recorded(path).items()}
    sizes = {file: file.stat().st_size if file.is_file() else 0 for file in digests}
    left = CHEAP_BYTES
    for file in sorted(digests, key=lambda file: (sizes[file], file)):
        left -= sizes[file]
        if left < 0:
            return
        for mistake in damaged({file: digests[file]}):
            raise UserError(mistake)
