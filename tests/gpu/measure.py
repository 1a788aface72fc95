"""What `make test-gpu` measures: kernels against float64, losses of a stage, speed and memory by the plan.

Nothing here knows of GPUs but by the device that it is given, so that a CPU runs it too, at small sizes.
"""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from selflong.formats import SEQUENCES, PackedFiles, table, write_parquet
from selflong.placement.layout import Parallelism
from selflong.placement.memory import memory
from selflong.placement.shapes import Architecture
from selflong.recipe.models import Optimizer, Stage
from selflong.recipe.site import TrainingSite
from selflong.training.kernels import Attended, Block, BlockKernel, PlainKernel, Rule
from selflong.training.launch import run_stage
from selflong.training.layout import Layout
from selflong.training.stage import METRICS_FILE
from selflong.training.stage_job import TrainingJob

Device = Literal["cpu", "cuda"]
LAUNCHER = """
import sys
from pathlib import Path
from selflong.job import run
from selflong.recipe.site import TrainingSite
from selflong.training.stage_job import TrainingJob
from selflong.training.launch import run_stage
job = TrainingJob.model_validate_json(Path(sys.argv[1]).read_text())
site = TrainingSite.model_validate_json(sys.argv[2])
run(lambda: run_stage(job, site, Path(sys.argv[3])))
"""


def blocks(tokens: int) -> dict[str, Block]:
    """Documents of several lengths, one of them a single token, and what a ring leaves off its diagonal."""
    bounds = (0, tokens // 3, tokens // 3 + 1, tokens)
    half = tokens // 2
    return {
        "one document": Block((0, tokens), (0, tokens), True),
        "documents": Block(bounds, bounds, True),
        "windowed documents": Block(bounds, bounds, True, tokens // 8),
        "rectangle": Block((0, half), (0, tokens), False),
        "windowed rectangle": Block((0, half), (0, half), False, half // 3),
    }


def kernel_errors(
    kernel: BlockKernel, device: Device, dtype: torch.dtype, tokens: int, width: int = 128
) -> dict[str, float]:
    """The worst error of output, log-sum-exp and gradients of each block, relative to the largest value.

    Eight query heads share two key heads; the reference is torch's matrix products in float64.
    """
    rule = Rule(width**-0.5)
    return {
        name: _kernel_error(kernel, block, rule, device, dtype, width)
        for name, block in blocks(tokens).items()
    }


def _kernel_error(
    kernel: BlockKernel, block: Block, rule: Rule, device: Device, dtype: torch.dtype, width: int
) -> float:
    generator = torch.Generator().manual_seed(3)

    def drawn(heads: int, rows: int) -> Tensor:
        return torch.randn(heads, rows, width, generator=generator).to(device, dtype)

    rows, columns = block.query_bounds[-1], block.key_bounds[-1]
    q, k, v, grad = drawn(8, rows), drawn(2, columns), drawn(2, columns), drawn(8, rows)
    wide = [x.double() for x in (q, k, v)]
    plain = PlainKernel()
    right = Attended(*wide, *plain.forward(*wide, block, rule))
    expected = plain.backward(grad.double(), right, block, rule)
    out, lse = kernel.forward(q, k, v, block, rule)
    given = kernel.backward(grad, Attended(q, k, v, out, lse), block, rule)
    pairs = zip((out, lse, *given), (right.out, right.lse, *expected), strict=True)
    return max(
        float((value.double() - exact).abs().max() / exact.abs().max()) for value, exact in pairs
    )


def write_model(folder: Path, shape: Architecture, length: int) -> None:
    """A Llama of a shape with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size, intermediate_size=shape.intermediate,
        max_position_embeddings=length, tie_word_embeddings=shape.tied,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def write_packed(folder: Path, vocabulary: int, sequences: list[list[int]]) -> None:
    """Sequences of documents of given lengths; tokens repeat, so that there is something to learn."""
    folder.mkdir(parents=True)
    rows, offset = [], 0
    for index, documents in enumerate(sequences):
        bounds = [0, *itertools.accumulate(documents)]
        rows.append(
            {
                "sequence_id": index,
                "offset": offset,
                "tokens": bounds[-1],
                "document_bounds": bounds,
                "sample_ids": [f"{index}-{number}" for number in range(len(documents))],
                "kinds": ["long_input"] * len(documents),
            }
        )
        offset += bounds[-1]
    ids = (np.arange(offset) * 7 // 3 % min(vocabulary, 1000)).astype(np.uint32)
    np.save(folder / PackedFiles.INPUT_IDS, ids)
    np.save(folder / PackedFiles.ROLES, np.zeros(offset, dtype=np.uint8))
    write_parquet(table(rows, SEQUENCES), folder / PackedFiles.SEQUENCES, SEQUENCES)


def stage_job(
    folder: Path, name: str, length: int, steps: int, device: Device, **settings: Any
) -> TrainingJob:
    """A stage of one sequence a step, from the model and the data of a folder."""
    optimizer = Optimizer(learning_rate=1e-3, weight_decay=0.1, gradient_clip=1.0)
    stage = Stage(
        name=name, length=length, rope_base="keep", mixture="m", tokens=steps * length,
        global_batch_tokens=length, optimizer=optimizer, checkpoint_steps=2,
    )  # fmt: skip
    return TrainingJob(
        initial=folder / "initial", packed=folder / "packed", work=folder / name, stage=stage,
        title=f"gpu/{name}", seed=1, layout=Layout(), device=device, **settings,
    )  # fmt: skip


def trained(job: TrainingJob) -> list[dict[str, Any]]:
    """The metrics of a stage, trained to its end by one rank."""
    site = TrainingSite(device=job.device, ranks_per_node=1)
    output = job.work.with_name(f"{job.work.name}-model")
    run_stage(job, site, output)
    return [json.loads(line) for line in (output / METRICS_FILE).read_text().splitlines()]


def stopped_and_resumed(job: TrainingJob, after: int) -> list[dict[str, Any]]:
    """The metrics of a stage that is told to stop after so many steps, and started again."""
    job.work.mkdir(parents=True)
    job_file = job.work.with_suffix(".json")
    job_file.write_text(job.model_dump_json())
    site = TrainingSite(device=job.device, ranks_per_node=1)
    output = job.work.with_name(f"{job.work.name}-stopped")
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(job_file), site.model_dump_json(), str(output)]
    )
    metrics = job.work / METRICS_FILE
    while process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= after:
            process.send_signal(signal.SIGTERM)
            process.wait()
        time.sleep(0.02)
    return trained(job)


def speed_and_memory(
    folder: Path, shape: Architecture, length: int, device: Device, steps: int = 3
) -> dict[str, float]:
    """Utilisation and peak memory of a stage on one document, and the memory that the plan counts."""
    write_model(folder / "initial", shape, length)
    write_packed(folder / "packed", shape.vocabulary, [[length]] * steps)
    last = trained(stage_job(folder, "speed", length, steps, device))[-1]
    need = memory(shape, length, Parallelism(1, 1), device)
    return {
        "length": length,
        "seconds": last["seconds"],
        "model_flops_utilisation": last["model_flops_utilisation"],
        "memory_gb": last["memory_gb"],
        "planned_memory_gb": (need.total - need.framework) / 1e9,
    }


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    """Rows of the same names as a table."""
    listed = list(rows)
    if not listed:
        return ""
    head = list(listed[0])
    lines = [head, ["---"] * len(head), *([_cell(row[name]) for name in head] for row in listed)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
