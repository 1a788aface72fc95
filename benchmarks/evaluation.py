"""What the evaluation reads, what the paper's costs, and whether two engines say the same.

    python benchmarks/evaluation.py [--vllm .venv-vllm/bin/python] [--prompts 100]

Prints one JSON line: prompt_tokens_read_share (of a needle grid of 20 depths at 2,000 tokens, through the
loopback server), planned_gpu_hours (the evaluation of recipes/selflong.yaml by its plan), agreement_vllm
(share of RULER prompts to which vLLM, in the environment of `make test-vllm`, and the loopback server answer
with the same tokens, both in float32; null where that environment is not there).
"""

import argparse
import json
import logging
import os
import re
import subprocess
import tempfile
from itertools import cycle, islice
from pathlib import Path

from benchmarks.on_cpu import SMOLLM2, expect_no_gpu
from selflong.evaluation.evaluate import evaluate
from selflong.llm import Answer, answers, completion
from selflong.llm.serve import serve
from selflong.recipe.site import Serving, TransformersServing, VllmCpu, VllmServing
from selflong.recipe.weights import FolderWeights
from selflong.suites.evaluation_job import Job
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.ruler.generator import generate_samples, packaged_sources
from selflong.tokens import load_tokenizer
from selflong.training.weights import load_weights

ROOT = Path(__file__).parents[1]
GRID = NeedleGrid(kind="needle_grid", models=["m"], lengths=[2000], depths=20, seed=7)
LOOPBACK = TransformersServing(kind="transformers", threads=1, precision="float32")
VLLM = VllmServing(kind="vllm", precision="float32", cpu=VllmCpu(threads=1, cache_gib=1))
TASKS = ("niah_single_2", "niah_multikey_1", "niah_multivalue", "vt", "cwe", "fwe", "qa_1")
LENGTH = 1100
ANSWER_TOKENS = 16
CHAT_DATE = "26 Jul 2024"


def read_share(model: Path, work: Path) -> float:
    """Share of the needle grid's prompt tokens that the loopback server reads."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("selflong.evaluation.generate")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    job = Job(
        suite_name="grid", suite=GRID, checkpoint="m/initial", model=model, tokenizer=model,
        serving=LOOPBACK, work=work, chat_date=CHAT_DATE,
    )  # fmt: skip
    evaluate(job, work / "grid.parquet")
    sent, read = (int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?= |$)", said[-1])[:2])
    return read / sent


def planned_hours() -> float:
    """GPU hours of the paper's evaluation."""
    # Not imported by what runs in vLLM's environment.
    from selflong.estimate.steps import Planner
    from selflong.placement.machines import choose_machine
    from selflong.recipe.loading import load_recipe, load_site

    recipe, site = load_recipe(ROOT / "recipes/selflong.yaml"), load_site(ROOT / "config.yaml")
    machine = choose_machine(recipe, site)
    steps = Planner(recipe, site, machine).steps()
    return sum(step.device_hours(machine) for step in steps if step.part == "evaluation")


def answered(model: Path, serving: Serving, count: int, work: Path) -> list[list[int]]:
    """Token ids of the answers to RULER prompts."""
    tokenizer = load_tokenizer(model, CHAT_DATE)
    samples = [
        generate_samples(
            task, LENGTH, count, convention="ruler_exact", tokenizer=tokenizer, seed=42,
            sources=packaged_sources(), chat=True,
        )
        for task in TASKS
    ]  # fmt: skip
    requests = [
        completion(
            next(of_task).prompt_ids, max_tokens=ANSWER_TOKENS, temperature=0.0,
            return_token_ids=True, stop_token_ids=list(tokenizer.end_ids),
        )
        for of_task in islice(cycle(samples), count)
    ]  # fmt: skip
    weights = FolderWeights(kind="folder", path=model)
    log = work / f"{serving.kind}.log"
    with serve(serving, weights, name="m", log=log, context_tokens=2048) as endpoint:
        found, _ = answers(endpoint, work / serving.kind, requests, concurrency=16)
    assert all(isinstance(answer, Answer) for answer in found)
    return [list(answer.token_ids or ()) for answer in found if isinstance(answer, Answer)]


def agreement(model: Path, vllm: Path, count: int, work: Path) -> float | None:
    """Share of the prompts that both engines answer alike."""
    if not vllm.exists():
        return None
    # Not resolved: a virtual environment is found by the link's own place.
    command = [
        str(vllm.absolute()),
        __file__,
        "--vllm-answers",
        str(model),
        "--prompts",
        str(count),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = answered(model, LOOPBACK, count, work)
    return sum(one == other for one, other in zip(ours, theirs, strict=True)) / count


def main() -> None:
    expect_no_gpu()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", type=Path, default=ROOT / ".venv-vllm/bin/python")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--vllm-answers", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if arguments.vllm_answers:
            print(json.dumps(answered(arguments.vllm_answers, VLLM, arguments.prompts, work)))
            return
        model = work / "model"
        load_weights(weights=SMOLLM2, output=model, seed=1)
        figures = {
            "prompt_tokens_read_share": round(read_share(model, work / "grid"), 4),
            "planned_gpu_hours": round(planned_hours(), 1),
            "agreement_vllm": agreement(model, arguments.vllm, arguments.prompts, work),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
