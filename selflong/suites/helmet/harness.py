"""HELMET (arXiv 2410.02694) as an external harness, run in a checkout of its repository.

Its README names the command and where results go; its `eval.py` writes one JSON file for each dataset and
length, with `args` (`datasets`, `input_max_length`) and `data` (a table for each sample, which holds `output`
and its metrics from 0 to 1). Metrics that a further program adds (a judge's, ALCE's citations) are not read.
"""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.recipe.site import HelmetSite, Serving, TransformersServing, VllmServing
from selflong.suites.helmet.section import Helmet
from selflong.suites.job import Job

logger = logging.getLogger(__name__)


def run(suite: Helmet, job: Job, work: Path) -> pl.DataFrame:
    """formats.PREDICTIONS of the suite's tasks for the job's checkpoint.

    HELMET loads the checkpoint itself and passes over what it finished before in `work`.

    Raises UserError where it fails or leaves a result out; its logs stay in `work`.
    """
    name, site = job.suite_name, job.helmet
    if site is None:
        raise UserError(f"config.yaml: helmet is missing: suites.{name} needs a checkout of HELMET")
    output = work.absolute() / "output"
    output.mkdir(parents=True, exist_ok=True)
    for config in suite.configs:
        log = work / f"{Path(config).stem}.log"
        logger.info("HELMET runs %s, its log is %s", config, log)
        line = command(site, config, job.model.absolute(), job.serving, output)
        with log.open("w", encoding="utf-8") as stream:
            ended = subprocess.run(
                line, cwd=site.checkout, stdout=stream, stderr=subprocess.STDOUT, check=False
            )
        if ended.returncode != 0:
            raise UserError(
                f"suites.{name}: HELMET ended with status {ended.returncode} on {config}; its log is {log}"
            )
    return read_output(name, suite, job.checkpoint, output)


def command(
    site: HelmetSite, config: str, checkpoint: Path, serving: Serving, output: Path
) -> list[str]:
    """Command line of HELMET, to be run in its checkout."""
    line = [site.python, "eval.py", "--config", config]
    line += ["--model_name_or_path", str(checkpoint), "--output_dir", str(output)]
    if isinstance(serving, VllmServing):
        return [*line, "--use_vllm"]
    if isinstance(serving, TransformersServing):
        return [*line, "--no_cuda"]
    raise UserError(
        f"evaluation: HELMET cannot run with kind {serving.kind!r}: use vllm or transformers"
    )


def read_output(name: str, suite: Helmet, model: str, output: Path) -> pl.DataFrame:
    """formats.PREDICTIONS from the folder that HELMET wrote its results to."""
    results = {}
    for path in sorted(output.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        arguments = content["args"]
        results[arguments["datasets"], int(arguments["input_max_length"])] = path, content["data"]
    rows: list[dict[str, Any]] = []
    for length in suite.lengths:
        for title, task in suite.tasks.items():
            dataset, _, metric = task.partition(" ")
            if (dataset, length) not in results:
                raise UserError(
                    f"suites.{name}: HELMET wrote no result of {dataset} at {length}; see its logs "
                    f"beside {output}"
                )
            path, samples = results[dataset, length]
            key = {"suite": name, "model": model, "task": title, "length": length}
            rows += [
                {**key, "index": index, **_row(sample, metric, path)}
                for index, sample in enumerate(samples)
            ]
    return table(rows, PREDICTIONS)


def _row(sample: dict[str, Any], metric: str, path: Path) -> dict[str, Any]:
    if metric not in sample:
        raise UserError(f"{path}: its samples have no metric {metric!r}: name another in the suite")
    answers = sample.get("answer", [])
    return {
        "prompt": sample.get("question"),
        "prompt_tokens": sample["input_len"],
        "answers": [
            str(answer) for answer in (answers if isinstance(answers, list) else [answers])
        ],
        "prediction": sample["output"],
        "completion_tokens": sample["output_len"],
        "score": float(sample[metric]),
    }
