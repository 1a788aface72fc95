"""What this CPU does with the laptop recipe's model, in the precision that suits it.

    python benchmarks/cpu.py [--model FOLDER] [--site config.yaml]

Prints one JSON line: gflops_float32 and gflops_bfloat16 of products of the model's own shapes with the
threads that the site gives an evaluation job, chosen (what `precision: auto` means here),
prefill_tokens_per_second of the loopback server's generator over 1,024 tokens with the same threads,
training_tokens_per_second of a step of 2,048 on the site's ranks, share_of_matmul_limit (prefill against 2
x parameters x tokens at the measured rate), job_start_seconds (median over the launchers of the rules:
imports and arguments, before any work). With `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` before it,
a CPU is measured as if it had no matrix units.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.on_cpu import SMOLLM2, expect_no_gpu
from selflong.formats import SEQUENCES, PackedFiles, table, write_parquet
from selflong.llm.generation import ATTENTION, Generator
from selflong.precision import Shape, measure
from selflong.recipe.loading import load_site
from selflong.recipe.models import Optimizer, Stage
from selflong.recipe.section import Precision
from selflong.recipe.site import TrainingSite, TransformersServing
from selflong.training.launch import run_stage, site_layout
from selflong.training.stage import METRICS_FILE
from selflong.training.stage_job import TrainingJob
from selflong.training.weights import load_weights

ROOT = Path(__file__).parents[1]
PROMPT_TOKENS = 1024
STEP_TOKENS = 2048
STEPS = 2  # the first one warms up
REPEATS = 3
VOCABULARY = 40_000


def prefill(model: Path, precision: Precision, threads: int) -> tuple[float, int]:
    """Median prompt tokens a second, and the model's parameters."""
    torch.set_num_threads(threads)
    loaded = AutoModelForCausalLM.from_pretrained(
        model, dtype=getattr(torch, precision), attn_implementation=ATTENTION
    )
    generator = Generator(loaded, key_tokens=PROMPT_TOKENS + 1)
    threading.Thread(target=generator.run, daemon=True).start()
    draw = np.random.default_rng(1)
    seconds = []
    for _ in range(1 + REPEATS):
        prompt = draw.integers(10, VOCABULARY, PROMPT_TOKENS).tolist()
        start = time.perf_counter()
        generator.submit(prompt, 1, frozenset()).result()
        seconds.append(time.perf_counter() - start)
    return PROMPT_TOKENS / statistics.median(seconds[1:]), loaded.num_parameters()


def training(model: Path, precision: Precision, site: TrainingSite, work: Path) -> float:
    """Tokens a second of a step after the first."""
    stage = Stage(
        name="s", length=STEP_TOKENS, rope_base="keep", mixture="m", tokens=STEPS * STEP_TOKENS,
        global_batch_tokens=STEP_TOKENS,
        optimizer=Optimizer(learning_rate=1e-5, weight_decay=0.1, gradient_clip=1.0),
    )  # fmt: skip
    job = TrainingJob(
        initial=model, packed=_packed(work / "packed"), work=work / "work", stage=stage,
        title="benchmark/s", seed=1, layout=site_layout(site), precision=precision,
    )  # fmt: skip
    run_stage(job, site, work / "trained")
    lines = (work / "trained" / METRICS_FILE).read_text().splitlines()
    return STEP_TOKENS / float(json.loads(lines[-1])["seconds"])


def _packed(folder: Path) -> Path:
    """Sequences of chance, one a step."""
    folder.mkdir(parents=True)
    ids = np.random.default_rng(2).integers(10, VOCABULARY, STEPS * STEP_TOKENS)
    np.save(folder / PackedFiles.INPUT_IDS, ids.astype(np.uint32))
    np.save(folder / PackedFiles.ROLES, np.full(len(ids), 4, np.uint8))
    rows = [
        {
            "sequence_id": step,
            "offset": step * STEP_TOKENS,
            "tokens": STEP_TOKENS,
            "document_bounds": [0, STEP_TOKENS],
            "sample_ids": [str(step)],
            "kinds": ["short"],
        }
        for step in range(STEPS)
    ]
    write_parquet(table(rows, SEQUENCES), folder / PackedFiles.SEQUENCES, SEQUENCES)
    return folder


def job_start() -> float:
    """Median over the rules' launchers of the seconds before work."""
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    seconds = []
    for script in sorted(re.findall(r"scripts/(\w+\.py)", rules)):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), "--help"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    expect_no_gpu()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder (default: SmolLM2-135M-Instruct)")
    parser.add_argument("--site", type=Path, default=ROOT / "config.yaml")
    arguments = parser.parse_args()
    site = load_site(arguments.site)
    if not isinstance(site.evaluation, TransformersServing):
        parser.error(f"evaluation of {arguments.site} is not `kind: transformers`")
    threads = site.evaluation.threads
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = arguments.model or work / "model"
        if arguments.model is None:
            load_weights(weights=SMOLLM2, output=model, seed=1)
        machine = measure(Shape.of(model), threads)
        tokens, parameters = prefill(model, machine.auto, threads)
        rate = {"float32": machine.gflops_float32, "bfloat16": machine.gflops_bfloat16}
        figures = {
            "gflops_float32": machine.gflops_float32,
            "gflops_bfloat16": machine.gflops_bfloat16,
            "chosen": machine.auto,
            "prefill_tokens_per_second": round(tokens, 1),
            "training_tokens_per_second": round(
                training(model, machine.auto, site.training, work), 1
            ),
            "share_of_matmul_limit": round(2e-9 * parameters * tokens / rate[machine.auto], 3),
            "job_start_seconds": round(job_start(), 2),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
