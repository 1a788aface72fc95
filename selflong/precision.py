"""The precision of what runs on a CPU: what this CPU multiplies faster, measured once for a run.

A CPU with matrix units for bfloat16 (AMX, AVX512-BF16) multiplies it faster than float32; on any other,
torch widens every product, which takes tens of times as long.
"""

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from selflong.formats import read_object, write_json
from selflong.job import UserError
from selflong.recipe.section import Precision
from selflong.recipe.site import Serving, TrainingSite, TransformersServing, VllmServing

log = logging.getLogger(__name__)

ROWS = 128
ROUNDS = 25
"""At most; fewer where MEASURED_SECONDS have passed."""
MEASURED_SECONDS = 1.0
LARGEST_SIDE = 2048
"""Of a matrix that is measured: rates grow no more, and a slow CPU would take minutes."""
SLOW = 1.5
"""How much longer bfloat16 takes than float32 where a fixed bfloat16 is worth a warning."""
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "i8mm")


@dataclass(frozen=True)
class Shape:
    """Sides of a layer's matrices."""

    hidden: int = 576
    intermediate: int = 1536

    @classmethod
    def of(cls, model: Path) -> "Shape":
        """That of a Hugging Face model folder."""
        config = model / "config.json"
        content = read_object(config)
        hidden, intermediate = content.get("hidden_size"), content.get("intermediate_size")
        if not all(isinstance(side, int) and side > 0 for side in (hidden, intermediate)):
            raise UserError(
                f"{config} does not give hidden_size and intermediate_size: fetch it again"
            )
        return cls(int(hidden), int(intermediate))  # type: ignore[arg-type]

    def sides(self) -> Iterator[tuple[int, int]]:
        hidden, wide = (min(n, LARGEST_SIDE) for n in (self.hidden, self.intermediate))
        yield from ((hidden, hidden), (hidden, wide), (wide, hidden))


@dataclass(frozen=True)
class Machine:
    """What a CPU multiplies in a second."""

    cpu: str
    flags: tuple[str, ...]
    """Of those that decide how fast each precision is."""
    threads: int
    gflops_float32: float
    gflops_bfloat16: float
    auto: Precision
    """What `precision: auto` means on it."""
    why: str

    @property
    def cost_of_bfloat16(self) -> float:
        """How many times as long as float32 it takes."""
        return self.gflops_float32 / self.gflops_bfloat16


def measure(shape: Shape, threads: int) -> Machine:
    """Measure this machine with products of a layer's matrices; about two seconds."""
    float32, bfloat16 = gflops(shape, ("float32", "bfloat16"), threads)
    auto: Precision = "bfloat16" if bfloat16 > float32 else "float32"
    why = f"matrix products reach {float32:.3g} GFLOP/s in float32 and {bfloat16:.3g} in bfloat16"
    cpu, flags = _processor()
    return Machine(cpu, flags, threads, round(float32, 2), round(bfloat16, 2), auto, why)


def gflops(shape: Shape, precisions: Sequence[str], threads: int, rows: int = ROWS) -> list[float]:
    """Median rate of products of `rows` positions with each of a layer's matrices, by precision.

    The precisions take turns, so that other work on the machine slows them alike.
    """
    import torch  # what only reads a measurement must not wait for it

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    operations = sum(2 * rows * inner * outer for inner, outer in shape.sides())
    products = {
        name: [
            (torch.ones(rows, inner, dtype=dtype), torch.ones(outer, inner, dtype=dtype))
            for inner, outer in shape.sides()
        ]
        for name in precisions
        for dtype in [getattr(torch, name)]
    }

    def seconds(name: str) -> float:
        start = time.perf_counter()
        for positions, weights in products[name]:
            torch.nn.functional.linear(positions, weights)
        return time.perf_counter() - start

    times: dict[str, list[float]] = {name: [] for name in precisions}
    with torch.inference_mode():
        for name in precisions:
            seconds(name)  # threads and kernels are made
        started = time.perf_counter()
        while not times[precisions[0]] or (
            time.perf_counter() - started < MEASURED_SECONDS and len(times[precisions[0]]) < ROUNDS
        ):
            for name in precisions:
                times[name].append(seconds(name))
    torch.set_num_threads(before)
    return [operations / statistics.median(times[name]) / 1e9 for name in precisions]


def _processor() -> tuple[str, tuple[str, ...]]:
    """Name and flags of the first processor, as Linux knows them."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    known = facts.get("flags", facts.get("Features", "")).split()
    return facts.get("model name", "unknown"), tuple(flag for flag in FLAGS if flag in known)


def write_machine(*, model: Path, threads: int, output: Path) -> Machine:
    """Measure with the matrices of the model in a folder, say what it decides and publish it at `output`."""
    machine = measure(Shape.of(model), threads)
    write_json(asdict(machine), output)
    log.info("on %s %s: precision auto is %s", machine.cpu, machine.why, machine.auto)
    return machine


def read_machine(path: Path) -> Machine:
    """What `write_machine` published."""
    content = read_object(path)
    return Machine(**content | {"flags": tuple(content["flags"])})


def decide(
    setting: Precision | Literal["auto"], place: str, machine: Path | None, threads: int
) -> Precision:
    """The precision that a CPU's `setting` at `place` means, said in one line.

    machine: the run's measurement; without one this machine is measured where it matters.
    """
    if setting == "float32":
        return setting
    found = read_machine(machine) if machine else measure(Shape(), threads)
    if setting == "auto":
        log.info("%s: %s, since on %s %s", place, found.auto, found.cpu, found.why)
        return found.auto
    if found.cost_of_bfloat16 > SLOW:
        log.warning(
            "%s: bfloat16 takes about %.0f times as long as float32 on this CPU; auto chooses float32",
            place, found.cost_of_bfloat16,
        )  # fmt: skip
    return setting


def serving_precision(serving: Serving) -> Precision | None:
    """In which the weights answer; None where the server decides."""
    if isinstance(serving, VllmServing):
        return serving.precision
    if isinstance(serving, TransformersServing) and serving.precision != "auto":
        return serving.precision
    return None


S = TypeVar("S", bound=Serving)


def decided_serving(serving: S, place: str, machine: Path | None = None) -> S:
    """`serving` with a precision in place of `auto`."""
    if not isinstance(serving, TransformersServing):
        return serving
    precision = decide(serving.precision, place, machine, serving.threads)
    return serving.model_copy(update={"precision": precision})


def training_precision(
    fixed: Precision | None, site: TrainingSite, place: str, machine: Path | None = None
) -> Precision:
    """Of a model's training: what its recipe fixes, else the site's; on GPUs auto means bfloat16."""
    setting = fixed or site.precision
    if site.device == "cuda":
        return "bfloat16" if setting == "auto" else setting
    return decide(setting, place, machine, site.ranks_per_node * site.threads_per_rank)
