"""Where the ranks of a stage meet, and what the nodes of one start of a job tell each other."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from selflong.cluster import attempt
from selflong.formats import remove, write_json
from selflong.job import UserError

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.2
_WAITING_CONNECTIONS = 4096


class Meeting(NamedTuple):
    """Where the first node's store listens."""

    address: str
    port: int


@contextmanager
def meeting(nodes: int) -> Iterator[Meeting]:
    """Keep the store of a rendezvous while the block runs, on a port that the kernel gives.

    It takes whatever is written to it from whoever reaches it, so it listens on this machine's loopback
    alone, or on the one address by which this node reaches the others.
    """
    import torch.distributed as dist

    address = LOOPBACK if nodes == 1 else _cluster_address(nodes)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen(_WAITING_CONNECTIONS)
        port = listener.getsockname()[1]
        # Without a socket of our own torch listens on all interfaces. It closes what it is given.
        store = dist.TCPStore(
            address,
            port,
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
    yield Meeting(address, port)
    del store


def _cluster_address(nodes: int) -> str:
    """This node's address on the network of the SLURM job's nodes."""
    hosts = _hosts()
    if len(hosts) < nodes:
        raise UserError(f"training.nodes is {nodes}, but the SLURM job has {len(hosts)}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(hosts[1], 9, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as trial:
            trial.connect(place)  # sends nothing: the kernel chooses the way
            return str(trial.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"node {hosts[1]} of the SLURM job cannot be found from {hosts[0]}: {error.strerror}"
        ) from None


def _hosts() -> list[str]:
    """Names of the SLURM job's nodes, the first first."""
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if listed is None:
        raise UserError(
            "training.nodes is above 1, but this job does not run under SLURM: start Snakemake with "
            "--profile profiles/slurm, or set training.nodes to 1"
        )
    command = ["scontrol", "show", "hostnames", listed]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)
    return listing.stdout.split()


class Nodes:
    """What the nodes of one start of a job tell each other, by files in the folder that they share.

    The first node decides whether there is anything left to train: another one that decided for itself might
    wait at a rendezvous that nobody comes to. Nodes may begin and end in any order.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder / attempt()
        self._count = count

    def decide(self, place: Meeting | None) -> None:
        """Tell the others where to meet; None where nothing is left to train."""
        remove(self._folder.parent)  # of earlier starts
        write_json(place, self._folder / "meeting.json")

    def decision(self) -> Meeting | None:
        """What the first node decided."""
        decision = self._folder / "meeting.json"
        while not decision.exists():
            time.sleep(_POLL_SECONDS)
        place = json.loads(decision.read_text(encoding="utf-8"))
        return None if place is None else Meeting(*place)

    def report_end(self, own: int) -> None:
        """Tell the first node that this one has ended well."""
        write_json(own, self._folder / f"ended-{own}.json")

    def wait_for_others(self) -> None:
        """srun ends this node too where another one does not end well."""
        for other in range(1, self._count):
            while not (self._folder / f"ended-{other}.json").exists():
                time.sleep(_POLL_SECONDS)
