"""RULER's generator beside the reference's, and alone at a million tokens, on one core.

    python benchmarks/ruler.py [--samples 100] [--lengths 131072 1048576] [--work FOLDER]

Prints one line of JSON. speed_ratio_128k: seconds of the reference (package nvidia-long-context-eval, one
process a task, as its launcher runs it) over seconds of this package (one process): same tasks, samples,
length and tokenizer, prompts written to files by both; for ruler_exact, and beside it for the convention
that gives the same prompts. seconds_1m and peak_gb_1m: ruler_exact alone. min_fill: of all samples of
ruler_exact; over_limit: of all samples. Nothing is extrapolated: `samples`, `tasks` and `lengths` say what
ran. The tokenizer has 128,000 entries over the pre-tokenizer of Llama 3; it is trained on the packaged text
once and kept in the work folder.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from selflong.evaluation.ruler import Sources, generate_samples, packaged_sources
from selflong.evaluation.ruler.sources import load_questions, load_words_of_haystack
from selflong.evaluation.ruler.tasks import TASKS
from selflong.tokens import load_tokenizer

SEED = 42
_LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BOS, _HEADER, _HEADER_END, _END = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    + f"{{{{ '{_HEADER}' + message['role'] + '{_HEADER_END}\\n\\n' }}}}"
    + f"{{{{ message['content'] | trim }}}}{_END}"
    + "{% endfor %}{% if add_generation_prompt %}"
    + f"{{{{ '{_HEADER}assistant{_HEADER_END}\\n\\n' }}}}"
    + "{% endif %}"
)
_ONE_CORE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# The reference's scripts read their arguments while they are imported; each is run as a script.
_RUN_SCRIPTS = """
import json, runpy, sys
for arguments in json.load(sys.stdin):
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""


def train_tokenizer(folder: Path, texts: Iterable[str], entries: int, bos: bool = True) -> None:
    """A byte-level BPE tokenizer like Llama 3's, with its chat template, as a Hugging Face folder."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA_3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [_BOS, _HEADER, _HEADER_END, _END]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=entries,
            special_tokens=control,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": _END,
        "chat_template": _CHAT_TEMPLATE if bos else _CHAT_TEMPLATE.replace("{{ bos_token }}", ""),
        "clean_up_tokenization_spaces": False,
        **({"bos_token": _BOS} if bos else {}),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer.save(str(folder / "tokenizer.json"))


def run_reference(
    tasks: Sequence[str],
    length: int,
    samples: int,
    tokenizer: Path,
    sources: Sources,
    folder: Path,
) -> dict[str, list[dict[str, Any]]]:
    """The rows that the reference writes for each task, all in one process, with a base model's template."""
    spec = find_spec("long_context_eval")
    assert spec is not None and spec.submodule_search_locations
    package = Path(next(iter(spec.submodule_search_locations)))
    from long_context_eval.data.synthetic.constants import TASKS as FAMILIES

    settings = yaml.safe_load((package / "synthetic.yaml").read_text())
    scripts = []
    for task in tasks:
        family = settings[task]["task"]
        arguments = {
            "save_dir": folder,
            "save_name": task,
            "tokenizer_path": tokenizer,
            "tokenizer_type": "hf",
            "max_seq_length": length,
            "tokens_to_generate": FAMILIES[family]["tokens_to_generate"],
            "num_samples": samples,
            "random_seed": SEED,
            "template": FAMILIES[family]["template"] + FAMILIES[family]["answer_prefix"],
            **settings[task]["args"],
        }
        script = str(package / "data/synthetic" / f"{family}.py")
        scripts.append([script, *(f"--{name}={value}" for name, value in arguments.items())])
    search = [package / "data/synthetic", package / "data"]
    subprocess.run(
        [sys.executable, "-c", _RUN_SCRIPTS],
        input=json.dumps(scripts),
        text=True,
        check=True,
        capture_output=True,
        env={
            **os.environ,
            **_ONE_CORE,
            "NLTK_DATA": str(sources.nltk_data),
            "PYTHONPATH": os.pathsep.join(map(str, search)),
        },
    )
    return {
        task: [
            json.loads(line)
            for line in (folder / task / "validation.jsonl").read_text("utf-8").split("\n")
            if line
        ]
        for task in tasks
    }


def generate(
    tasks: Sequence[str], length: int, samples: int, tokenizer: Path, convention: Any
) -> None:
    """All samples of this package in this process; prints what they cost as JSON."""
    sources = packaged_sources()
    loaded = load_tokenizer(tokenizer)
    fills, over, seconds, tokens = [], 0, {}, 0
    for task in tasks:
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as rows:
            for sample in generate_samples(
                task,
                length,
                samples,
                convention=convention,
                tokenizer=loaded,
                seed=SEED,
                sources=sources,
                chat=False,
            ):
                row = {"input": sample.prompt + sample.answer_prefix, "outputs": sample.answers}
                rows.write(json.dumps(row, ensure_ascii=False) + "\n")
                fills.append(sample.fill)
                over += sample.tokens + sample.generation_tokens > length
                tokens += sample.tokens
        seconds[task] = round(time.perf_counter() - start, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report = {
        "min_fill": min(fills),
        "over_limit": over,
        "peak_gb": peak,
        "tokens": tokens,
        "seconds_by_task": seconds,
    }
    print(json.dumps(report))


def measure(arguments: argparse.Namespace, length: int, convention: str) -> dict[str, Any]:
    """This package in a process of its own, with its seconds from start to end."""
    start = time.perf_counter()
    process = subprocess.run(
        [
            sys.executable,
            __file__,
            f"--generate={convention}",
            f"--samples={arguments.samples}",
            f"--work={arguments.work}",
            "--lengths",
            str(length),
            "--tasks",
            *arguments.tasks,
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **_ONE_CORE},
    )
    return {"seconds": time.perf_counter() - start, **json.loads(process.stdout)}


def measure_reference(arguments: argparse.Namespace, length: int, tokenizer: Path) -> float:
    """Seconds of the reference, a process for each task."""
    sources = packaged_sources()
    start = time.perf_counter()
    for task in arguments.tasks:
        with tempfile.TemporaryDirectory() as folder:
            run_reference([task], length, arguments.samples, tokenizer, sources, Path(folder))
    return time.perf_counter() - start


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[131_072, 1_048_576])
    parser.add_argument("--work", type=Path, default=Path("work/ruler"))
    parser.add_argument("--generate", help="a convention: generate at one length in this process")
    arguments = parser.parse_args()
    tokenizer = arguments.work / "tokenizer_128k"
    if arguments.generate:
        generate(
            arguments.tasks,
            arguments.lengths[0],
            arguments.samples,
            tokenizer,
            arguments.generate,
        )
        return
    if not (tokenizer / "tokenizer.json").exists():
        sources = packaged_sources()
        essays = " ".join(load_words_of_haystack(sources.essays))
        texts = [essays, *load_questions(sources.hotpotqa).documents]
        train_tokenizer(tokenizer, texts, 128_000)
    short, *long = arguments.lengths
    exact = measure(arguments, short, "ruler_exact")
    same_prompts = measure(arguments, short, "ruler_2024")
    reference = measure_reference(arguments, short, tokenizer)
    runs = [exact, *(measure(arguments, length, "ruler_exact") for length in long)]
    print(
        json.dumps(
            {
                "speed_ratio_128k": round(reference / exact["seconds"], 2),
                "speed_ratio_128k_same_prompts": round(reference / same_prompts["seconds"], 2),
                "seconds_1m": round(runs[-1]["seconds"], 1) if long else None,
                "peak_gb_1m": round(runs[-1]["peak_gb"], 2) if long else None,
                "min_fill": round(min(run["min_fill"] for run in runs), 5),
                "over_limit": sum(run["over_limit"] for run in [*runs, same_prompts]),
                "samples": arguments.samples,
                "tasks": len(arguments.tasks),
                "lengths": arguments.lengths,
                "seconds_128k": round(exact["seconds"], 1),
                "seconds_128k_same_prompts": round(same_prompts["seconds"], 1),
                "seconds_128k_reference": round(reference, 1),
                "nanoseconds_per_token": [
                    round(run["seconds"] / run["tokens"] * 1e9) for run in runs
                ],
                "seconds_by_task": [run["seconds_by_task"] for run in runs],
            }
        )
    )


if __name__ == "__main__":
    main()
