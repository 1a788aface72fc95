"""Serving a model for as long as a job needs it: `with serve(serving, weights, ...) as endpoint:`.

A server that the job starts runs in a process of its own, so that it can be ended and its memory goes back;
it listens on this machine alone, wants a random key, and ends with the job however the job ends. The key
travels in the environment, where other users cannot read it.

Nobody can take the server's place. Our own servers bind a port of the kernel's choice and say which, through
a pipe that nobody else holds. vLLM, which can only be told a port that is free (and shares none by
SO_REUSEPORT), listens on a Unix socket in a folder that is open to this user alone.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import selflong
from selflong.formats import file_sha256, read_object
from selflong.job import UserError
from selflong.llm import server_process
from selflong.llm.keys import api_key
from selflong.llm.protocol import Batches, Endpoint
from selflong.packages import find_gguf
from selflong.precision import decided_serving
from selflong.recipe.site import (
    BatchApi,
    LlamaCppServing,
    RemoteServing,
    Serving,
    TransformersServing,
    VllmCpu,
    VllmServing,
)
from selflong.recipe.weights import FolderWeights, GgufWeights, HubWeights, Price, Weights

logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "SELFLONG_API_KEY"
START_SECONDS = 3600.0  # vLLM compiles, and weights may come from a slow file system
STOP_SECONDS = 20.0
VLLM_SEQUENCES = 256  # a data-parallel replica's; vLLM queues what exceeds its memory
TRANSFORMERS_SLOTS = 16  # twice the rows that decode together: the next prompts wait at hand
LOG_LINES = 15
LONGEST_SOCKET = 107  # bytes (unix(7))
# A prompt of 1M tokens takes minutes and others wait before it; a server that died is noticed at once.
ANSWER_SECONDS = 4 * 3600.0
BATCH_SECONDS = 48 * 3600.0  # twice the window that a batch is answered in


@dataclass(frozen=True)
class _Server:
    """A server to start: how, and what its endpoint will be."""

    command: Sequence[str]
    environment: Mapping[str, str]
    identity: str
    slots: int
    context_tokens: int
    package: str
    api_key: str = field(repr=False)
    socket: Path | None = None
    """Where it listens; without one it says its port at the end of a pipe (selflong.llm.server_process)."""


@dataclass(frozen=True)
class _Wanted:
    """What is to be served on this machine, and under which name."""

    weights: Weights | None
    name: str
    context_tokens: int | None
    api_key: str = field(repr=False)


@contextmanager
def serve(
    serving: Serving,
    weights: Weights | None,
    *,
    name: str,
    log: Path,
    context_tokens: int | None = None,
    price: Price | None = None,
) -> Iterator[Endpoint]:
    """An endpoint that answers for `weights`, until the block ends.

    name: the model's name in requests. log: the server's own output. context_tokens: prompt and answer
    together; the checkpoint's max_position_embeddings where it is not given. Call it in the job's main
    thread: a server ends with the thread that started it.

    Raises UserError where the weights do not suit the server or the server does not come up.
    """
    if isinstance(serving, RemoteServing):
        yield _remote(serving, weights, name, context_tokens, price)
        return
    serving = decided_serving(serving, name)
    wanted = _Wanted(weights, name, context_tokens, secrets.token_urlsafe(32))
    with ExitStack() as held:
        if isinstance(serving, LlamaCppServing):
            server = _llama_cpp(serving, wanted)
        elif isinstance(serving, VllmServing):
            server = _vllm(serving, wanted, held.enter_context(_private_socket()))
        else:
            server = _transformers(serving, wanted)
        port = held.enter_context(_running(server, name, log))
        yield Endpoint(
            base_url="http://localhost" if port is None else f"http://127.0.0.1:{port}",
            socket=server.socket,
            api_key=wanted.api_key,
            model=name,
            identity=server.identity,
            slots=server.slots,
            context_tokens=server.context_tokens,
            server=server.package,
            server_version=importlib.metadata.version(server.package),
            price=price,
            timeout_seconds=ANSWER_SECONDS,
        )


def _remote(
    serving: RemoteServing,
    weights: Weights | None,
    name: str,
    context_tokens: int | None,
    price: Price | None,
) -> Endpoint:
    key = api_key(serving)
    if context_tokens is None and isinstance(weights, FolderWeights):
        context_tokens = checkpoint_context(weights.path)
    if context_tokens is None:
        raise UserError(f"{name}: a remote model needs context_tokens in the recipe")
    base_url = serving.url.rstrip("/").removesuffix("/v1")
    return Endpoint(
        base_url=base_url,
        api_key=key,
        model=name,
        identity=f"remote {base_url} {name}",
        context_tokens=context_tokens,
        server=base_url,
        server_version="unknown",
        price=_price(price, serving.batch),
        takes_token_ids=False,
        parameters={str(name): other for name, other in serving.parameters.items()},
        additions={"reasoning_effort": serving.reasoning_effort}
        if serving.reasoning_effort
        else {},
        reasoning_tokens=serving.reasoning_tokens,
        takes_schemas=serving.json_schema,
        **_by_batches(serving.batch, serving.maximum_concurrency),
    )


def _price(price: Price | None, batch: BatchApi | None) -> Price | None:
    if price is None or batch is None:
        return price
    share = batch.price_share
    return Price(prompt=share * price.prompt, completion=share * price.completion)


def _by_batches(batch: BatchApi | None, concurrency: int) -> dict[str, Any]:
    """What an endpoint is where requests go to it by batches: all that are at hand go together."""
    if batch is None:
        return {"slots": concurrency}
    settings = Batches(batch.requests, batch.gather_seconds, batch.poll_seconds)
    return {"batches": settings, "slots": batch.requests, "timeout_seconds": BATCH_SECONDS}


def _llama_cpp(serving: LlamaCppServing, wanted: _Wanted) -> _Server:
    weights, name, context_tokens = wanted.weights, wanted.name, wanted.context_tokens
    if not isinstance(weights, GgufWeights):
        raise UserError(f"{name}: llama_cpp serves weights of kind gguf only")
    if context_tokens is None:
        raise UserError(f"{name}: llama_cpp needs context_tokens in the recipe")
    model = find_gguf(weights)
    options = {
        "model": model,
        "name": name,
        "slots": serving.slots,
        "context-tokens": context_tokens,
        "threads": serving.threads,
    }
    return _Server(
        command=_python_module("selflong.llm.llama_cpp_server", options),
        # Spinning OpenMP threads starve each other where cores are shared.
        environment={API_KEY_VARIABLE: wanted.api_key, "OMP_WAIT_POLICY": "passive"},
        identity=f"llama_cpp {file_sha256(model)}",
        slots=serving.slots,
        context_tokens=context_tokens,
        package="xllamacpp",
        api_key=wanted.api_key,
    )


def _transformers(serving: TransformersServing, wanted: _Wanted) -> _Server:
    weights, name, context_tokens = wanted.weights, wanted.name, wanted.context_tokens
    if not isinstance(weights, FolderWeights):
        raise UserError(f"{name}: transformers serves weights of kind folder only")
    context_tokens = context_tokens or checkpoint_context(weights.path)
    options = {
        "model": weights.path,
        "name": name,
        "context-tokens": context_tokens,
        "precision": serving.precision,
        "key-tokens": serving.batch_tokens,
        "threads": serving.threads,
    }
    return _Server(
        command=_python_module("selflong.llm.transformers_server", options),
        environment={
            API_KEY_VARIABLE: wanted.api_key,
            "OMP_NUM_THREADS": str(serving.threads),
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
        },
        identity=f"transformers {serving.precision} {folder_digest(weights.path)}",
        slots=TRANSFORMERS_SLOTS,
        context_tokens=context_tokens,
        package="transformers",
        api_key=wanted.api_key,
    )


def _vllm(serving: VllmServing, wanted: _Wanted, socket: Path) -> _Server:
    weights, name, context_tokens = wanted.weights, wanted.name, wanted.context_tokens
    if isinstance(weights, FolderWeights):
        context_tokens = context_tokens or checkpoint_context(weights.path)
        identity = f"vllm {serving.precision} {folder_digest(weights.path)}"
    elif isinstance(weights, HubWeights) and context_tokens is not None:
        identity = f"vllm {serving.precision} {weights.repository}@{weights.revision}"
    else:
        raise UserError(
            f"{name}: vllm serves weights of kind folder, or of kind hub with context_tokens"
        )
    return _Server(
        command=vllm_command(serving, weights, name, context_tokens, socket),
        environment={
            "VLLM_API_KEY": wanted.api_key,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
            **vllm_cpu_environment(serving.cpu),
        },
        identity=identity,
        slots=VLLM_SEQUENCES * serving.data_parallel,
        context_tokens=context_tokens,
        package="vllm",
        api_key=wanted.api_key,
        socket=socket,
    )


def vllm_cpu_environment(cpu: VllmCpu | None) -> dict[str, str]:
    """https://docs.vllm.ai/en/stable/getting_started/installation/cpu/"""
    if cpu is None:
        return {}
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(cpu.cache_gib),
        # The job's cores are what its scheduler gave it: vLLM takes those of a whole NUMA node.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(cpu.threads),
    }


def vllm_command(
    serving: VllmServing,
    weights: FolderWeights | HubWeights,
    name: str,
    context_tokens: int,
    socket: Path,
) -> list[str]:
    """The command line of vLLM's server (https://docs.vllm.ai/en/stable/cli/serve.html)."""
    if isinstance(weights, HubWeights):
        model = [weights.repository, "--revision", weights.revision]
    else:
        model = [str(weights.path)]
    if serving.cpu:
        device = ["--enforce-eager"]  # compiling takes minutes and a compiler
    else:
        device = ["--gpu-memory-utilization", str(serving.gpu_memory_share)]
    return [
        "vllm",
        "serve",
        *model,
        *("--served-model-name", name),
        *("--uds", str(socket)),
        *("--dtype", serving.precision),
        *("--max-model-len", str(context_tokens)),
        *("--max-num-seqs", str(VLLM_SEQUENCES)),
        *("--tensor-parallel-size", str(serving.tensor_parallel)),
        *("--data-parallel-size", str(serving.data_parallel)),
        *device,
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",  # how many of a prompt's tokens were not read again
        "--enable-chunked-prefill",
        # The checkpoint's own sampling defaults would apply to whatever a request leaves out.
        *("--generation-config", "vllm"),
        *serving.arguments,
    ]


CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
"""Names of the longest context in a config.json."""


def checkpoint_context(folder: Path) -> int:
    """Tokens that a checkpoint was made for; multimodal ones say it of their language model alone."""
    config = folder / "config.json"
    if not config.exists():
        raise UserError(f"{folder} is not a Hugging Face model folder: it has no config.json")
    content = read_object(config)
    inner = content.get("text_config")
    places = [content, inner if isinstance(inner, dict) else {}]
    found = [place[key] for place in places for key in CONTEXT_KEYS if key in place]
    for tokens in found:
        if isinstance(tokens, int) and tokens > 0:
            return tokens
    raise UserError(
        f"{config} does not say the longest context ({', '.join(CONTEXT_KEYS)}): give context_tokens in "
        "the recipe, or the key in that file"
    )


_DECISIVE = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")


def folder_digest(folder: Path) -> str:
    """SHA-256 over what decides a checkpoint's answers: weights, configuration, tokenizer, chat template."""
    state = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in _DECISIVE and file.is_file():
            state.update(f"{file.name} {file_sha256(file)}\n".encode())
    return state.hexdigest()


def _python_module(module: str, options: Mapping[str, object]) -> list[str]:
    command = [sys.executable, "-m", module]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    return command


@contextmanager
def _private_socket() -> Iterator[Path]:
    """Where a Unix socket can be made that this user alone can reach, for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="selflong-") as folder:  # its mode is 0700
        path = Path(folder) / "vllm"
        if len(os.fsencode(path)) > LONGEST_SOCKET:
            raise UserError(
                f"TMPDIR: {path} is longer than the {LONGEST_SOCKET} bytes that a socket's name may have; "
                "name a shorter folder"
            )
        yield path


@contextmanager
def _running(server: _Server, name: str, log: Path) -> Iterator[int | None]:
    """The port of the server, which is up; None where it listens on its socket."""
    log.parent.mkdir(parents=True, exist_ok=True)
    source = str(Path(selflong.__file__).parent.parent)
    search_path = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    said, saying = os.pipe()
    with log.open("wb") as output, os.fdopen(said, "rb") as word:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "selflong.llm.server_process",
                str(os.getpid()),
                *server.command,
            ],
            env={
                **os.environ,
                "PYTHONPATH": ":".join(search_path),
                server_process.PORT_VARIABLE: str(saying),
                **server.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[saying],
            start_new_session=True,  # Ctrl-C is for the job, which then ends its server
        )
        os.close(saying)
        try:
            start = time.monotonic()
            port = _wait(server, process, word, name, log)
            logger.info("%s is served after %.0f s", name, time.monotonic() - start)
            yield port
        finally:
            _end(process)


def _wait(
    server: _Server, process: subprocess.Popen[bytes], word: BinaryIO, name: str, log: Path
) -> int | None:
    """The port of the server once it is up; None where it listens on its socket."""
    deadline = time.monotonic() + START_SECONDS
    pause = 0.05
    while True:
        port = _said_port(word) if server.socket is None else None
        if port is not None or (server.socket and _is_healthy(server.socket)):
            return port
        if process.poll() is not None:
            raise UserError(
                f"the server of {name} ended with status {process.returncode}; its log {log} ends:\n"
                + _last_lines(log).replace(server.api_key, "***")
            )
        if time.monotonic() > deadline:
            raise UserError(
                f"the server of {name} was not ready after {START_SECONDS:g} s: see {log}"
            )
        time.sleep(pause)
        pause = min(2.0, pause * 1.3)


def _said_port(word: BinaryIO) -> int | None:
    """What the server said into its pipe, a line."""
    if not select.select([word], [], [], 0)[0]:
        return None
    line = word.readline()
    return int(line) if line else None


def _is_healthy(path: Path) -> bool:
    """Whether a server on a Unix socket is up; the key is not needed yet."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(path))
            connection.sendall(
                b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            return connection.makefile("rb").readline().split()[1:2] == [b"200"]
        except OSError:
            return False


def llama_cpp_ids(endpoint: Endpoint, text: str) -> list[int]:
    """Token ids of `text`, control tokens included, by the model that llama.cpp serves."""
    request = urllib.request.Request(
        f"{endpoint.base_url}/tokenize",
        json.dumps({"content": text, "add_special": False, "parse_special": True}).encode(),
        {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"},
    )
    with _direct().open(request, timeout=60) as reply:
        ids: list[int] = json.load(reply)["tokens"]
        return ids


def _direct() -> urllib.request.OpenerDirector:
    """Speaks to this machine without the environment's proxy."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _last_lines(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("server %d does not end by itself and is killed", process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its workers, if it left any
    process.wait()
