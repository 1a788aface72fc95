"""lm-evaluation-harness, run as a program; its samples become predictions like all others.

A sample's score is one metric of one filter of its task; all samples of a group count alike, as the harness
weighs them by size. Where the Open LLM Leaderboard reads a metric of a task, METRICS names the same.
"""

import json
import logging
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import PREDICTIONS, read_lines, read_object, remove, table
from selflong.integrity import damaged, forget, record_file, recorded
from selflong.job import UserError
from selflong.recipe.site import Serving, TransformersServing, VllmServing
from selflong.scores import length_name
from selflong.suites.evaluation_job import Job
from selflong.suites.lm_eval.section import HarnessTask, LmEval
from selflong.suites.program import run_program, state_folder

logger = logging.getLogger(__name__)

ANSWERS = "answers*.db"
METRICS = ("acc_norm", "exact_match", "prompt_level_strict_acc", "acc")
"""Of a sample's metrics the first that it has, where the recipe names none."""

Tasks = Mapping[str, HarnessTask]
"""Name in the table -> task."""


def run(suite: LmEval, job: Job, work: Path, python: str = sys.executable) -> pl.DataFrame:
    """formats.PREDICTIONS of the suite's tasks for the job's checkpoint.

    The harness loads the checkpoint itself, with transformers or vLLM as the job's serving says, once for
    each length that the model supports and each number of shots. It keeps its answers in `work`, so that
    an interrupted run goes on.

    Raises UserError where the harness fails; its log stays in `work`.
    """
    rows: list[dict[str, Any]] = []
    for length in suite.contexts:
        if length is not None and job.supports is not None and length > job.supports:
            continue
        for shots, tasks in _by_shots(suite.tasks).items():
            output = _ask(suite, job, work, tasks, shots, length, python)
            rows += [
                {"suite": job.suite_name, "model": job.checkpoint, "length": length, **row}
                for row in read_output(job.suite_name, tasks, length, output)
            ]
    return table(rows, PREDICTIONS)


def _by_shots(tasks: Tasks) -> dict[int | None, dict[str, HarnessTask]]:
    found: dict[int | None, dict[str, HarnessTask]] = defaultdict(dict)
    for title, task in tasks.items():
        found[task.shots][title] = task
    return found


def _ask(
    suite: LmEval,
    job: Job,
    work: Path,
    tasks: Tasks,
    shots: int | None,
    length: int | None,
    python: str,
) -> Path:
    """The folder that the harness wrote its results to."""
    settings = configuration(suite, job.model, job.serving, tasks, shots, length)
    folder = state_folder(work, job.model, settings)
    output = folder / "output"
    remove(output)
    settings |= {"output_path": str(output), "use_cache": str(folder / "answers")}
    config = folder / "config.json"
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    with _checked_answers(folder):
        run_program(
            f"suites.{job.suite_name}: lm-evaluation-harness",
            [python, "-m", "lm_eval", "run", "--config", str(config)],
            folder / "lm_eval.log",
            job.serving,
        )
    return output


@contextmanager
def _checked_answers(folder: Path) -> Iterator[None]:
    """Of the answers that the harness keeps (SQLite) drop what was damaged since: it is asked again.

    A digest stands beside them while nothing writes them; of those of a killed run SQLite tells what it can.
    """
    for path in folder.glob(ANSWERS):
        if not _is_whole(path):
            logger.warning("%s is damaged: its answers are asked for again", path)
            remove(path)
        forget(path)
    try:
        yield
    finally:
        for path in folder.glob(ANSWERS):
            record_file(path)


def _is_whole(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as database:
            readable = database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False
    return readable and not list(damaged(recorded(path)))


def configuration(
    suite: LmEval,
    checkpoint: Path,
    serving: Serving,
    tasks: Tasks,
    shots: int | None,
    length: int | None,
) -> dict[str, Any]:
    """What the harness reads of its `--config`, but for the places of its answers and results."""
    settings = {
        **_model(suite, checkpoint, serving, length),
        "tasks": sorted({task.name for task in tasks.values()}),
        "num_fewshot": shots,
        "limit": suite.limit,
        "log_samples": True,
        "apply_chat_template": suite.chat_template,
        "system_instruction": suite.system_prompt,
        "gen_kwargs": _generation(suite, serving),
        "metadata": _at(suite.metadata, length),
        "include_path": None if suite.task_files is None else str(suite.task_files.absolute()),
    }
    return {name: value for name, value in settings.items() if value not in (None, {})}


def _model(suite: LmEval, checkpoint: Path, serving: Serving, length: int | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {"pretrained": str(checkpoint)}
    if length is not None:
        arguments["max_length"] = length
    if suite.template_arguments:
        arguments["chat_template_args"] = suite.template_arguments
    if suite.reasoning_end is not None:
        arguments["think_end_token"] = suite.reasoning_end
    if isinstance(serving, VllmServing):
        arguments |= {
            "dtype": serving.precision,
            "tensor_parallel_size": serving.tensor_parallel,
            "data_parallel_size": serving.data_parallel,
        }
        if serving.cpu is None:
            arguments["gpu_memory_utilization"] = serving.gpu_memory_share
        else:
            arguments["enforce_eager"] = True  # compiling takes minutes and a compiler
        return {"model": "vllm", "model_args": arguments, "batch_size": "auto"}
    if isinstance(serving, TransformersServing):
        return {
            "model": "hf",
            "model_args": {**arguments, "dtype": serving.precision},
            "device": "cpu",
        }
    raise UserError(
        f"evaluation: lm-evaluation-harness cannot run with kind {serving.kind!r}: use vllm or transformers"
    )


def _generation(suite: LmEval, serving: Serving) -> dict[str, Any]:
    """What is said to all tasks that are written.

    Where a task names no temperature, the harness (0.4.13) gives vLLM none, which then samples at 1, although
    by the harness's own documentation it decodes greedily, as it does through transformers.
    """
    greedy = {"temperature": 0.0} if isinstance(serving, VllmServing) else {}
    return greedy | suite.generation


def _at(value: Any, length: int | None) -> Any:
    """`metadata` at a length."""
    if isinstance(value, dict):
        return {name: _at(inner, length) for name, inner in value.items()}
    if isinstance(value, list):
        return [_at(inner, length) for inner in value]
    if length is None or not isinstance(value, str):
        return value
    if value == "{length}":
        return length
    return value.replace("{length_name}", length_name(length)).replace("{length}", str(length))


def read_output(
    name: str, tasks: Tasks, length: int | None, output: Path
) -> Iterator[dict[str, Any]]:
    """Task, index and what a sample says, from the folder that the harness wrote with its samples logged."""
    summary = _file(output, "results_*.json")
    members: dict[str, list[str]] = read_object(summary)["group_subtasks"]
    for title, task in tasks.items():
        samples = [
            sample
            for leaf in _leaves(task.name, members)
            for sample in _of_one_filter(
                f"suites.{name}.tasks.{title}",
                task.filter,
                _file(summary.parent, f"samples_{leaf}_2*.jsonl"),
            )
        ]
        for index, sample in enumerate(samples):
            place = f"suites.{name}.tasks.{title}.metric"
            yield {"task": title, "index": index, **_row(place, sample, task.metric, length)}


def _file(folder: Path, pattern: str) -> Path:
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} must hold one {pattern}, it holds {len(found)}: run it again")
    return found[0]


def _leaves(task: str, members: Mapping[str, list[str]]) -> Iterator[str]:
    if not members.get(task):
        yield task
    for member in members.get(task, []):
        yield from _leaves(member, members)


def _of_one_filter(place: str, name: str | None, path: Path) -> list[dict[str, Any]]:
    """A task's samples; the harness writes each once for every filter, one filter after the other."""
    samples = read_lines(path)
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    chosen = filters[0] if name is None else name
    if chosen not in filters:
        raise UserError(f"{place}.filter: {chosen!r} is none of the task's: {', '.join(filters)}")
    kept = [sample for sample in samples if sample["filter"] == chosen]
    return sorted(kept, key=lambda sample: int(sample["doc_id"]))


def _row(
    place: str, sample: Mapping[str, Any], wanted: str | None, length: int | None
) -> dict[str, Any]:
    arguments = sample["arguments"]
    responses = sample["filtered_resps"]
    prediction = responses[0]
    if isinstance(prediction, list):  # (log-likelihood, is greedy) of each choice
        best = max(range(len(responses)), key=lambda choice: float(responses[choice][0]))
        prediction = arguments[f"gen_args_{best}"]["arg_1"]
    metric = wanted or _metric(sample, length)
    if metric not in sample["metrics"]:
        raise UserError(f"{place}: {metric!r} is none of {', '.join(sample['metrics'])}")
    score = sample[metric]
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise UserError(
            f"{place}: {metric} of a sample is {score!r}, not a number from 0 to 1: name another of "
            f"{', '.join(sample['metrics'])}"
        )
    return {
        "prompt": arguments["gen_args_0"]["arg_0"],
        "answers": [str(sample["target"])],
        "prediction": str(prediction),
        "score": float(score),
    }


def _metric(sample: Mapping[str, Any], length: int | None) -> str:
    known: list[str] = sample["metrics"]
    return next((name for name in (str(length), *METRICS) if name in known), known[0])
