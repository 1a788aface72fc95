"""HELMET's code with small data of our own in its formats, at lengths of a few hundred tokens.

SELFLONG_HELMET names a checkout of https://github.com/princeton-nlp/HELMET, SELFLONG_HELMET_PYTHON a Python
with what envs/evaluation-helmet.txt names, SELFLONG_HELMET_VLLM one that has vLLM's build for CPUs too; its
34 GB of data are not needed.
"""

import json
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selflong.recipe.site import HelmetSite

CHECKOUT, PYTHON = os.environ.get("SELFLONG_HELMET"), os.environ.get("SELFLONG_HELMET_PYTHON")
VLLM_PYTHON = os.environ.get("SELFLONG_HELMET_VLLM")
NEEDS_HELMET = pytest.mark.skipif(
    not (CHECKOUT and PYTHON),
    reason="SELFLONG_HELMET and SELFLONG_HELMET_PYTHON name no checkout of HELMET and its Python",
)

CODE = (
    "arguments.py", "data.py", "eval.py", "eval_alce.py", "model_utils.py", "prompts", "scripts",
    "utils.py",
)  # fmt: skip
LENGTHS = (512, 1024)
WORDS = (
    "river", "market", "stone", "garden", "letter", "winter", "bridge", "captain", "silver",
    "window",
)  # fmt: skip
SAMPLES = 3


def small_site(folder: Path) -> HelmetSite:
    """A site whose HELMET lies in `folder`, which is made; of a test that NEEDS_HELMET."""
    assert CHECKOUT and PYTHON
    return HelmetSite(checkout=make_checkout(Path(CHECKOUT), folder), python=PYTHON)


def make_checkout(source: Path, folder: Path) -> Path:
    """A folder in which HELMET's code of the checkout `source` reads data of our own."""
    folder.mkdir()
    for name in CODE:
        (folder / name).symlink_to((source / name).absolute())
    rng = random.Random(7)
    _tokenizer(folder / "meta-llama" / "Llama-2-7b-hf")
    for write in (_recall, _rag, _rerank, _cite, _icl, _longqa, _summ):
        write(folder, rng)
    return folder


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words)).capitalize() + "."


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path.relative_to(path.parents[2]))


def _tokenizer(folder: Path) -> None:
    """A word is a token; what HELMET cuts books by."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def _config(folder: Path, name: str, datasets_: dict[str, dict[str, Any]], **settings: Any) -> None:
    """`datasets_`: dataset and length, as in json_kv@512 -> its files and its answer's tokens."""
    columns = {
        "input_max_length": [name.partition("@")[2] for name in datasets_],
        "datasets": [name.partition("@")[0] for name in datasets_],
        "generation_max_length": [str(of.get("answer", 10)) for of in datasets_.values()],
        "test_files": [of.get("test", "") for of in datasets_.values()],
        "demo_files": [of.get("demo", "") for of in datasets_.values()],
    }
    lines = [f"{key}: '{','.join(values)}'" for key, values in columns.items()]
    settings = {"use_chat_template": False, "max_test_samples": 100, "shots": 2, **settings}
    lines += [f"{key}: {str(value).lower()}" for key, value in settings.items()]
    lines.append("model_name_or_path: meta-llama/Llama-3.1-8B-Instruct")
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / f"{name}.yaml").write_text("\n".join(lines) + "\n")


def _recall(folder: Path, rng: random.Random) -> None:
    found = {}
    for length in LENGTHS:
        rows = []
        for _ in range(SAMPLES):
            pairs = {f"k{rng.randrange(10**6)}": f"v{rng.randrange(10**6)}" for _ in range(12)}
            keys = list(pairs)
            rows.append(
                {"context": json.dumps(pairs), "question": keys[5], "answer": pairs[keys[5]],
                 "demos": [[key, pairs[key]] for key in keys[:2]], "num_kvs": 12}
            )  # fmt: skip
        test = _lines(folder / "data" / "json_kv" / f"test_{length}.jsonl", rows)
        found[f"json_kv@{length}"] = {"test": test, "answer": 8}
        needles = [
            {"context": f"{_text(rng, 60)} The special magic number for {word} is: {number}.",
             "query": word, "type_needle_v": "number", "answer": [str(number)]}
            for word, number in zip(WORDS, rng.sample(range(10**6), SAMPLES), strict=False)
        ]  # fmt: skip
        test = _lines(folder / "data" / "ruler" / f"mk2_{length}.jsonl", needles)
        found[f"ruler_niah_mk_2@{length}"] = {"test": test, "answer": 8}
    _config(folder, "recall", found)


def _passages(rng: random.Random, answer: str, count: int) -> list[dict[str, Any]]:
    return [
        {"title": _text(rng, 2), "text": f"{_text(rng, 12)} {answer if i == 1 else ''}",
         "has_answer": i == 1, "id": str(100 + i), "label": 2 if i == 1 else 0}
        for i in range(count)
    ]  # fmt: skip


def _rag(folder: Path, rng: random.Random) -> None:
    rows = [
        {"id": f"q{n}", "question": f"{_text(rng, 5)[:-1]}?", "answers": [WORDS[n], "nobody"],
         "ctxs": _passages(rng, WORDS[n], 6)}
        for n in range(SAMPLES + 3)
    ]  # fmt: skip
    test = _lines(folder / "data" / "kilt" / "nq-dev.jsonl", rows[:SAMPLES])
    demo = _lines(folder / "data" / "kilt" / "nq-train.jsonl", rows[SAMPLES:])
    _config(folder, "rag", {"kilt_nq@1024": {"test": test, "demo": demo}})


def _rerank(folder: Path, rng: random.Random) -> None:
    rows = [
        {"qid": f"q{n}", "query": _text(rng, 4), "ctxs": _passages(rng, WORDS[n], 5)}
        for n in range(SAMPLES + 3)
    ]
    test = _lines(folder / "data" / "msmarco" / "test.jsonl", rows[:SAMPLES])
    demo = _lines(folder / "data" / "msmarco" / "demo.jsonl", rows[SAMPLES:])
    _config(folder, "rerank", {"msmarco_rerank_psg@1024": {"test": test, "demo": demo}})


def _cite(folder: Path, rng: random.Random) -> None:
    asqa = [
        {"question": f"{_text(rng, 5)[:-1]}?", "answer": _text(rng, 8), "docs": _passages(rng, WORDS[n], 4),
         "qa_pairs": [{"question": "Who?", "short_answers": [WORDS[n]]},
                      {"question": "Where?", "short_answers": ["nowhere"]}],
         "annotations": [{"long_answer": _text(rng, 8)}, {"long_answer": _text(rng, 8)}]}
        for n in range(SAMPLES)
    ]  # fmt: skip
    qampari = [
        {"question": row["question"], "answer": WORDS[n], "answers": [[WORDS[n]], ["nowhere"]],
         "docs": row["docs"]}
        for n, row in enumerate(asqa)
    ]  # fmt: skip
    found = {}
    for name, rows in (("asqa", asqa), ("qampari", qampari)):
        path = folder / "data" / "alce" / f"{name}.json"
        _lines(path, [])
        path.write_text(json.dumps(rows))
        found[f"alce_{name}_3@1024"] = {
            "test": f"data/alce/{name}.json", "demo": f"prompts/{name}_revised.json", "answer": 24,
        }  # fmt: skip
    _config(folder, "cite", found, use_chat_template=True, shots=0)


def _icl(folder: Path, rng: random.Random) -> None:
    names = ["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "coarse_label": datasets.ClassLabel(names=names)}
    )
    (folder / "CogComp" / "trec" / "data").mkdir(parents=True)
    for split, count in (("train", 60), ("test", 12)):
        rows = [
            {"text": f"{WORDS[n % 6]} {_text(rng, 4)}", "coarse_label": n % 6} for n in range(count)
        ]
        datasets.Dataset.from_list(rows, features=features).to_parquet(
            folder / "CogComp" / "trec" / "data" / f"{split}-00000-of-00001.parquet"
        )
    found = {
        f"icl_trec_coarse_{shots}shot_balance@{length}": {"answer": 4}
        for length, shots in zip(LENGTHS, (12, 30), strict=True)
    }
    _config(folder, "icl", found, shots=0, max_test_samples=6)


def _longqa(folder: Path, rng: random.Random) -> None:
    book = _text(rng, 140_000)  # HELMET takes books of more than 131,072 tokens
    stories = [
        {"document": {"text": f"{WORDS[n]} {book}"}, "question": {"text": "Which word comes first?"},
         "answers": [{"text": WORDS[n]}, {"text": f"the word {WORDS[n]}"}]}
        for n in range(SAMPLES)
    ]  # fmt: skip
    for split in ("train", "test"):
        _lines(folder / "narrativeqa" / "data" / f"{split}.jsonl", stories)
    rows = {
        "longbook_qa_eng": [
            {"id": n, "context": story["document"]["text"], "input": "Which word comes first?",
             "answer": [WORDS[n]], "options": []}
            for n, story in enumerate(stories)
        ],
        "longbook_sum_eng": [
            {"id": n, "context": story["document"]["text"], "input": "", "answer": [_text(rng, 20)],
             "options": []}
            for n, story in enumerate(stories)
        ],
    }  # fmt: skip
    base = folder / "xinrongzhang2022" / "infinitebench"
    (base / "data").mkdir(parents=True)
    for split, content in rows.items():
        (base / "data" / f"{split}-00000-of-00001.jsonl").write_text(
            "\n".join(json.dumps(row) for row in content)
        )
    found = {"narrativeqa_300@512": {"answer": 8}, "infbench_qa_eng_300@512": {"answer": 8}}
    _config(folder, "longqa", found, use_chat_template=True, shots=1)


def _summ(folder: Path, rng: random.Random) -> None:
    base = folder / "allenai" / "multi_lexsum"
    rows = [
        {"id": f"case-{n}", "sources": [_text(rng, 40_000), _text(rng, 40_000)],
         "summary/short": _text(rng, 20), "summary/long": _text(rng, 40)}
        for n in range(SAMPLES)
    ]  # fmt: skip
    for split in ("train", "validation"):
        _lines(base / "data" / f"{split}.jsonl", rows)
    files = "".join(
        f"      - {{split: {split}, path: data/{split}.jsonl}}\n"
        for split in ("train", "validation")
    )
    (base / "README.md").write_text(
        f"---\nconfigs:\n  - config_name: v20230518\n    data_files:\n{files}---\n"
    )
    points = [{"id": row["id"], "summary/short_keypoints": ["One.", "Two."]} for row in rows]
    _lines(folder / "data" / "multi_lexsum" / "multi_lexsum_val.jsonl", points)
    books = [{"id": n, "keypoints": ["First.", "Second.", "Third."]} for n in range(SAMPLES)]
    _lines(folder / "data" / "infbench" / "longbook_sum_eng_keypoints.jsonl", books)
    found = {"infbench_sum_eng_300@512": {"answer": 24}, "multi_lexsum_300@512": {"answer": 24}}
    _config(folder, "summ", found, use_chat_template=True, shots=1)
