"""What is missing on a node for each kind of job, on one screen: `python -m selflong.node_check training`.

`snakemake check` runs it on the nodes that the jobs of each kind will run on.
"""

# ruff: noqa: E402
from selflong.interrupt import end_at_once

end_at_once()

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from selflong.job import UserError
from selflong.packages import IMPORTED, IMPORTED_ON_GPUS
from selflong.recipe.loading import load_site
from selflong.recipe.site import JobKind, TrainingSite

Verdict = Literal["ok", "note", "missing"]
GB = 10**9
LEAST_DISK = 50 * GB
LEAST_SHARED_MEMORY = 1 * GB


@dataclass(frozen=True)
class Finding:
    """One line of the screen."""

    subject: str
    verdict: Verdict
    text: str


def check_node(kind: JobKind, gpus: int, folder: Path, token_variable: str) -> Iterator[Finding]:
    """Everything that a job of `kind` wants of this node; `gpus` is what config.yaml asks for."""
    node = os.environ.get("SLURMD_NODENAME", platform.node())
    yield Finding("node", "ok", f"{node}, for jobs of the kind {kind}")
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield from _packages(IMPORTED[kind])
    yield from _tools(kind)
    yield _disk(folder)
    yield _shared_memory()
    if gpus > 0:
        yield from _packages(IMPORTED_ON_GPUS.get(kind, ()))
        yield from _gpus(gpus)
    yield _token(token_variable)


def _packages(names: tuple[str, ...]) -> Iterator[Finding]:
    distributions = importlib.metadata.packages_distributions()
    for name in names:
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "missing", "not installed: see envs/")
            continue
        holders = distributions.get(name, [name])
        yield Finding(name, "ok", importlib.metadata.version(holders[0]))


def _tools(kind: JobKind) -> Iterator[Finding]:
    if kind == "training":
        for tool in ("g++", "ninja"):
            found = shutil.which(tool)
            text = found or "not on PATH: DeepSpeed compiles with it at its first start"
            yield Finding(tool, "ok" if found else "missing", text)
    if os.environ.get("SLURM_JOB_ID"):
        for tool in ("srun", "scontrol", "squeue"):
            found = shutil.which(tool)
            yield Finding(tool, "ok" if found else "missing", found or "not on PATH of this node")


def _disk(folder: Path) -> Finding:
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    verdict: Verdict = "ok" if free >= LEAST_DISK else "note"
    return Finding(
        "disk", verdict, f"{free / GB:.0f} GB free at {folder}; the plan says what is needed"
    )


def _shared_memory() -> Finding:
    path = Path("/dev/shm")
    if not path.exists():
        return Finding(
            "shared memory", "missing", "/dev/shm is not there: NCCL and data loaders use it"
        )
    size = shutil.disk_usage(path).total
    text = f"{size / GB:.1f} GB at /dev/shm"
    return Finding("shared memory", "ok" if size >= LEAST_SHARED_MEMORY else "note", text)


def check_offload(section: TrainingSite) -> Iterator[Finding]:
    """What training wants of a node whose disk takes the optimizer's state."""
    if section.offload_nvme is None or importlib.util.find_spec("deepspeed") is None:
        return
    gpus = section.device == "cuda"
    if not gpus:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed else says that there is no GPU
    from selflong.training.nvme import missing_for_async_io, no_async_io, own_folder

    missing = missing_for_async_io(gpus)
    yield Finding(
        "async_io",
        "missing" if missing else "ok",
        no_async_io(missing) if missing else "DeepSpeed can build it at its first start",
    )
    try:
        with own_folder(section.offload_nvme / f"selflong-check-{os.getpid()}") as folder:
            free = shutil.disk_usage(folder).free
    except UserError as mistake:
        yield Finding("offload_nvme", "missing", str(mistake))
        return
    text = f"{free / GB:.0f} GB free at {section.offload_nvme}; all nodes together want 16 bytes a parameter"
    yield Finding("offload_nvme", "ok", text)


def _gpus(wanted: int) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if torch.version.cuda is None:
        yield Finding("CUDA", "missing", "this torch is a CPU build: install PyPI's")
        return
    if not torch.cuda.is_available():
        yield Finding(
            "CUDA", "missing", f"torch is built for CUDA {torch.version.cuda}; no driver answers"
        )
        return
    count = torch.cuda.device_count()
    yield Finding("CUDA", "ok", torch.version.cuda)
    verdict: Verdict = "ok" if count >= wanted else "missing"
    yield Finding("GPUs", verdict, f"{count} of the {wanted} that config.yaml asks for")
    for number in range(count):
        properties = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        busy = free < 0.9 * total
        text = f"{properties.name}, {total / GB:.0f} GB, {free / GB:.0f} GB free"
        yield Finding(f"GPU {number}", "note" if busy else "ok", text)
    version = ".".join(map(str, torch.cuda.nccl.version()))
    yield Finding("NCCL", "ok", version)


def _token(variable: str) -> Finding:
    """Only whether it is set: its value is never shown."""
    if os.environ.get(variable):
        return Finding("hub token", "ok", f"{variable} is set")
    return Finding(
        "hub token", "note", f"{variable} is not set: gated models and sets cannot be downloaded"
    )


def screen(findings: list[Finding]) -> str:
    """The findings as text, what is missing last."""
    order = get_args(Verdict)
    rows = sorted(findings, key=lambda finding: order.index(finding.verdict))
    return "\n".join(f"{row.verdict:8}{row.subject:22}{row.text}" for row in rows)


def main() -> None:
    """Print the screen; exit with 1 where something is missing, unless only a report is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=get_args(JobKind))
    parser.add_argument("--site", type=Path, default=Path("config.yaml"))
    parser.add_argument("--report", action="store_true", help="do not fail: another reads it")
    arguments = parser.parse_args()
    site = load_site(arguments.site)
    resources = site.resources.get(arguments.kind)
    gpus = resources.gpus if resources else 0
    findings = list(check_node(arguments.kind, gpus, site.work, site.hub_token_variable))
    if arguments.kind == "training":
        findings += check_offload(site.training)
    print(screen(findings))
    sys.exit(not arguments.report and any(row.verdict == "missing" for row in findings))


if __name__ == "__main__":
    from selflong.job import run

    run(main)
