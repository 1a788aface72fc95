"""lm-evaluation-harness run on a checkpoint, with tasks of our own that need no network."""

import json
from pathlib import Path

import pytest

from selflong.formats import PREDICTIONS
from selflong.job import UserError
from selflong.recipe.site import LlamaCppServing, VllmServing
from selflong.suites.short_tasks import harness
from selflong.suites.short_tasks.section import ShortTasks
from tests.suites.jobs import job_of

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
{more}
"""
CHOICE = """doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}"""
WRITTEN = """doc_to_target: "{{choices[0]}}"
generation_kwargs: {max_gen_toks: 4, until: ["\\n"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [
        {"question": f"{n} plus {n}?", "choices": [str(2 * n), "none"], "answer": 0}
        for n in range(4)
    ]
    data = folder / "sums.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows))
    for name, kind, more in (
        ("chosen", "multiple_choice", CHOICE),
        ("written", "generate_until", WRITTEN),
    ):
        text = TASK.format(name=name, data=data, kind=kind, more=more)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "sums.yaml").write_text("group: sums\ntask: [chosen, written]\n")
    return folder


def test_the_harness_runs_and_its_samples_become_predictions(
    checkpoint: Path, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    suite = ShortTasks(kind="short_tasks", models=["m"], tasks={"Sums": "sums"}, limit=3)
    work = tmp_path / "work"
    job = job_of("short", suite, checkpoint, work)
    found = harness.run(suite, job, work, include=tasks)
    assert dict(found.schema) == PREDICTIONS
    assert found["task"].to_list() == ["Sums"] * 6
    assert found["index"].to_list() == list(range(6))
    assert set(found["score"]) <= {0.0, 1.0}
    chosen, written = found[:3], found[3:]
    assert all(p in (str(2 * n), "none") for n, p in enumerate(chosen["prediction"]))
    assert chosen["prompt"].str.contains("<|im_start|>user", literal=True).all()
    assert written["answers"].to_list() == [["0"], ["2"], ["4"]]
    (summary,) = (work / "output").rglob("results_*.json")
    results = json.loads(summary.read_text())["results"]
    assert results["chosen"]["acc_norm,none"] == pytest.approx(chosen["score"].mean())
    assert results["written"]["exact_match,none"] == pytest.approx(written["score"].mean())


def test_a_harness_that_fails_says_so_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    suite = ShortTasks(kind="short_tasks", models=["m"], tasks={"X": "no_such_task_at_all"})
    with pytest.raises(UserError, match=r"suites\.short: lm-evaluation-harness ended with status"):
        harness.run(suite, job_of("short", suite, checkpoint, tmp_path), tmp_path)


def test_the_command_names_checkpoint_backend_and_limit(tmp_path: Path) -> None:
    suite = ShortTasks(
        kind="short_tasks",
        models=["m"],
        tasks={"BBH": "leaderboard_bbh", "MUSR": "leaderboard_musr"},
        limit=5,
    )
    serving = VllmServing(kind="vllm", tensor_parallel=4)
    line = harness.command(suite, Path("c"), serving, Path("w"), Path("o"), python="python")
    assert line == [
        *("python", "-m", "lm_eval", "run", "--model", "vllm", "--model_args"),
        "pretrained=c,dtype=bfloat16,tensor_parallel_size=4,data_parallel_size=1,"
        "gpu_memory_utilization=0.9",
        *("--batch_size", "auto", "--tasks", "leaderboard_bbh,leaderboard_musr"),
        *("--apply_chat_template", "--log_samples", "--output_path", "o"),
        *("--use_cache", "w/answers", "--limit", "5"),
    ]
    with pytest.raises(UserError, match="use vllm or transformers"):
        harness.command(suite, Path("c"), LlamaCppServing(kind="llama_cpp"), Path("w"), Path("o"))
