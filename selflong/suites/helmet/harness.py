"""HELMET (arXiv 2410.02694) as an external harness, run in a checkout of its repository.

Its README names the command and where results go; its `eval.py` writes one JSON file for each dataset and
length, with `args` (`datasets`, `input_max_length`) and `data` (a table for each sample, which holds `output`
and its metrics from 0 to 1). ALCE's metrics stand beside it (`driver.py`), a model's scores are asked for
here (`judge.py`).
"""

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from selflong.formats import PREDICTIONS, table
from selflong.job import UserError
from selflong.recipe.reader import read_yaml
from selflong.recipe.site import HelmetSite, Serving, TransformersServing, VllmServing
from selflong.suites.evaluation_job import Job
from selflong.suites.helmet import driver
from selflong.suites.helmet.judge import judged
from selflong.suites.helmet.section import JUDGED, Helmet
from selflong.suites.load import supported
from selflong.suites.program import run_program, state_folder

logger = logging.getLogger(__name__)

COLUMNS = ("datasets", "test_files", "demo_files", "input_max_length", "generation_max_length")
"""Settings of a config that hold a value for each dataset, between commas."""
PROVIDERS = ("gpt", "claude", "gemini", "togetherapi")
"""What HELMET takes a model's path that holds one of them for: a model that its provider serves."""

CITATIONS = "google/t5_xxl_true_nli_mixture"
"""At the hub, what judges citations; eval_alce.py names it."""

Samples = list[dict[str, Any]]
Results = dict[tuple[str, int], Samples]
"""Dataset, as the config names it, and length -> samples."""


def run(suite: Helmet, job: Job, work: Path) -> pl.DataFrame:
    """formats.PREDICTIONS of the suite's tasks for the job's checkpoint, at the lengths that it supports.

    HELMET loads the checkpoint itself and passes over what it finished before in `work`.

    Raises UserError where it fails or leaves a result out; its logs stay in `work`.
    """
    name, site = job.suite_name, job.helmet
    if site is None:
        raise UserError(f"config.yaml: helmet is missing: suites.{name} needs a checkout of HELMET")
    if suite.judge is not None and site.judge is None:
        raise UserError(
            f"config.yaml: helmet.judge is missing: say where {suite.judge.model}, the judge of "
            f"suites.{name}, answers"
        )
    if suite.scores_citations and site.citations is None:
        raise UserError(
            f"config.yaml: helmet.citations is missing: name the folder of {CITATIONS}, which judges the "
            f"citations of suites.{name}"
        )
    lengths = supported(suite.lengths, job.supports)
    settings = {
        config: narrowed(suite, lengths, read_yaml(site.checkout / config))
        for config in suite.configs
    }
    _check_complete(name, suite, lengths, settings.values())
    results: Results = {}
    for config, wanted in settings.items():
        if wanted["datasets"]:
            output = _ask(site, Path(config).stem, wanted, suite, job, work)
            results |= read_output(output)
    rows = _rows(suite, lengths, results, site, job)
    return table([{"suite": name, "model": job.checkpoint, **row} for row in rows], PREDICTIONS)


def is_of(dataset: str, task: str) -> bool:
    """Whether a config's dataset, such as kilt_nq or icl_nlu_510shot, is that of a task on nq or icl_nlu."""
    return f"_{task.partition(' ')[0]}_" in f"_{dataset}_"


def narrowed(suite: Helmet, lengths: Sequence[int], config: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the suite's datasets at `lengths` alone, and its other settings."""
    columns = {name: _spread(config, name) for name in COLUMNS}
    kept = [
        place
        for place, (dataset, length) in enumerate(
            zip(columns["datasets"], columns["input_max_length"], strict=True)
        )
        if int(length) in lengths and any(is_of(dataset, task) for task in suite.tasks.values())
    ]
    found = {name: value for name, value in config.items() if name != "model_name_or_path"}
    found |= {name: ",".join(values[place] for place in kept) for name, values in columns.items()}
    if suite.samples is not None:
        found["max_test_samples"] = suite.samples
    if suite.chat_template is not None:
        found["use_chat_template"] = suite.chat_template
    return found


def _spread(config: Mapping[str, Any], name: str) -> list[str]:
    """A value for each dataset; one alone stands for all."""
    values = str(config[name]).split(",")
    count = len(str(config["datasets"]).split(","))
    return values * count if len(values) == 1 else values


def _check_complete(
    name: str, suite: Helmet, lengths: Sequence[int], settings: Iterable[Mapping[str, Any]]
) -> None:
    asked = {
        pair
        for wanted in settings
        for pair in zip(
            wanted["datasets"].split(","), wanted["input_max_length"].split(","), strict=True
        )
    }
    for task in suite.tasks.values():
        for length in lengths:
            if not any(is_of(dataset, task) and at == str(length) for dataset, at in asked):
                raise UserError(
                    f"suites.{name}.configs: none of {', '.join(suite.configs)} asks "
                    f"{task.partition(' ')[0]} at {length}: add one that does, or leave the length out"
                )


def _ask(
    site: HelmetSite, config: str, wanted: Mapping[str, Any], suite: Helmet, job: Job, work: Path
) -> Path:
    """The folder that HELMET wrote its results of a config to."""
    judge = [str(site.citations)] if suite.scores_citations else []
    folder = state_folder(work.absolute(), job.model, wanted, suite.thinking, *judge)
    output = folder / "output"
    _remove_parts(output)
    file = folder / f"{config}.json"
    file.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
    with _neutral_path(job.model) as model:
        run_program(
            f"suites.{job.suite_name}: HELMET",
            [
                *command(site, file, model, job.serving, output),
                *(["--citations", *judge] if judge else []),
                *["--thinking"] * suite.thinking,
            ],
            folder / f"{config}.log",
            job.serving,
            folder=site.checkout,
        )
    return output


def _remove_parts(output: Path) -> None:
    """HELMET would take a file that it was killed in for a result."""
    for path in output.glob("*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            path.unlink()


@contextmanager
def _neutral_path(checkpoint: Path) -> Iterator[Path]:
    """A link to a checkpoint that is named as its family, by which HELMET decides some of what it does."""
    family = read_yaml(checkpoint / "config.json").get("model_type", "model")
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / ("model" if any(word in family for word in PROVIDERS) else family)
        if word := next((word for word in PROVIDERS if word in str(link)), None):
            raise UserError(
                f"TMPDIR: HELMET would ask a provider for {link}, since it holds {word!r}: name another"
            )
        link.symlink_to(checkpoint.absolute(), target_is_directory=True)
        yield link


def command(
    site: HelmetSite, config: Path, checkpoint: Path, serving: Serving, output: Path
) -> list[str]:
    """Command line of HELMET, to be run in its checkout."""
    line = [site.python, driver.__file__, "--config", str(config)]
    line += ["--model_name_or_path", str(checkpoint), "--output_dir", str(output)]
    if isinstance(serving, VllmServing):
        return [*line, "--use_vllm", "--engine", json.dumps(engine(serving))]
    if isinstance(serving, TransformersServing):
        line += ["--no_cuda", "--no_torch_compile"]
        return [*line, "--no_bf16"] if serving.precision == "float32" else line
    raise UserError(
        f"evaluation: HELMET cannot run with kind {serving.kind!r}: use vllm or transformers"
    )


def engine(serving: VllmServing) -> dict[str, Any]:
    """What vLLM's engine is told beside what HELMET tells it, which takes all GPUs that it sees."""
    if serving.cpu is None:
        return {"dtype": serving.precision, "gpu_memory_utilization": serving.gpu_memory_share}
    return {"dtype": serving.precision, "tensor_parallel_size": 1}


def read_output(output: Path) -> Results:
    """Samples with their metrics, from the folder that HELMET wrote its results to."""
    results = {}
    for path in sorted(output.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        arguments, samples = content["args"], content["data"]
        scores = path.with_name(f"{path.name}.score")
        each = json.loads(scores.read_text(encoding="utf-8")) if scores.exists() else {}
        if isinstance(each, list):  # of ALCE; elsewhere means
            samples = [sample | more for sample, more in zip(samples, each, strict=True)]
        results[arguments["datasets"], int(arguments["input_max_length"])] = samples
    return results


def _rows(
    suite: Helmet, lengths: Sequence[int], results: Results, site: HelmetSite, job: Job
) -> Iterator[dict[str, Any]]:
    for length in lengths:
        for title, task in suite.tasks.items():
            metric = task.partition(" ")[2]
            place = f"suites.{job.suite_name}.tasks.{title}"
            dataset = next(
                (name for name, at in results if at == length and is_of(name, task)), None
            )
            if dataset is None:
                raise UserError(
                    f"{place}: HELMET wrote no result at {length}; see its logs in {job.work}"
                )
            samples = results[dataset, length]
            if metric in JUDGED:
                assert suite.judge is not None
                scores = judged(metric, dataset, samples, site, suite.judge, job.work / "judge")
            else:
                scores = [sample.get(metric) for sample in samples]
            if all(score is None for score in scores):
                raise UserError(f"{place}: none of its samples has {metric!r}: {_why_not(metric)}")
            for index, (sample, score) in enumerate(zip(samples, scores, strict=True)):
                if score is not None:
                    yield {
                        "task": title,
                        "length": length,
                        "index": index,
                        **_row(sample),
                        "score": float(score),
                    }


def _why_not(metric: str) -> str:
    if metric in JUDGED:
        return "the judge's replies cannot be read"
    if metric.startswith("citation_"):
        return "no answer has a sentence, and those without any are not judged"
    return "name another"


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    answers = sample.get("answer", [])
    return {
        "prompt": sample.get("input_text"),
        "prompt_tokens": sample["input_len"],
        "answers": [
            str(answer) for answer in (answers if isinstance(answers, list) else [answers])
        ],
        "prediction": sample["output"],
        "completion_tokens": sample["output_len"],
    }
