"""A SLURM cluster of two emulated nodes, with two emulated GPUs each, on one machine and for root only.

Debian's slurmd may run several times on one machine, each under the name of a node. Everything lies in one
folder, except what SLURM's commands look for outside it: a configuration in /etc/slurm (Snakemake's jobs
drop every SLURM_* variable, SLURM_CONF too) and the names of the nodes in /etc/hosts.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SYSTEM = Path("/etc/slurm")
HOSTS = Path("/etc/hosts")
NODES = ("node1", "node2")
GPUS_PER_NODE = 2
CPUS_PER_NODE = 4
MEMORY_PER_NODE = 8000
HOSTS_LINE = f"127.0.0.1 {' '.join(NODES)} # emulated SLURM\n"

CONFIGURATION = """
ClusterName=emulated
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for its old credential to expire: two minutes, unless it is told otherwise.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Without cgroups, memory limits hold by asking once a second.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
# Without accounting, ended jobs must stay visible for Snakemake's next look.
MinJobAge=3600
MpiDefault=none
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    f"CPUs={CPUS_PER_NODE} RealMemory={MEMORY_PER_NODE} Gres=gpu:{GPUS_PER_NODE}\n"
)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _write_configuration(folder: Path) -> None:
    host = socket.gethostname().partition(".")[0]
    port, *node_ports = _free_ports(1 + len(NODES))
    nodes = "".join(
        NODE.format(name=name, host=host, port=node_port)
        for name, node_port in zip(NODES, node_ports, strict=True)
    )
    text = CONFIGURATION.format(host=host, port=port, folder=folder)
    (folder / "slurm.conf").write_text(text.replace("PartitionName", nodes + "PartitionName"))
    for number in range(GPUS_PER_NODE):
        # A character device like a GPU's; it is /dev/null by another name.
        os.mknod(folder / f"gpu{number}", mode=0o20666, device=os.makedev(1, 3))
    (folder / "gres.conf").write_text(
        f"NodeName=node[1-{len(NODES)}] Name=gpu File={folder}/gpu[0-{GPUS_PER_NODE - 1}]\n"
    )
    for name in ("state", *(f"spool/{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)


def _link(folder: Path) -> None:
    SYSTEM.mkdir(exist_ok=True)
    for name in ("slurm.conf", "gres.conf"):
        link = SYSTEM / name
        if link.exists() and not link.is_symlink():
            raise RuntimeError(f"{link} belongs to a real cluster: this machine is not for tests")
        link.unlink(missing_ok=True)
        link.symlink_to(folder / name)
    if HOSTS_LINE not in HOSTS.read_text():
        with HOSTS.open("a") as hosts:
            hosts.write(HOSTS_LINE)


def _unlink() -> None:
    for name in ("slurm.conf", "gres.conf"):
        (SYSTEM / name).unlink(missing_ok=True)
    # Written in place: inside a container this file cannot be replaced.
    HOSTS.write_text(HOSTS.read_text().replace(HOSTS_LINE, ""))


def start_controller() -> None:
    """Start slurmctld with the state that the last one saved."""
    subprocess.run(["slurmctld"], check=True)


def stop_controller(folder: Path) -> None:
    """End slurmctld; running jobs go on without it."""
    _end(folder / "slurmctld.pid")


def _start(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    munge = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munged.pid"}
    munge |= {"log-file": "munged.log", "seed-file": "munge.seed"}
    options = [f"--{name}={folder / value}" for name, value in munge.items()]
    subprocess.run(["munged", "--force", *options], check=True)
    start_controller()
    for name in NODES:
        subprocess.run(["slurmd", "-N", name], check=True)


def _states() -> set[str]:
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(answer.stdout.split())


def wait_until_idle(folder: Path, limit: float = 30.0) -> None:
    """Return when every node is idle; RuntimeError with the ends of the logs after `limit` seconds."""
    end = time.monotonic() + limit
    while _states() != {"idle"}:
        if time.monotonic() > end:
            logs = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"the nodes are {_states()} after {limit:.0f} s\n{logs}")
        time.sleep(0.2)


def wait_for(condition: Callable[[], bool], limit: float = 60) -> None:
    """Return when `condition` holds; AssertionError after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def slurm_output(*command: str) -> str:
    """What a command of SLURM prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def running() -> list[tuple[str, str, str]]:
    """Job, node and what Snakemake calls it, of the jobs that run."""
    command = ("squeue", "--noheader", "--states=running", "--format=%i|%N|%k")
    rows = slurm_output(*command).splitlines()
    return [tuple(row.split("|")) for row in rows]  # type: ignore[misc]


def _end(pid_file: Path, grace: float = 5.0) -> None:
    """End the daemon that wrote the file: by SIGTERM, then by SIGKILL."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    end = time.monotonic() + grace
    number = signal.SIGTERM
    try:
        while True:
            os.kill(pid, number)
            time.sleep(0.1)
            if time.monotonic() > end:
                number = signal.SIGKILL
    except ProcessLookupError:
        pid_file.unlink(missing_ok=True)


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """Run the cluster while the block runs; `folder` is made and removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    _write_configuration(folder)
    _link(folder)
    try:
        _start(folder)
        wait_until_idle(folder)
        yield folder
    finally:
        subprocess.run(["scancel", "--full", "--user=root"], check=False, capture_output=True)
        for daemon in ("slurmctld", *(f"slurmd-{name}" for name in NODES), "munged"):
            _end(folder / f"{daemon}.pid")
        _unlink()
        shutil.rmtree(folder)
