"""What a rank holds while it trains, part by part, as planned and as measured.

    python benchmarks/memory.py

Trains a small Llama in bfloat16 under ZeRO-3 on two processes of this CPU that share each sequence, and
follows what torch allocates in one step. Prints one JSON line: megabytes as planned and as measured, for each
part of `placement.memory.Memory` but `framework`, which is no tensor, and for the peak of all.

`loss` is the peak of the last norm and the output layer, `layer` that of the backward pass, both above what
was held as the norm began. They do not peak together: the peak adds the larger one alone.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.on_cpu import expect_no_gpu
from selflong.placement.layout import Parallelism
from selflong.placement.memory import memory
from selflong.placement.shapes import Architecture
from selflong.recipe.models import Optimizer, Stage
from selflong.training.layout import Layout
from selflong.training.ranks import on_ranks
from selflong.training.stage import StageRun, start_process_group
from selflong.training.stage_job import TrainingJob
from tests.gpu.measure import write_model, write_packed

# More parameters than a bucket of gradients holds on a CPU.
SHAPE = Architecture(
    layers=6, hidden=512, heads=8, key_value_heads=4, head_size=64, intermediate=2048,
    vocabulary=32_768, tied=True,
)  # fmt: skip
TOKENS = 8192
LOSS_ROWS = 512
RANKS = 2
STEPS = 2
MARK = "phase: "


def _job(folder: Path, tokens: int, loss_rows: int) -> TrainingJob:
    stage = Stage(
        name="s", length=tokens, rope_base="keep", mixture="m", tokens=STEPS * tokens,
        global_batch_tokens=tokens, checkpoint_steps=10,
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.1, gradient_clip=1.0),
    )  # fmt: skip
    return TrainingJob(
        initial=folder / "initial", packed=folder / "packed", work=folder / "work", stage=stage,
        title="memory/s", seed=1, layout=Layout(ring=RANKS), loss_rows=loss_rows,
    )  # fmt: skip


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _Step:
    """One step of a rank, with the bytes of whole weights at the begin of each phase, and the most of all."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._parameters = list(run.engine.module.parameters())
        self.gathered: dict[str, int] = {}
        self.most_gathered = 0

    def _look(self) -> int:
        # ZeRO-3 leaves nothing in a parameter that it has not gathered.
        gathered = _bytes(parameter.data for parameter in self._parameters)
        self.most_gathered = max(self.most_gathered, gathered)
        return gathered

    def _look_before(self, _module: nn.Module, _inputs: Any) -> None:
        self._look()

    def _mark(self, name: str) -> None:
        self.gathered[name] = self._look()
        with record_function(MARK + name):
            pass

    def _marked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def begin(*args: Any, **kwargs: Any) -> Any:
            self._mark(name)
            return function(*args, **kwargs)

        return begin

    def profiled(self) -> dict[str, tuple[int, int]]:
        """Of each phase what is held as it begins, and the most, above what was held before the step."""
        engine = self._run.engine
        head = engine.module.get_submodule(engine.module.head_name)
        norm = engine.module.get_submodule(engine.module.prefix).norm
        engine.forward = self._marked("forward", engine.forward)
        norm.forward = self._marked("norm", norm.forward)
        head.forward = self._marked("head", head.forward)
        engine.backward = self._marked("backward", engine.backward)
        engine.step = self._marked("optimizer", engine.step)
        for module in engine.module.modules():
            module.register_forward_pre_hook(self._look_before)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            self._run._step()
        return _phases(profiler)


def _phases(profiler: profile) -> dict[str, tuple[int, int]]:
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    held, phase = 0, ""
    result: dict[str, tuple[int, int]] = {}
    for event in events:
        if event.name() == "[memory]":
            held += event.nbytes()  # type: ignore[attr-defined]
        elif event.name().startswith(MARK):
            phase = event.name().removeprefix(MARK)
            result[phase] = held, held
        if phase:
            begin, most = result[phase]
            result[phase] = begin, max(most, held)
    return result


def rank_memory(job: TrainingJob) -> dict[str, int]:
    """Bytes that this rank holds, by part, in the second of two steps."""
    torch.set_num_threads(1)
    run = StageRun(job, start_process_group(job.device))
    run._step()
    step = _Step(run)
    phases, zero = step.profiled(), run.engine.optimizer

    gathered = step.gathered
    # From the last layer on all weights are at hand, so that no phase's growth is theirs.
    assert gathered["norm"] == gathered["backward"] == step.most_gathered
    held = {name: begin for name, (begin, _) in phases.items()}
    most = {name: peak for name, (_, peak) in phases.items()}
    static = {
        "parameters": _bytes(p.ds_tensor for p in run.engine.module.parameters()),
        "gradients": _bytes([zero.grad_partitions_flat_buffer]),
        "optimizer": _bytes(zero.fp32_partitioned_groups_flat)
        + _bytes(value for state in zero.optimizer.state.values() for value in state.values()),
        "bucket": _bytes(bucket.buffer for bucket in zero.ipg_buckets.values()),
    }
    return static | {
        "gathered": step.most_gathered,
        "checkpoints": held["norm"] - (gathered["norm"] - gathered["forward"]),
        "loss": most["head"] - held["norm"],
        "layer": most["backward"] - held["norm"],
        "step": most["optimizer"] - held["optimizer"],
        "peak": sum(static.values()) + gathered["forward"] + max(most.values()),
    }


def compare(shape: Architecture, tokens: int, loss_rows: int) -> dict[str, tuple[float, int]]:
    """Bytes as planned and as measured, by part, of ranks that share sequences of so many tokens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "initial", shape, tokens)
        write_packed(folder / "packed", shape.vocabulary, [[tokens]] * STEPS)
        measured = on_ranks(RANKS, rank_memory, _job(folder, tokens, loss_rows))[0]
    layout = Parallelism(RANKS, RANKS, loss_rows=loss_rows, ulysses=1)
    need = memory(shape, tokens, layout, "cpu")
    planned = vars(need) | {"peak": need.total - need.framework}
    return {name: (planned[name], size) for name, size in measured.items()}


def main() -> None:
    expect_no_gpu()
    result = {
        name: {"planned": round(planned / 1e6, 1), "measured": round(measured / 1e6, 1)}
        for name, (planned, measured) in compare(SHAPE, TOKENS, LOSS_ROWS).items()
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
