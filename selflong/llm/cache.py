"""A durable store of answers on disk, written by many processes at once, read by any.

The folder holds append-only segments. Each process writes to a segment of its own, which it creates with
its first answer, and nothing is ever changed in place: no lock is needed, and network file systems, on
which SQLite's write-ahead log is unsafe, are fine. One record is one `write`:

    magic, payload bytes, CRC-32, key (SHA-256), prompt tokens, completion tokens | payload (JSON)

A killed process leaves at most one torn record, at the end of its segment. The checksum is compared when a
segment is opened and again when an answer is read; a record that does not bear it out is as if it had never
been written, and those behind it are found by their magic.
"""

import errno
import json
import logging
import mmap
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
_SEGMENTS = "[0-9][0-9][0-9][0-9][0-9][0-9].segment"
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


class _Damaged(Exception):
    """A record that is not what was written."""


def _decode(record: bytes, key: bytes) -> Answer | Refusal:
    """The result in a whole record; raises _Damaged unless it is that of `key`."""
    if _checked(record) is None or HEADER.unpack_from(record)[3] != key:
        raise _Damaged
    try:
        fields: dict[str, Any] = json.loads(record[HEADER.size :])
        kind = {"Answer": Answer, "Refusal": Refusal}[fields.pop("kind")]
        if fields.get("token_ids") is not None:
            fields["token_ids"] = tuple(fields["token_ids"])
        result = kind(**fields)
        (result.text if isinstance(result, Answer) else result.reason).encode()
    # Earlier versions stored whatever a server sent: lists, and halves of characters.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _Damaged from error
    return result


def _checked(data: "bytes | mmap.mmap", offset: int = 0) -> int | None:
    """Length of the record at `offset`; None where there is no whole one."""
    if offset + HEADER.size > len(data):
        return None
    magic, length, checksum = HEADER.unpack_from(data, offset)[:3]
    end = offset + HEADER.size + length
    if magic != MAGIC or end > len(data):
        return None
    if zlib.crc32(data[offset + _CHECKED : end]) != checksum:
        return None
    return end - offset


def _records(segment: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Offset, key, prompt and completion tokens of each whole record of an open segment."""
    size = os.fstat(segment).st_size
    if size == 0:
        return
    with mmap.mmap(segment, size, access=mmap.ACCESS_READ) as data:
        offset = damaged = 0
        while offset >= 0:
            length = _checked(data, offset)
            if length is None:
                behind = data.find(MAGIC, offset + 1)
                damaged += (behind if behind >= 0 else size) - offset
                offset = behind
                continue
            yield offset, *HEADER.unpack_from(data, offset)[3:]
            offset = offset + length if offset + length < size else -1
    if damaged:
        logger.warning("the cache holds %d bytes of torn or damaged records: left out", damaged)


class Cache:
    """Answers and refusals by request key; `with Cache(folder) as cache:`.

    What stood in the folder when it was opened and what this process stores is seen; answers that other
    processes store meanwhile are seen at the next opening. Memory: about 200 bytes an answer.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: list[int] = []  # file descriptors
        self._locations: dict[bytes, int] = {}
        self._later: dict[bytes, list[int]] = {}  # other records of a key
        self._own: int | None = None
        self._end = 0
        self._unsynced = False
        self.prompt_tokens = 0
        """Of all stored answers, so that a budget outlives a restart."""
        self.completion_tokens = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in sorted(folder.glob(_SEGMENTS)):
                segment = os.open(name, os.O_RDONLY)
                self._segments.append(segment)
                for offset, key, prompt, completion in _records(segment):
                    self._note(key, len(self._segments) - 1, offset, prompt, completion)
        except OSError as error:
            self.close()
            raise self._unusable("read", error) from error

    def _unusable(self, act: str, error: OSError) -> UserError:
        return UserError(
            f"the cache {self.folder} cannot be {act} ({error.strerror or error}): make room or "
            "grant the rights it takes, and start again"
        )

    def _note(self, key: bytes, segment: int, offset: int, prompt: int, completion: int) -> None:
        # The first record of a key stands: segments sort by name, so every process reads the same one.
        location = segment << _OFFSET_BITS | offset
        if key in self._locations:
            self._later.setdefault(key, []).append(location)
        else:
            self._locations[key] = location
        self.prompt_tokens += prompt
        self.completion_tokens += completion

    @property
    def has_answers(self) -> bool:
        """Whether anything was ever answered; a refusal is no answer."""
        return self.prompt_tokens + self.completion_tokens > 0

    def __len__(self) -> int:
        return len(self._locations)

    def __contains__(self, key: bytes) -> bool:
        return key in self._locations

    def get(self, key: bytes) -> Answer | Refusal | None:
        """What is stored under `key` (32 bytes)."""
        while (location := self._locations.get(key)) is not None:
            try:
                return _decode(self._read(location), key)
            except _Damaged:
                logger.warning("a stored answer to %s is damaged and left out", key.hex())
                if later := self._later.get(key):
                    self._locations[key] = later.pop(0)
                else:
                    del self._locations[key]
        return None

    def _read(self, location: int) -> bytes:
        segment = self._segments[location >> _OFFSET_BITS]
        offset = location & ((1 << _OFFSET_BITS) - 1)
        header = os.pread(segment, HEADER.size, offset)
        length = HEADER.unpack(header)[1] if len(header) == HEADER.size else 0
        return header + os.pread(segment, length, offset + HEADER.size)

    def put(self, key: bytes, result: Answer | Refusal) -> None:
        """Store at once: the record survives the death of this process from here on."""
        record = _encode(key, result)
        try:
            if self._own is None:
                self._own = self._new_segment()
            written = os.write(self._own, record)
            if written != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if self._own is not None:
                os.ftruncate(self._own, self._end)
            raise self._unusable("written", error) from error
        tokens = HEADER.unpack_from(record)[4:]
        self._note(key, len(self._segments) - 1, self._end, *tokens)
        self._end += len(record)
        self._unsynced = True

    def _new_segment(self) -> int:
        number = 1 + max((int(segment.stem) for segment in self.folder.glob(_SEGMENTS)), default=0)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        while True:
            try:
                segment = os.open(self.folder / f"{number:06}.segment", flags, 0o644)
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
        self._later.clear()
        self._own = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
