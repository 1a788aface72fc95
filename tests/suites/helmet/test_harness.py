"""HELMET's command line, and its results in the layout that its eval.py writes."""

import dataclasses
import json
import sys
from pathlib import Path

import polars as pl
import pytest

from selflong.formats import PREDICTIONS
from selflong.job import UserError
from selflong.recipe.models import Model
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import HelmetSite, RemoteServing, TransformersServing, VllmServing
from selflong.recipe.weights import FolderWeights
from selflong.scores import aggregate
from selflong.suites.helmet import harness, report
from selflong.suites.helmet.section import Helmet
from selflong.suites.measured import Measured
from tests.suites.jobs import job_of

SUITE = Helmet(
    kind="helmet",
    models=["m"],
    configs=["configs/recall.yaml", "configs/rag.yaml"],
    tasks={"JSON KV": "json_kv substring_exact_match", "NQ": "nq substring_exact_match"},
    lengths=[8192, 131072],
)


def write_result(folder: Path, dataset: str, length: int, scores: list[float]) -> None:
    """Two files a dataset and length, named as run_test of eval.py names them."""
    metrics = [{"exact_match": 0.0, "substring_exact_match": score} for score in scores]
    result = {
        "args": {"datasets": dataset, "input_max_length": length, "tag": "v1"},
        "data": [
            {"question": "Which?", "answer": ["a", "b"], "output": " b", "parsed_output": "b"}
            | {"input_len": length - 9, "output_len": 2, **metric}
            for metric in metrics
        ],
        "metrics": {"substring_exact_match": scores},
        "averaged_metrics": {"substring_exact_match": 100 * sum(scores) / len(scores)},
        "throughput": 0.1,
    }
    name = f"{dataset}_v1_test_in{length}_size100_shots2_sampFalsemax20min0t0.0p1.0_chatFalse_42"
    (folder / f"{name}.json").write_text(json.dumps(result))
    (folder / f"{name}.json.score").write_text(json.dumps(result["averaged_metrics"]))


def test_results_become_predictions(tmp_path: Path) -> None:
    for length, scores in ((8192, [1.0, 0.0]), (131072, [1.0])):
        write_result(tmp_path, "json_kv", length, scores)
        write_result(tmp_path, "nq", length, scores[::-1])
    write_result(tmp_path, "popqa", 8192, [1.0])  # not asked for
    found = harness.read_output("helmet", SUITE, "m/initial", tmp_path)
    assert dict(found.schema) == PREDICTIONS
    assert found.select("task", "length", "index", "score").rows() == [
        ("JSON KV", 8192, 0, 1.0),
        ("JSON KV", 8192, 1, 0.0),
        ("NQ", 8192, 0, 0.0),
        ("NQ", 8192, 1, 1.0),
        ("JSON KV", 131072, 0, 1.0),
        ("NQ", 131072, 0, 1.0),
    ]
    assert found["answers"][0].to_list() == ["a", "b"]
    assert (found["prediction"][0], found["prompt_tokens"][0]) == (" b", 8183)


def test_what_helmet_left_out_is_named(tmp_path: Path) -> None:
    # Its eval.py logs a dataset's error and goes on, with status 0.
    write_result(tmp_path, "json_kv", 8192, [1.0])
    with pytest.raises(UserError, match="no result of nq at 8192"):
        harness.read_output("helmet", SUITE, "m/initial", tmp_path)
    judged = SUITE.model_copy(update={"tasks": {"QA": "json_kv gpt-4-score"}, "lengths": [8192]})
    with pytest.raises(UserError, match="no metric 'gpt-4-score'"):
        harness.read_output("helmet", judged, "m/initial", tmp_path)


def test_the_command_is_that_of_its_readme(tmp_path: Path) -> None:
    site = HelmetSite(checkout=tmp_path, python="python")
    line = ["python", "eval.py", "--config", "configs/rag.yaml"]
    line += ["--model_name_or_path", "/c", "--output_dir", "/o"]
    vllm, cpu = VllmServing(kind="vllm"), TransformersServing(kind="transformers")
    for serving, more in ((vllm, "--use_vllm"), (cpu, "--no_cuda")):
        found = harness.command(site, "configs/rag.yaml", Path("/c"), serving, Path("/o"))
        assert found == [*line, more]
    remote = RemoteServing(kind="remote", url="http://x", api_key_variable="X")
    with pytest.raises(UserError, match="use vllm or transformers"):
        harness.command(site, "configs/rag.yaml", Path("/c"), remote, Path("/o"))


def test_a_checkout_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    site = HelmetSite(checkout=tmp_path, python=sys.executable)
    job = job_of("h", SUITE, tmp_path, tmp_path / "work", helmet=site)
    with pytest.raises(UserError, match=r"HELMET ended with status 2 on configs/recall\.yaml"):
        harness.run(SUITE, job, tmp_path / "work")
    with pytest.raises(UserError, match=r"config\.yaml: helmet is missing"):
        harness.run(SUITE, dataclasses.replace(job, helmet=None), tmp_path / "work")


def test_a_task_names_dataset_and_metric() -> None:
    with pytest.raises(ValueError, match="tasks"):
        Helmet(kind="helmet", models=["m"], configs=["c"], tasks={"NQ": "nq"}, lengths=[8192])


def test_its_scores_fill_a_table(tmp_path: Path) -> None:
    for length in SUITE.lengths:
        write_result(tmp_path, "json_kv", length, [1.0, 0.0])
        write_result(tmp_path, "nq", length, [1.0])
    recipe = Recipe(
        name="r",
        description="",
        seed=1,
        models={"m": Model(label="M", weights=FolderWeights(kind="folder", path=tmp_path))},
        suites={"helmet": SUITE},
    )
    predictions = harness.read_output("helmet", SUITE, "m/initial", tmp_path)
    scores = aggregate({"all.parquet": predictions}, frozenset(), seed=1)
    (found,) = report.tables(SUITE, "helmet", Measured(recipe, scores, pl.DataFrame()))
    assert found.columns == ("Model", "Length", "JSON KV", "NQ")
    assert [[cell.value for cell in row[2:]] for row in found.rows] == [[50, 100], [50, 100]]
