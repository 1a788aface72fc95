"""Run a function on several gloo ranks of this machine: for measurements, and for what is quick.

A rank that runs for hours is started by `launch`, which gives each its own log and passes signals on.
"""

import multiprocessing as mp
import os
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# Ranks are forked from a server that has imported what takes seconds.
_context = mp.get_context("forkserver")
_context.set_forkserver_preload(["selflong.training.stage", "deepspeed"])


def _rank(
    function: Callable[..., Any], rank: int, world: int, store: str, args: Any, pipe: Connection
) -> None:
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
    }
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)
    try:
        dist.init_process_group(
            "gloo", f"file://{store}", timedelta(minutes=5), world_size=world, rank=rank
        )
        # Pickled here: torch would send tensors as files of a process that may be gone by then.
        pipe.send_bytes(pickle.dumps((True, function(*args))))
        dist.barrier()
    except BaseException:
        pipe.send_bytes(pickle.dumps((False, traceback.format_exc())))
    finally:
        dist.destroy_process_group()


def on_ranks(world: int, function: Callable[..., Any], *args: Any) -> list[Any]:
    """``function(*args)`` on ``world`` ranks; RuntimeError with the first traceback if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        pipes, processes = [], []
        for rank in range(world):
            ours, theirs = _context.Pipe(duplex=False)
            process = _context.Process(
                target=_rank, args=(function, rank, world, store, args, theirs), daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        try:
            results = [_receive(pipe) for pipe in pipes]
            for process in processes:
                process.join()
        finally:
            for process in processes:
                process.kill()
    return results


def _receive(pipe: Connection) -> Any:
    try:
        well, value = pickle.loads(pipe.recv_bytes())
    except EOFError:
        raise RuntimeError("a rank ended without an answer") from None
    if not well:
        raise RuntimeError(value)
    return value
