"""lm-evaluation-harness run on a checkpoint, with tasks of our own that need no network."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from selflong.formats import PREDICTIONS
from selflong.job import UserError
from selflong.recipe.site import LlamaCppServing, TransformersServing, VllmServing
from selflong.suites.lm_eval import harness
from selflong.suites.lm_eval.section import LmEval
from tests.suites.jobs import job_of

TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
fewshot_split: test
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
FILTERED = (
    WRITTEN
    + """
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - name: nothing
    filter: [{function: regex, regex_pattern: (nowhere), fallback: none}, {function: take_first}]"""
)
MADE = """task: made
custom_dataset: !function made.rows
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{length}}"
process_results: !function made.score
generation_kwargs: {max_gen_toks: 4, until: []}
metric_list:
  - {metric: "256", aggregation: mean, higher_is_better: true}
"""
FUNCTIONS = """import datasets

def rows(**given):
    lengths = given["max_seq_lengths"]
    docs = [{"question": "word " * 4 * length + "End?", "length": length} for length in lengths]
    return {"test": datasets.Dataset.from_list(docs)}

def score(doc, results):
    return {str(doc["length"]): 0.25, "acc": 1.0}
"""
LENGTH = 256


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        # A line separator of Unicode, as texts of the web hold it.
        {"question": f"{n} plus\u2028{n}?", "choices": [str(2 * n), "none"], "answer": 0}
        for n in range(4)
    ]
    data = folder / "sums.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows))
    for name, kind, more in (
        ("chosen", "multiple_choice", CHOICE),
        ("written", "generate_until", WRITTEN),
        ("filtered", "generate_until", FILTERED),
    ):
        text = TASK.format(name=name, data=data, kind=kind, more=more)
        (folder / f"{name}.yaml").write_text(text)
    (folder / "sums.yaml").write_text("group: sums\ntask: [chosen, written]\n")
    (folder / "made.yaml").write_text(MADE)
    (folder / "made.py").write_text(FUNCTIONS)
    return folder


def suite_of(**settings: Any) -> LmEval:
    return LmEval(kind="lm_eval", models=["m"], **settings)


@pytest.fixture(scope="module")
def suite(tasks: Path) -> LmEval:
    return suite_of(
        tasks={
            "Sums": {"name": "sums", "shots": 1},
            "First": {"name": "filtered", "shots": 1},
            "Nothing": {"name": "filtered", "shots": 1, "filter": "nothing"},
            "Made": {"name": "made", "shots": 1},
        },
        lengths=[LENGTH, 4096],
        metadata={"max_seq_lengths": ["{length}"]},
        limit=3,
        task_files=tasks,
        system_prompt="Add.",
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(
    checkpoint: Path, suite: LmEval, work: Path, tmp_path_factory: pytest.TempPathFactory
) -> pl.DataFrame:
    """Predictions of a checkpoint that supports the first of the lengths alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        return harness.run(suite, job_of("short", suite, checkpoint, work, supports=LENGTH), work)


def results(work: Path) -> dict[str, Any]:
    (summary,) = work.rglob("results_*.json")
    content: dict[str, Any] = json.loads(summary.read_text())["results"]
    return content


def test_the_harness_runs_and_its_samples_become_predictions(
    found: pl.DataFrame, work: Path
) -> None:
    assert dict(found.schema) == PREDICTIONS
    assert found["length"].to_list() == [LENGTH] * 13
    sums = found.filter(pl.col("task") == "Sums")
    assert sums["index"].to_list() == list(range(6))
    assert set(sums["score"]) <= {0.0, 1.0}
    chosen, written = sums[:3], sums[3:]
    assert all(p in (str(2 * n), "none") for n, p in enumerate(chosen["prediction"]))
    assert written["answers"].to_list() == [["0"], ["2"], ["4"]]
    assert results(work)["chosen"]["acc_norm,none"] == pytest.approx(chosen["score"].mean())
    assert results(work)["written"]["exact_match,none"] == pytest.approx(written["score"].mean())


def test_prompts_have_the_template_the_shots_and_the_system_prompt(found: pl.DataFrame) -> None:
    prompts = found.filter(pl.col("task") == "Sums")["prompt"]
    assert prompts.str.contains("<|im_start|>system\nAdd.<|im_end|>", literal=True).all()
    assert prompts.str.count_matches("<|im_start|>assistant", literal=True).to_list() == [2] * 6


def test_one_filter_of_a_task_is_read(found: pl.DataFrame) -> None:
    # The harness writes a sample for every filter (lm-evaluation-harness#1687).
    first, nothing = (found.filter(pl.col("task") == task) for task in ("First", "Nothing"))
    assert nothing["prediction"].to_list() == ["none"] * 3
    written = found.filter(pl.col("task") == "Sums")["prediction"][3:]
    assert first["prediction"].to_list() == written.to_list()


def test_a_task_makes_its_data_by_the_length_and_is_scored_by_it(
    found: pl.DataFrame, work: Path
) -> None:
    made = found.filter(pl.col("task") == "Made")
    assert made.select("answers", "score").rows() == [([str(LENGTH)], 0.25)]
    (log,) = work.rglob("lm_eval.log")
    assert "truncating to last 252 tokens" in log.read_text()  # 4 are left for the answer


def test_a_mistake_in_a_tasks_settings_is_named(found: pl.DataFrame, work: Path) -> None:
    (output,) = work.rglob("output")
    for setting, message in (
        ({"filter": "flexible"}, r"suites\.s\.tasks\.X\.filter: 'flexible' is none of .*: first, nothing"),
        ({"metric": "f1"}, r"suites\.s\.tasks\.X\.metric: 'f1' is none of exact_match"),
    ):  # fmt: skip
        tasks = suite_of(tasks={"X": {"name": "filtered", **setting}}).tasks
        with pytest.raises(UserError, match=message):
            list(harness.read_output("s", tasks, LENGTH, output))


def test_a_score_that_is_no_share_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results_1.json").write_text(json.dumps({"group_subtasks": {"words": []}}))
    sample = {
        "doc_id": 0, "filter": "none", "metrics": ["word_perplexity"], "word_perplexity": 17.5,
        "arguments": {"gen_args_0": {"arg_0": "x"}}, "filtered_resps": ["y"], "target": "z",
    }  # fmt: skip
    (tmp_path / "samples_words_2026.jsonl").write_text(json.dumps(sample) + "\n")
    tasks = suite_of(tasks={"Words": "words"}).tasks
    with pytest.raises(UserError, match=r"word_perplexity of a sample is 17\.5, not a number from"):
        list(harness.read_output("s", tasks, None, tmp_path))


def test_answers_of_other_weights_or_settings_are_not_taken(
    checkpoint: Path, found: pl.DataFrame, work: Path, tmp_path: Path
) -> None:
    (kept,) = (path.parent for path in work.rglob("answers*.db"))
    (tmp_path / "config.json").write_text("{}")
    settings = json.loads((kept / "config.json").read_text())
    del settings["output_path"], settings["use_cache"]
    assert harness.state_folder(work, checkpoint, settings) == kept
    assert harness.state_folder(work, tmp_path, settings) != kept
    assert harness.state_folder(work, checkpoint, {**settings, "limit": 4}) != kept


def test_a_harness_that_fails_says_so_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    suite = suite_of(tasks={"X": "no_such_task_at_all"})
    with pytest.raises(UserError, match=r"suites\.short: lm-evaluation-harness ended with status"):
        harness.run(suite, job_of("short", suite, checkpoint, tmp_path), tmp_path)


def test_what_the_harness_is_told(tmp_path: Path) -> None:
    suite = suite_of(
        tasks={"BBH": "leaderboard_bbh", "MUSR": "leaderboard_musr"},
        limit=5,
        reasoning_end="</think>",
        template_arguments={"enable_thinking": True},
        generation={"max_gen_toks": 32768},
        metadata={"max_seq_lengths": "{length_name}", "about": "{length} tokens", "kept": 1},
    )
    serving = VllmServing(kind="vllm", tensor_parallel=4)
    assert harness.configuration(suite, Path("c"), serving, suite.tasks, 3, 8192) == {
        "model": "vllm",
        "model_args": {
            "pretrained": "c",
            "max_length": 8192,
            "chat_template_args": {"enable_thinking": True},
            "think_end_token": "</think>",
            "dtype": "bfloat16",
            "tensor_parallel_size": 4,
            "data_parallel_size": 1,
            "gpu_memory_utilization": 0.9,
        },
        "batch_size": "auto",
        "tasks": ["leaderboard_bbh", "leaderboard_musr"],
        "num_fewshot": 3,
        "limit": 5,
        "log_samples": True,
        "apply_chat_template": True,
        "gen_kwargs": {"temperature": 0.0, "max_gen_toks": 32768},
        "metadata": {"max_seq_lengths": "8k", "about": "8192 tokens", "kept": 1},
    }
    plain = suite_of(tasks={"BBH": "leaderboard_bbh"}, chat_template=False)
    serving = TransformersServing(kind="transformers", precision="float32")
    assert harness.configuration(plain, Path("c"), serving, plain.tasks, None, None) == {
        "model": "hf",
        "model_args": {"pretrained": "c", "dtype": "float32"},
        "device": "cpu",
        "tasks": ["leaderboard_bbh"],
        "log_samples": True,
        "apply_chat_template": False,
    }
    warm = suite_of(tasks={"BBH": "leaderboard_bbh"}, generation={"temperature": 0.6})
    serving = VllmServing(kind="vllm")
    told = harness.configuration(warm, Path("c"), serving, warm.tasks, None, None)
    assert told["gen_kwargs"] == {"temperature": 0.6}
    with pytest.raises(UserError, match="use vllm or transformers"):
        harness.configuration(
            plain, Path("c"), LlamaCppServing(kind="llama_cpp"), plain.tasks, None, None
        )
