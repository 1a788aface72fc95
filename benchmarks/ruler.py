"""RULER's generator beside the reference's, and alone at a million tokens, on one core.

    python benchmarks/ruler.py [--samples 100] [--reference-samples 3] [--work FOLDER] [--job]

Prints one line of JSON. Seconds are CPU seconds of whole processes, start and imports included; each process
computes on one core, so on an idle machine they are what the clock shows (beside them as `clock_*`).

- speed_ratio_128k: seconds of the reference (package nvidia-long-context-eval, one process a task, as its
  launcher runs it) over seconds of this package (one process, all samples): the same 13 tasks, length and
  tokenizer, prompts written to files by both. THE REFERENCE IS EXTRAPOLATED: each of its processes makes
  `reference_samples` samples and is measured whole; the mean seconds of its samples then stand for the rest.
  speed_ratio_128k_same_prompts is that of ruler_2024, the convention that gives the reference's prompts.
- seconds_1m, peak_gb_1m: ruler_exact alone, one process, nothing extrapolated.
- min_fill: of all samples of ruler_exact; over_limit: samples of both conventions beyond their length.
- nanoseconds_per_token: of ruler_exact by length, the mean over the tasks of the median sample.
  Beforehand each task makes one sample of the longest length, so that segments are tokenised: that happens
  once a process.
- job_peak_gb_1m (with --job): the whole job of a suite of that many prompts of 1M tokens, asked of a server
  on loopback that answers at once, predictions in parquet.

The tokenizer has 128,000 entries over the pre-tokenizer of Llama 3; it is trained on the packaged text once
and kept in the work folder.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from selflong.evaluation.evaluate import evaluate
from selflong.recipe.site import RemoteServing
from selflong.suites.evaluation_job import Job
from selflong.suites.ruler.generator import Sources, generate_samples, packaged_sources
from selflong.suites.ruler.generator.sources import haystack_text, load_questions
from selflong.suites.ruler.section import RULER_TASKS, RulerSuite
from selflong.tokens import load_tokenizer

SEED = 42
LENGTH_128K, LENGTH_1M = 131_072, 1_048_576
LENGTHS_OF_TIMES = {1_048_576: 3, 262_144: 5, 65_536: 9, 16_384: 15, 4096: 31}
"""Length -> samples whose median counts."""
_KEY_VARIABLE = "RULER_BENCHMARK_KEY"
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
# The reference's scripts read their arguments while they are imported; each is run as a script. They loop
# over their samples under tqdm, which here notes the seconds of each.
_RUN_SCRIPTS = """
import json, runpy, sys, time, tqdm
seconds = []
class Timed(tqdm.tqdm):
    def __iter__(self):
        for item in super().__iter__():
            start = time.process_time()
            yield item
            seconds.append(time.process_time() - start)
tqdm.tqdm = Timed
for arguments in json.load(sys.stdin):
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
with open(sys.argv[1].removeprefix("--save_dir=") + "/seconds.json", "w") as file:
    json.dump(seconds, file)
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
    fills, over, seconds = [], 0, {}
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
        seconds[task] = round(time.perf_counter() - start, 2)
    report = {"min_fill": min(fills), "over_limit": over, "seconds_by_task": seconds}
    print(json.dumps(report | {"peak_gb": _peak_gb()}))


def time_samples(tasks: Sequence[str], tokenizer: Path) -> None:
    """Prints CPU nanoseconds per token by length as JSON."""
    sources = packaged_sources()
    loaded = load_tokenizer(tokenizer)
    found = {}
    for length, samples in LENGTHS_OF_TIMES.items():
        seconds = []
        for task in tasks:
            made = generate_samples(
                task,
                length,
                samples + 1,
                convention="ruler_exact",
                tokenizer=loaded,
                seed=SEED,
                sources=sources,
                chat=True,
            )
            next(made)
            seconds.append(median(_cpu_seconds(made)))
        found[length] = round(mean(seconds) / length * 1e9)
    print(json.dumps({"nanoseconds_per_token": dict(sorted(found.items()))}))


def _cpu_seconds(samples: Iterable[Any]) -> list[float]:
    moments = [time.process_time()]
    moments += [time.process_time() for _ in samples]
    return [after - before for before, after in pairwise(moments)]


def ask_job(
    tasks: Sequence[str], length: int, samples: int, tokenizer: Path, port: int, folder: Path
) -> None:
    """The job of a suite against the server at `port`; prints what it cost as JSON."""
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"max_position_embeddings": length}))
    suite = RulerSuite(
        kind="ruler",
        models=["model"],
        convention="ruler_exact",
        tasks=list(tasks),
        lengths=[length],
        samples={length: samples},
        seed=SEED,
    )
    job = Job(
        suite_name="ruler",
        suite=suite,
        checkpoint="model/initial",
        model=model,
        tokenizer=tokenizer,
        serving=RemoteServing(
            kind="remote", url=f"http://127.0.0.1:{port}", api_key_variable=_KEY_VARIABLE
        ),
        work=folder / "work",
        chat_date="26 Jul 2024",
    )
    evaluate(job, folder / "all.parquet")
    print(json.dumps({"peak_gb": _peak_gb()}))


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class ReadyAnswers(BaseHTTPRequestHandler):
    """Answers every completion at once; counts the ids of its prompt."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = {
            "choices": [{"text": "none", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": len(request["prompt"]), "completion_tokens": 1},
        }
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve_answers() -> None:
    """Prints the port and serves until the process is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ReadyAnswers)
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextmanager
def stopped() -> Iterator[dict[str, float]]:
    """Fills in what the processes that end in the block take: CPU `seconds` and `clock` seconds."""
    found: dict[str, float] = {}
    clock, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield found
    clock, before = time.perf_counter() - clock, used.ru_utime + used.ru_stime
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found |= {"seconds": used.ru_utime + used.ru_stime - before, "clock": clock}


@dataclass(frozen=True)
class Runs:
    """Starts this script again, a process for each measurement."""

    tasks: Sequence[str]
    samples: int
    work: Path

    @property
    def tokenizer(self) -> Path:
        return self.work / "tokenizer_128k"

    def command(self, part: str, *more: object) -> list[str]:
        options = [part, *more, "--samples", self.samples, "--work", self.work, "--tasks"]
        return [sys.executable, __file__, *map(str, options), *self.tasks]

    def measure(self, part: str, *more: object) -> dict[str, Any]:
        """What a part prints, with its seconds from start to end."""
        with stopped() as seconds:
            process = subprocess.run(
                self.command(part, *more),
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **_ONE_CORE, _KEY_VARIABLE: "none"},
            )
        found = {**json.loads(process.stdout), **seconds}
        print(f"{part} {more}: {json.dumps(found)}", file=sys.stderr)
        return found

    def measure_job(self, length: int) -> dict[str, Any]:
        """The job beside the server that it asks."""
        server = subprocess.Popen(
            self.command("--part=serve"), stdout=subprocess.PIPE, env={**os.environ, **_ONE_CORE}
        )
        try:
            assert server.stdout is not None
            return self.measure(
                "--part=job", "--length", length, "--port", int(server.stdout.readline())
            )
        finally:
            server.terminate()
            server.communicate()

    def measure_reference(self, length: int, samples: int) -> float:
        """Seconds of the reference for all samples, a process for each task, extrapolated from some."""
        sources = packaged_sources()
        total = 0.0
        for task in self.tasks:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                with stopped() as seconds:
                    run_reference([task], length, samples, self.tokenizer, sources, folder)
                whole = seconds["seconds"]
                per_sample = mean(json.loads((folder / "seconds.json").read_text()))
            total += whole + (self.samples - samples) * per_sample
            print(f"reference {task}: {whole:.1f} s, {per_sample:.2f} s a sample", file=sys.stderr)
        return total


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--reference-samples", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=RULER_TASKS, default=list(RULER_TASKS))
    parser.add_argument("--work", type=Path, default=Path("work/ruler"))
    parser.add_argument("--job", action="store_true", help="measure the whole job at 1M too")
    # What this script starts itself with.
    parser.add_argument("--part", default="all")
    parser.add_argument("--length", type=int)
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    runs = Runs(asked.tasks, asked.samples, asked.work)
    match asked.part:
        case "times":
            time_samples(asked.tasks, runs.tokenizer)
        case "job":
            with tempfile.TemporaryDirectory(dir=asked.work) as folder:
                ask_job(
                    asked.tasks,
                    asked.length,
                    asked.samples,
                    runs.tokenizer,
                    asked.port,
                    Path(folder),
                )
        case "serve":
            serve_answers()
        case "all":
            measure_all(runs, asked.reference_samples, asked.job)
        case convention:
            generate(asked.tasks, asked.length, asked.samples, runs.tokenizer, convention)


def measure_all(runs: Runs, reference_samples: int, with_job: bool) -> None:
    """Every measurement, one after the other."""
    if not (runs.tokenizer / "tokenizer.json").exists():
        sources = packaged_sources()
        essays = haystack_text(sources.essays)
        texts = [essays, *load_questions(sources.hotpotqa).documents]
        train_tokenizer(runs.tokenizer, texts, 128_000)
    exact = runs.measure("--part=ruler_exact", "--length", LENGTH_128K)
    reference = runs.measure_reference(LENGTH_128K, reference_samples)
    same_prompts = runs.measure("--part=ruler_2024", "--length", LENGTH_128K)
    longest = runs.measure("--part=ruler_exact", "--length", LENGTH_1M)
    times = runs.measure("--part=times")
    job = runs.measure_job(LENGTH_1M) if with_job else None
    print(
        json.dumps(
            {
                "speed_ratio_128k": round(reference / exact["seconds"], 2),
                "speed_ratio_128k_same_prompts": round(reference / same_prompts["seconds"], 2),
                "seconds_1m": round(longest["seconds"], 1),
                "clock_1m": round(longest["clock"], 1),
                "peak_gb_1m": round(longest["peak_gb"], 2),
                "job_peak_gb_1m": round(job["peak_gb"], 2) if job else None,
                "min_fill": round(min(exact["min_fill"], longest["min_fill"]), 5),
                "over_limit": sum(run["over_limit"] for run in (exact, same_prompts, longest)),
                "nanoseconds_per_token": times["nanoseconds_per_token"],
                "samples": runs.samples,
                "reference_samples": reference_samples,
                "tasks": len(runs.tasks),
                "seconds_128k": round(exact["seconds"], 1),
                "clock_128k": round(exact["clock"], 1),
                "seconds_128k_same_prompts": round(same_prompts["seconds"], 1),
                "seconds_128k_reference": round(reference, 1),
                "seconds_1m_by_task": longest["seconds_by_task"],
            }
        )
    )


if __name__ == "__main__":
    main()
