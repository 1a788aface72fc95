"""vLLM itself, its build for CPUs, serving the laptop's model: `make test-vllm`."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from selflong.evaluation.evaluate import evaluate
from selflong.formats import INSTRUCTIONS, PREDICTIONS, SAMPLES, read_parquet
from selflong.job import UserError
from selflong.llm import (
    Answer,
    Cache,
    Client,
    Endpoint,
    Patience,
    Refusal,
    answers,
    completion,
    run,
)
from selflong.llm.serve import serve
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import VllmCpu, VllmServing
from selflong.recipe.weights import FolderWeights
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.synthesis.agent import Setting
from selflong.synthesis.backtranslation import long_output
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.instructions import write_instructions
from selflong.tokens import load_tokenizer
from tests.suites.jobs import job_of
from tests.synthesis.conftest import GENERATOR, corpus, recipe
from tests.waiting import wait_for

__all__ = ["corpus", "recipe"]  # fixtures of the synthesis' tests

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm"),
]
SERVING = VllmServing(kind="vllm", precision="float32", cpu=VllmCpu(threads=1, cache_gib=1))
CONTEXT = 2048
BLOCK = 128
"""Tokens of a block of vLLM's cache on a CPU."""
GRID = NeedleGrid(kind="needle_grid", models=["m"], lengths=[512, 1024], depths=4, seed=7)


@pytest.fixture(scope="module")
def endpoint(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    log = tmp_path_factory.mktemp("server") / "vllm.log"
    weights = FolderWeights(kind="folder", path=model)
    with serve(SERVING, weights, name="m/initial", log=log, context_tokens=CONTEXT) as served:
        yield served


def test_it_takes_token_ids_and_gives_them(endpoint: Endpoint, model: Path, tmp_path: Path) -> None:
    assert endpoint.server == "vllm"
    tokenizer = load_tokenizer(model)
    words = ["The", "river", "runs", "from", "the", "mountains", "to", "the", "sea", "and"]
    prompts = [tokenizer.encode(" ".join(words[: 5 + number])) for number in range(6)]
    requests = [
        completion(prompt, max_tokens=5, temperature=0.0, return_token_ids=True)
        for prompt in prompts
    ]
    found, usage = answers(endpoint, tmp_path, requests)
    for prompt, answer in zip(prompts, found, strict=True):
        assert isinstance(answer, Answer)
        assert answer.prompt_tokens == len(prompt)  # no BOS of its own
        assert answer.token_ids is not None and answer.completion_tokens == len(answer.token_ids)
        assert answer.text == tokenizer.decode(answer.token_ids)
    assert usage.answered == 6
    again, usage = answers(endpoint, tmp_path, requests)
    assert again == found and usage.from_cache == 6


def test_what_is_too_long_is_refused_for_good(endpoint: Endpoint, tmp_path: Path) -> None:
    requests = [
        completion([5] * CONTEXT, max_tokens=4, temperature=0.0),
        completion([5] * (CONTEXT + 1), max_tokens=4, temperature=0.0),
        completion([5] * 8, max_tokens=4, temperature=0.0),
    ]
    exact, longer, short = answers(endpoint, tmp_path, requests)[0]
    assert isinstance(exact, Refusal) and isinstance(longer, Refusal) and isinstance(short, Answer)
    assert answers(endpoint, tmp_path, requests)[1].from_cache == 3


def test_a_beginning_is_read_once(endpoint: Endpoint, tmp_path: Path) -> None:
    beginning = [200 + number for number in range(5 * BLOCK)]
    first, second = (
        completion([*beginning, *end], max_tokens=2, temperature=0.0) for end in ([7, 8], [9, 10])
    )
    answers(endpoint, tmp_path, [first])
    ((answer,), _) = answers(endpoint, tmp_path, [second])
    assert isinstance(answer, Answer)
    assert answer.cached_tokens == 5 * BLOCK


def test_the_endpoint_wants_its_key(endpoint: Endpoint, tmp_path: Path) -> None:
    stranger = replace(endpoint, api_key="another")
    with pytest.raises(UserError, match="check the API key"):
        answers(stranger, tmp_path, [completion([5], max_tokens=1, temperature=0.0)])


def test_generators_are_asked_through_it(
    endpoint: Endpoint,
    recipe: Recipe,
    corpus: tuple[list[Path], list[Path]],
    model: Path,
    tmp_path: Path,
) -> None:
    documents, counts = corpus
    tokenizer = load_tokenizer(model, recipe.chat_date)
    setting = Setting(
        recipe=recipe, digest="d", generator_name=GENERATOR, endpoint=endpoint,
        cache=tmp_path / "requests", counter=tokenizer, target=tokenizer,
    )  # fmt: skip
    write_instructions(
        setting=setting, shard=0, documents=documents, token_counts=counts,
        instructions=tmp_path / "instructions.parquet", drops=tmp_path / "drops.parquet",
        usage=tmp_path / "usage.json",
    )  # fmt: skip
    assert read_parquet(tmp_path / "instructions.parquet", INSTRUCTIONS).height > 0
    outputs = [tmp_path / name for name in ("samples.parquet", "drops-2.parquet", "usage-2.json")]
    long_output(setting=setting, files=SampleShard(0, documents, counts, *outputs))
    samples = read_parquet(tmp_path / "samples.parquet", SAMPLES)
    provenance = samples["provenance"].struct.unnest()
    assert samples.height > 0
    assert set(provenance["server"]) == {"vllm"}


KILLED = """
import logging, sys
from pathlib import Path
from selflong.evaluation.evaluate import evaluate
from tests.suites.jobs import job_of
from tests.vllm.test_vllm import GRID, SERVING
logging.basicConfig(level=logging.INFO)
model, work, output = map(Path, sys.argv[1:])
evaluate(job_of("grid", GRID, model, work, serving=SERVING), output)
"""


def stored(folder: Path) -> int:
    """Bytes of the answers in a cache folder."""
    return sum(file.stat().st_size for file in folder.glob("*")) if folder.exists() else 0


def test_a_second_server_evaluates_killed_on_the_way(
    endpoint: Endpoint, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside the first one; nothing that was answered before the kill is asked again."""
    work, output = tmp_path / "work", tmp_path / "grid.parquet"
    with (tmp_path / "killed.log").open("w") as log:
        job = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(model), str(work), str(output)],
            stdout=log, stderr=log, cwd=Path(__file__).parents[2],
        )  # fmt: skip
    wait_for(lambda: stored(work / "requests") > 0, job.pid)
    servers = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(signal.SIGKILL)
    job.wait(30)
    assert psutil.wait_procs(servers, timeout=30)[1] == []
    assert not output.exists()
    with Cache(work / "requests") as cache:
        before = len(cache)
    caplog.set_level(logging.INFO)
    evaluate(job_of("grid", GRID, model, work, serving=SERVING), output)
    (found,) = re.findall(r"([\d,]+) stored before", caplog.text)[-1:]
    assert int(found) == before > 0
    predictions = read_parquet(output, PREDICTIONS)
    assert predictions.height == 8
    assert set(predictions["precision"]) == {"float32"}
    # What the loopback server says, in float32 as well: ties aside, which round otherwise.
    loopback = tmp_path / "loopback.parquet"
    evaluate(job_of("grid", GRID, model, tmp_path / "loopback"), loopback)
    other = read_parquet(loopback, PREDICTIONS)
    assert other["prompt"].equals(predictions["prompt"])
    assert (other["prediction"] == predictions["prediction"]).mean() >= 0.8


def test_two_replicas_answer_as_one(model: Path, tmp_path: Path) -> None:
    serving = SERVING.model_copy(update={"data_parallel": 2})
    weights = FolderWeights(kind="folder", path=model)
    requests = [
        completion(range(100 + number, 200 + number), max_tokens=4, temperature=0.0)
        for number in range(8)
    ]
    with serve(serving, weights, name="m", log=tmp_path / "log", context_tokens=CONTEXT) as two:
        assert two.slots == 512
        found, usage = answers(two, tmp_path / "cache", requests)
    assert usage.answered == 8
    assert all(isinstance(answer, Answer) for answer in found)


def test_a_server_that_died_ends_the_job(endpoint: Endpoint, tmp_path: Path) -> None:
    """The last to use the module's server."""
    (listening,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if "vllm" in " ".join(process.cmdline()) and str(endpoint.socket) in process.cmdline()
    )
    os.kill(listening.pid, signal.SIGKILL)

    async def ask() -> None:
        patience = Patience(attempts=3, first_pause_seconds=0.1)
        with Cache(tmp_path) as cache:
            async with Client(endpoint, cache, patience=patience) as client:
                await client.ask(completion([5, 6], max_tokens=2, temperature=0.0))

    with pytest.raises(UserError, match="answered nobody"):
        run(ask())
