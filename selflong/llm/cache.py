"""A durable store of answers on disk, written by many processes at once, read by any.

The folder holds append-only segments. Each process writes to a segment of its own, which it creates with
its first answer, and nothing is ever changed in place: no lock is needed, and network file systems, on
which SQLite's write-ahead log is unsafe, are fine. One record is one `write`:

    magic, payload bytes, CRC-32, key (SHA-256), prompt tokens, completion tokens | payload (JSON)

A killed process leaves at most one torn record, at the end of its segment, which the checksum finds.
"""

import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from selflong.job import UserError
from selflong.llm.protocol import Answer, Refusal

logger = logging.getLogger(__name__)

HEADER = struct.Struct("<4sII32sII")
MAGIC = b"slr1"
_CHECKED = struct.calcsize("<4sII")  # the checksum covers what follows it
_OFFSET_BITS = 44  # of a location: segments of up to 16 TiB


def _encode(key: bytes, result: Answer | Refusal) -> bytes:
    # dataclasses.asdict copies deeply and takes as long as all the rest.
    content = {name: getattr(result, name) for name in type(result).__slots__}
    payload = json.dumps({"kind": type(result).__name__, **content}).encode()
    tokens = (
        (result.prompt_tokens, result.completion_tokens) if isinstance(result, Answer) else (0, 0)
    )
    record = bytearray(HEADER.pack(MAGIC, len(payload), 0, key, *tokens) + payload)
    struct.pack_into("<I", record, 8, zlib.crc32(memoryview(record)[_CHECKED:]))
    return bytes(record)


def _decode(payload: bytes) -> Answer | Refusal:
    fields: dict[str, Any] = json.loads(payload)
    if fields.pop("kind") == "Refusal":
        return Refusal(**fields)
    if fields["token_ids"] is not None:
        fields["token_ids"] = tuple(fields["token_ids"])
    return Answer(**fields)


def _records(segment: Path) -> Iterator[tuple[int, bytes, int, int]]:
    """Offset, key, prompt and completion tokens of each whole record."""
    size = segment.stat().st_size
    offset = 0
    with segment.open("rb", buffering=1 << 20) as stream:
        while len(header := stream.read(HEADER.size)) == HEADER.size:
            magic, length, checksum, key, prompt_tokens, completion_tokens = HEADER.unpack(header)
            if magic != MAGIC or offset + HEADER.size + length > size:
                break
            payload = stream.read(length)
            if zlib.crc32(payload, zlib.crc32(header[_CHECKED:])) == checksum:
                yield offset, key, prompt_tokens, completion_tokens
            else:
                logger.warning("%s: the record at byte %d is damaged and left out", segment, offset)
            offset += HEADER.size + length
    if offset < size:
        logger.info("%s: %d bytes of an unfinished record are left out", segment, size - offset)


class Cache:
    """Answers and refusals by request key; `with Cache(folder) as cache:`.

    What stood in the folder when it was opened and what this process stores is seen; answers that other
    processes store meanwhile are seen at the next opening. Memory: about 200 bytes an answer.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segments: list[int] = []  # file descriptors
        self._locations: dict[bytes, int] = {}
        self._own: int | None = None
        self._end = 0
        self._unsynced = False
        self.prompt_tokens = 0
        """Of all stored answers, so that a budget outlives a restart."""
        self.completion_tokens = 0
        for segment in sorted(folder.glob("*.segment")):
            self._segments.append(os.open(segment, os.O_RDONLY))
            for offset, key, prompt_tokens, completion_tokens in _records(segment):
                self._note(key, len(self._segments) - 1, offset, prompt_tokens, completion_tokens)

    def _note(self, key: bytes, segment: int, offset: int, prompt: int, completion: int) -> None:
        # The first record of a key stands: segments sort by name, so every process reads the same one.
        if key not in self._locations:
            self._locations[key] = segment << _OFFSET_BITS | offset
        self.prompt_tokens += prompt
        self.completion_tokens += completion

    def __len__(self) -> int:
        return len(self._locations)

    def __contains__(self, key: bytes) -> bool:
        return key in self._locations

    def get(self, key: bytes) -> Answer | Refusal | None:
        """What is stored under `key` (32 bytes)."""
        location = self._locations.get(key)
        if location is None:
            return None
        segment = self._segments[location >> _OFFSET_BITS]
        offset = location & ((1 << _OFFSET_BITS) - 1)
        length = HEADER.unpack(os.pread(segment, HEADER.size, offset))[1]
        return _decode(os.pread(segment, length, offset + HEADER.size))

    def put(self, key: bytes, result: Answer | Refusal) -> None:
        """Store at once: the record survives the death of this process from here on."""
        if self._own is None:
            self._own = self._new_segment()
        record = _encode(key, result)
        try:
            written = os.write(self._own, record)
            if written != len(record):
                raise OSError(f"only {written} of {len(record)} bytes were written")
        except OSError as error:
            os.ftruncate(self._own, self._end)  # records behind a torn one would be lost
            raise UserError(
                f"the cache {self._folder} cannot be written ({error}): make room and start again"
            ) from error
        tokens = HEADER.unpack_from(record)[4:]
        self._note(key, len(self._segments) - 1, self._end, *tokens)
        self._end += len(record)
        self._unsynced = True

    def _new_segment(self) -> int:
        number = 1 + max(
            (int(segment.stem) for segment in self._folder.glob("*.segment")), default=0
        )
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        while True:
            try:
                segment = os.open(self._folder / f"{number:06}.segment", flags, 0o644)
            except FileExistsError:  # another process was faster
                number += 1
                continue
            self._segments.append(segment)
            return segment

    def sync(self) -> None:
        """Bring what was stored to the disk, so that it survives a power cut too."""
        if self._unsynced and self._own is not None:
            self._unsynced = False
            os.fdatasync(self._own)

    def close(self) -> None:
        """Sync and close; the cache is not usable afterwards."""
        self.sync()
        for segment in self._segments:
            os.close(segment)
        self._segments.clear()
        self._locations.clear()
        self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
