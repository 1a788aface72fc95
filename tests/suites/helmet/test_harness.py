"""HELMET's command line and configs, and the results that its own code wrote on small data (`written/`)."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from selflong.formats import PREDICTIONS
from selflong.job import UserError
from selflong.recipe.models import Model
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import (
    HelmetSite,
    RemoteServing,
    TransformersServing,
    VllmCpu,
    VllmServing,
)
from selflong.recipe.weights import FolderWeights
from selflong.scores import aggregate
from selflong.suites.evaluation_job import Job
from selflong.suites.helmet import driver, harness, report
from selflong.suites.helmet.section import Helmet, Judge
from selflong.suites.measured import Measured
from tests.suites.jobs import job_of

WRITTEN = Path(__file__).parent / "written"
CONFIG = {
    "input_max_length": "512,1024,512,512",
    "datasets": "json_kv,json_kv,alce_asqa_3,narrativeqa_300",
    "generation_max_length": 8,
    "test_files": "a,b,c,",
    "demo_files": ",,,",
    "shots": 2,
    "use_chat_template": True,
    "max_test_samples": 100,
    "model_name_or_path": "somebody's",
}
ON_GPUS = '{"dtype": "bfloat16", "gpu_memory_utilization": 0.9}'
TASKS = {
    "KV": "json_kv substring_exact_match",
    "ASQA": "asqa str_em",
    "QA": "narrativeqa rougeL_f1",
}


def suite_of(**settings: Any) -> Helmet:
    given = {"configs": ["configs/all.yaml"], "tasks": TASKS, "lengths": [512], **settings}
    return Helmet(kind="helmet", models=["m"], **given)


def results() -> harness.Results:
    """What was written, as if ALCE's, which was asked at 1024, were of the same length."""
    found = harness.read_output(WRITTEN)
    return {(dataset, 512): samples for (dataset, _), samples in found.items()}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose HELMET writes nothing."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "all.yaml").write_text(json.dumps(CONFIG))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    site = HelmetSite(checkout=tmp_path, python=sys.executable)
    return job_of("h", suite_of(), tmp_path, tmp_path / "work", helmet=site)


def test_results_become_predictions(job: Job) -> None:
    suite = suite_of()
    found = list(harness._rows(suite, [512], results(), job.helmet, job))  # type: ignore[arg-type]
    frame = pl.DataFrame(found, schema_overrides={"prompt": pl.String})
    assert set(frame.columns) <= set(PREDICTIONS)
    assert frame.select("task", "index", "score").rows() == [
        ("KV", 0, 0.0), ("KV", 1, 0.0), ("ASQA", 0, 0.5), ("ASQA", 1, 0.5),
        ("QA", 0, 1.0), ("QA", 1, pytest.approx(2 / 7)),
    ]  # fmt: skip
    assert frame["prediction"][4] == "stone"
    assert frame["answers"][4].to_list() == ["stone", "the word stone"]
    assert 0 < frame["prompt_tokens"][4] <= 512


def test_what_helmet_left_out_is_named(job: Job) -> None:
    # Its eval.py logs a dataset's error and goes on, with status 0.
    written = results()
    del written["json_kv", 512]
    for tasks, message in (
        (TASKS, r"suites\.h\.tasks\.KV: HELMET wrote no result at 512"),
        ({"QA": "narrativeqa NDCG@10"}, r"tasks\.QA: none of its samples has 'NDCG@10': name an"),
        ({"Cite": "asqa citation_rec"}, r"'citation_rec': no answer has a sentence"),
    ):
        with pytest.raises(UserError, match=message):
            list(harness._rows(suite_of(tasks=tasks), [512], written, job.helmet, job))  # type: ignore[arg-type]


def test_an_answer_without_a_metric_of_its_own_is_left_out(job: Job) -> None:
    # eval_alce.py leaves answers without a sentence out of the means of their citations.
    samples = results()["alce_asqa_3", 512]
    cited = {("alce_asqa_3", 512): [samples[0] | {"citation_rec": 0.25}, samples[1]]}
    suite = suite_of(tasks={"Cite": "asqa citation_rec"})
    rows = list(harness._rows(suite, [512], cited, job.helmet, job))  # type: ignore[arg-type]
    assert [(row["index"], row["score"]) for row in rows] == [(0, 0.25)]


def test_of_a_config_the_datasets_and_lengths_of_the_suite_are_run() -> None:
    suite = suite_of(tasks={"KV": TASKS["KV"], "QA": TASKS["QA"]}, samples=7, chat_template=False)
    assert harness.narrowed(suite, [512], CONFIG) == {
        "input_max_length": "512,512",
        "datasets": "json_kv,narrativeqa_300",
        "generation_max_length": "8,8",
        "test_files": "a,",
        "demo_files": ",",
        "shots": 2,
        "use_chat_template": False,
        "max_test_samples": 7,
    }
    plain = harness.narrowed(suite_of(), [1024], CONFIG)
    assert (plain["test_files"], plain["use_chat_template"]) == ("b", True)
    assert harness.narrowed(suite_of(), [], CONFIG)["datasets"] == ""


@pytest.mark.parametrize(
    "dataset, task, same",
    [
        ("kilt_nq", "nq", True),
        ("icl_trec_coarse_400shot_balance", "icl_trec_coarse", True),
        ("icl_trec_fine_400shot_balance", "icl_trec_coarse", False),
        ("ruler_niah_mk_2", "ruler_niah_mk_3", False),
        ("kilt_popqa_3", "popqa", True),
        ("infbench_qa_eng_7982", "infbench_qa_eng", True),
        ("kilt_hotpotqa", "qa", False),
    ],
)
def test_a_task_names_a_dataset_at_every_length(dataset: str, task: str, same: bool) -> None:
    assert harness.is_of(dataset, f"{task} f1") is same


def test_a_length_that_no_config_asks_is_said_before_helmet_runs(job: Job, tmp_path: Path) -> None:
    suite = suite_of(lengths=[512, 1024])
    with pytest.raises(UserError, match=r"suites\.h\.configs: none of .* asks asqa at 1024: add"):
        harness.run(suite, job, tmp_path / "work")
    only = suite_of(tasks={"KV": TASKS["KV"]}, lengths=[512, 4096])
    with pytest.raises(UserError, match="HELMET ended with status 1"):  # 4096 is not supported
        harness.run(only, dataclasses.replace(job, supports=512), tmp_path / "work")


def test_the_command_is_that_of_its_readme(tmp_path: Path) -> None:
    site = HelmetSite(checkout=tmp_path, python="python")
    line = ["python", driver.__file__, "--config", "rag.json"]
    line += ["--model_name_or_path", "/c", "--output_dir", "/o"]
    cpu = ["--no_cuda", "--no_torch_compile"]
    for serving, more in (
        (VllmServing(kind="vllm"), ["--use_vllm", "--engine", ON_GPUS]),
        (
            VllmServing(kind="vllm", precision="float32", cpu=VllmCpu()),
            ["--use_vllm", "--engine", '{"dtype": "float32", "tensor_parallel_size": 1}'],
        ),
        (TransformersServing(kind="transformers", precision="bfloat16"), cpu),
        (TransformersServing(kind="transformers", precision="float32"), [*cpu, "--no_bf16"]),
    ):
        found = harness.command(site, Path("rag.json"), Path("/c"), serving, Path("/o"))
        assert found == [*line, *more]
    remote = RemoteServing(kind="remote", url="http://x", api_key_variable="X")
    with pytest.raises(UserError, match="use vllm or transformers"):
        harness.command(site, Path("rag.json"), Path("/c"), remote, Path("/o"))


def test_a_checkpoint_s_path_names_its_family_and_no_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # HELMET takes any path with "gpt" in it for OpenAI's, and tells Gemma and Llama by the name.
    checkpoint = tmp_path / "weak_generator_gpt_4o"
    checkpoint.mkdir()
    for family, name in (("gemma2", "gemma2"), ("gpt_oss", "model")):
        (checkpoint / "config.json").write_text(json.dumps({"model_type": family}))
        with harness._neutral_path(checkpoint) as link:
            assert link.name == name
            assert link.resolve() == checkpoint
    monkeypatch.setattr("tempfile.tempdir", str(checkpoint))
    refused = pytest.raises(UserError, match="TMPDIR: HELMET would ask a provider")
    with refused, harness._neutral_path(checkpoint):
        pass


def test_a_result_that_was_cut_is_asked_again(tmp_path: Path) -> None:
    whole = next(WRITTEN.glob("json_kv*.json"))
    shutil.copy(whole, tmp_path / "a.json")
    (tmp_path / "b.json").write_text(whole.read_text()[:300])
    harness._remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_checkout_that_is_none_is_refused_in_a_sentence(job: Job, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suites\.h: HELMET ended with status 1 .*model_utils"):
        harness.run(suite_of(), job, tmp_path / "work")
    with pytest.raises(UserError, match=r"config\.yaml: helmet is missing"):
        harness.run(suite_of(), dataclasses.replace(job, helmet=None), tmp_path / "work")
    with pytest.raises(
        UserError, match=r"helmet\.citations is missing: name the folder of google/"
    ):
        harness.run(suite_of(tasks={"Cite": "asqa citation_rec"}), job, tmp_path / "work")
    judge = Judge(model="some-judge", context_tokens=8192)
    with pytest.raises(
        UserError, match=r"helmet\.judge is missing: say where some-judge, the judge"
    ):
        harness.run(suite_of(judge=judge), job, tmp_path / "work")


def test_a_task_names_dataset_and_metric_and_somebody_judges() -> None:
    with pytest.raises(ValueError, match="tasks"):
        suite_of(tasks={"NQ": "nq"})
    with pytest.raises(ValueError, match=r"tasks\.QA: narrativeqa gpt-4-score needs a judge"):
        suite_of(tasks={"QA": "narrativeqa gpt-4-score"})


def test_its_scores_fill_a_table_that_names_the_judge(tmp_path: Path, job: Job) -> None:
    judge = Judge(model="some-judge", context_tokens=8192)
    suite = suite_of(tasks={**TASKS, "Judged": "narrativeqa gpt-4-score"}, judge=judge)
    recipe = Recipe(
        name="r",
        description="",
        seed=1,
        models={"m": Model(label="M", weights=FolderWeights(kind="folder", path=tmp_path))},
        suites={"helmet": suite},
    )
    rows = harness._rows(suite_of(), [512], results(), job.helmet, job)  # type: ignore[arg-type]
    predictions = pl.DataFrame(
        [{"suite": "helmet", "model": "m/initial", "depth": None, **row} for row in rows],
        schema_overrides={"prompt": pl.String, "depth": pl.Float64},
    )
    scores = aggregate({"all.parquet": predictions}, frozenset(), seed=1)
    (found,) = report.tables(suite, "helmet", Measured(recipe, scores, pl.DataFrame()))
    assert found.columns == ("Model", "Length", *TASKS, "Judged")
    ((_, _, *cells),) = found.rows
    assert [cell.value for cell in cells[:2]] == [0, 50]
    assert "Judged as some-judge judges the answers" in found.caption
    assert "ALCE's citations are not scored" in found.caption
    cited = suite.model_copy(update={"tasks": {**suite.tasks, "Cited": "asqa citation_rec"}})
    (found,) = report.tables(cited, "helmet", Measured(recipe, scores, pl.DataFrame()))
    assert "citations" not in found.caption
