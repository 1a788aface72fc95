"""Short tasks by lm-evaluation-harness, run as a program; its samples become predictions like all others.

The paper's five (BBH, GPQA, IFEval, MMLU-Pro, MUSR) are the harness's `leaderboard_*` groups. A
sample's score is the metric that the Open LLM Leaderboard reads for its task; all samples of a group count
alike, as the harness weighs them by size.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import PREDICTIONS, remove, table
from selflong.job import UserError
from selflong.recipe.site import Serving, TransformersServing, VllmServing
from selflong.suites.job import Job
from selflong.suites.short_tasks.section import ShortTasks

METRICS = ("acc_norm", "exact_match", "prompt_level_strict_acc", "acc")
"""Of a sample's metrics the first that it has."""

logger = logging.getLogger(__name__)


def run(
    suite: ShortTasks,
    job: Job,
    work: Path,
    include: Path | None = None,
    python: str = sys.executable,
) -> pl.DataFrame:
    """formats.PREDICTIONS of the suite's tasks for the job's checkpoint.

    The harness loads the checkpoint itself, with transformers or vLLM as the job's serving says, and keeps
    its answers in `work`, so that an interrupted run goes on. `include` is a folder with task files of one's
    own.

    Raises UserError where the harness fails; its log stays in `work`.
    """
    output = work / "output"
    remove(output)
    work.mkdir(parents=True, exist_ok=True)
    line = command(suite, job.model, job.serving, work, output, include, python)
    log = work / "lm_eval.log"
    logger.info("lm-evaluation-harness runs, its log is %s", log)
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(line, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if status.returncode != 0:
        last = next(
            (
                text
                for text in reversed(log.read_text(encoding="utf-8").splitlines())
                if text.strip()
            ),
            "",
        )
        raise UserError(
            f"suites.{job.suite_name}: lm-evaluation-harness ended with status {status.returncode} ({last}); "
            f"its log is {log}"
        )
    return read_output(job.suite_name, suite, job.checkpoint, output)


def command(
    suite: ShortTasks,
    checkpoint: Path,
    serving: Serving,
    work: Path,
    output: Path,
    include: Path | None = None,
    python: str = sys.executable,
) -> list[str]:
    """Command line of the harness."""
    line = [python, "-m", "lm_eval", "run", *_backend(serving, checkpoint)]
    line += ["--tasks", ",".join(suite.tasks.values()), "--apply_chat_template"]
    line += ["--log_samples", "--output_path", str(output), "--use_cache", str(work / "answers")]
    if suite.limit is not None:
        line += ["--limit", str(suite.limit)]
    if include is not None:
        line += ["--include_path", str(include)]
    return line


def _backend(serving: Serving, checkpoint: Path) -> list[str]:
    if isinstance(serving, VllmServing):
        parameters = (
            f"pretrained={checkpoint},dtype={serving.precision},tensor_parallel_size={serving.tensor_parallel},"
            f"data_parallel_size={serving.data_parallel},"
            f"gpu_memory_utilization={serving.gpu_memory_share}"
        )
        return ["--model", "vllm", "--model_args", parameters, "--batch_size", "auto"]
    if isinstance(serving, TransformersServing):
        parameters = f"pretrained={checkpoint},dtype={serving.precision}"
        return ["--model", "hf", "--model_args", parameters, "--device", "cpu"]
    raise UserError(
        f"evaluation: short tasks cannot run with kind {serving.kind!r}: use vllm or transformers"
    )


def read_output(name: str, suite: ShortTasks, model: str, output: Path) -> pl.DataFrame:
    """formats.PREDICTIONS from the folder that the harness wrote with --log_samples."""
    (summary,) = _files(output, "results_*.json")
    members: dict[str, list[str]] = json.loads(summary.read_text(encoding="utf-8"))[
        "group_subtasks"
    ]
    rows: list[dict[str, Any]] = []
    for title, task in suite.tasks.items():
        samples = [
            sample for leaf in _leaves(task, members) for sample in _samples(summary.parent, leaf)
        ]
        rows += [
            {"suite": name, "model": model, "task": title, "index": index, **_row(sample)}
            for index, sample in enumerate(samples)
        ]
    return table(rows, PREDICTIONS)


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} must hold one {pattern}, it holds {len(found)}: run it again")
    return found


def _leaves(task: str, members: Mapping[str, list[str]]) -> Iterator[str]:
    if not members.get(task):
        yield task
    for member in members.get(task, []):
        yield from _leaves(member, members)


def _samples(folder: Path, task: str) -> list[dict[str, Any]]:
    (path,) = _files(folder, f"samples_{task}_2*.jsonl")
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(samples, key=lambda sample: int(sample["doc_id"]))


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    arguments = sample["arguments"]
    first = arguments["gen_args_0"]
    responses = sample["filtered_resps"]
    prediction = responses[0]
    if isinstance(prediction, list):  # (log-likelihood, is greedy) of each choice
        best = max(range(len(responses)), key=lambda choice: float(responses[choice][0]))
        prediction = arguments[f"gen_args_{best}"]["arg_1"]
    metric = next((metric for metric in METRICS if metric in sample), None)
    if metric is None:
        raise UserError(
            f"lm-evaluation-harness scored with {', '.join(sample['metrics'])}; known are "
            f"{', '.join(METRICS)}"
        )
    return {
        "prompt": first["arg_0"],
        "answers": [str(sample["target"])],
        "prediction": str(prediction),
        "score": float(sample[metric]),
    }
