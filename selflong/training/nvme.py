"""A node's own disk as the place of the optimizer's state (ZeRO-Infinity, arXiv 2104.07857).

DeepSpeed reads and writes it past the page cache, in whole kilobytes, through its extension async_io. It does
not ask how a write ended: what may fail is looked at before the first one.
"""

import mmap
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selflong.formats import remove
from selflong.job import UserError, check_writable
from selflong.placement.memory import GRADIENT_BYTES, OPTIMIZER_BYTES

BLOCK = 1024
"""Bytes of which DeepSpeed writes whole ones alone."""


@contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """A job's folder on this node's disk, empty whatever a killed start left, and removed at the end.

    UserError where the disk is not there or cannot be used.
    """
    disk = folder.parent
    if not disk.is_dir():
        raise UserError(
            f"training.offload_nvme: {disk} is no folder of node {socket.gethostname()}; name one on a disk "
            "that every node has"
        )
    remove(folder)
    try:
        check_writable(folder)
        _check_direct(folder / "probe")
        yield folder
    finally:
        remove(folder)


def _check_direct(probe: Path) -> None:
    file = os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600)
    os.close(file)
    try:
        file = os.open(probe, os.O_WRONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, BLOCK) as block:  # whose address is that of a page
                os.write(file, block)
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(
            f"training.offload_nvme: {probe.parent.parent} of node {socket.gethostname()} takes no direct "
            f"writes of {BLOCK} bytes ({os.strerror(error.errno or 0)}); name a folder on another disk"
        ) from None
    finally:
        probe.unlink()


def check_space(folder: Path, parameters: float) -> None:
    """UserError where the disk does not hold float32 weights, moments and gradients of so many parameters."""
    disk = os.statvfs(folder)
    free, needed = disk.f_bavail * disk.f_frsize, (OPTIMIZER_BYTES + GRADIENT_BYTES) * parameters
    if free < needed:
        raise UserError(
            f"training.offload_nvme: {folder.parent} of node {socket.gethostname()} has {free / 1e9:.1f} GB "
            f"free, and the state of its ranks takes {needed / 1e9:.1f} GB; free some, or take more nodes"
        )


def remove_locks(extensions: Path) -> None:
    """Let extensions be built whose build was killed: for its end torch would wait forever."""
    for lock in extensions.glob("*/lock"):
        remove(lock)


def missing_for_async_io(gpus: bool) -> str | None:
    """What keeps DeepSpeed's async_io from being built on this node, as is seen without building it."""
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from torch.utils.cpp_extension import CUDA_HOME

    if not AsyncIOBuilder().is_compatible():
        return "no program can be linked with libaio"
    if gpus and CUDA_HOME is None:
        return "there is no CUDA toolkit"
    return None


def no_async_io(reason: str) -> str:
    """That this node cannot build async_io, and the mend."""
    return (
        f"training.offload_nvme: DeepSpeed's async_io cannot be built on node {socket.gethostname()} "
        f"({reason}): install libaio-dev (libaio-devel), a C++ compiler and, for GPUs, the CUDA toolkit"
    )


def load_async_io() -> None:
    """Load DeepSpeed's async_io, and build it if need be; UserError where that is impossible."""
    import torch
    from deepspeed.ops.op_builder import AsyncIOBuilder

    try:
        AsyncIOBuilder().load()
    except Exception as error:  # compilers, linkers and DeepSpeed's own search fail in many ways
        missing = missing_for_async_io(torch.cuda.is_available())
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(no_async_io(missing or said)) from error
