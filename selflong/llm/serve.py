"""Serving a model for as long as a job needs it: `with serve(serving, weights, ...) as endpoint:`.

A server that the job starts runs in a process of its own, so that it can be ended and its memory goes back;
it listens on a random loopback port, wants a random key, and ends with the job however the job ends. The
key travels in the environment, where other users cannot read it.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import selflong
from selflong.formats import file_sha256
from selflong.job import UserError
from selflong.llm.protocol import Endpoint
from selflong.packages import find_gguf
from selflong.precision import decided_serving
from selflong.recipe.site import (
    LlamaCppServing,
    RemoteServing,
    Serving,
    TransformersServing,
    VllmServing,
)
from selflong.recipe.synthesis import Price
from selflong.recipe.weights import FolderWeights, GgufWeights, HubWeights, Weights

logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "SELFLONG_API_KEY"
START_SECONDS = 3600.0  # vLLM compiles, and weights may come from a slow file system
STOP_SECONDS = 20.0
VLLM_SEQUENCES = 256  # a data-parallel replica's; vLLM queues what exceeds its memory
TRANSFORMERS_SLOTS = 16  # twice the rows that decode together: the next prompts wait at hand
LOG_LINES = 15
# A prompt of 1M tokens takes minutes and others wait before it; a server that died is noticed at once.
ANSWER_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class _Server:
    """A server to start: how, and what its endpoint will be."""

    command: Sequence[str]
    environment: Mapping[str, str]
    port: int
    identity: str
    slots: int
    context_tokens: int
    package: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class _Wanted:
    """What is to be served on this machine, under which name, and where."""

    weights: Weights | None
    name: str
    context_tokens: int | None
    port: int
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
    wanted = _Wanted(weights, name, context_tokens, _free_port(), secrets.token_urlsafe(32))
    if isinstance(serving, LlamaCppServing):
        server = _llama_cpp(serving, wanted)
    elif isinstance(serving, VllmServing):
        server = _vllm(serving, wanted)
    else:
        server = _transformers(serving, wanted)
    with _running(server, name, log):
        yield Endpoint(
            base_url=f"http://127.0.0.1:{wanted.port}",
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
    api_key = os.environ.get(serving.api_key_variable, "").strip()
    if not api_key:
        raise UserError(
            f"the environment variable {serving.api_key_variable} that holds the API key of "
            f"{serving.url} is empty: set it and start again"
        )
    if context_tokens is None and isinstance(weights, FolderWeights):
        context_tokens = _checkpoint_context(weights.path)
    if context_tokens is None:
        raise UserError(f"{name}: a remote model needs context_tokens in the recipe")
    base_url = serving.url.rstrip("/").removesuffix("/v1")
    return Endpoint(
        base_url=base_url,
        api_key=api_key,
        model=name,
        identity=f"remote {base_url} {name}",
        slots=serving.maximum_concurrency,
        context_tokens=context_tokens,
        server=base_url,
        server_version="unknown",
        price=price,
    )


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
        "port": wanted.port,
        "slots": serving.slots,
        "context-tokens": context_tokens,
        "threads": serving.threads,
    }
    return _Server(
        command=_python_module("selflong.llm.llama_cpp_server", options),
        # Spinning OpenMP threads starve each other where cores are shared.
        environment={API_KEY_VARIABLE: wanted.api_key, "OMP_WAIT_POLICY": "passive"},
        port=wanted.port,
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
    context_tokens = context_tokens or _checkpoint_context(weights.path)
    options = {
        "model": weights.path,
        "name": name,
        "port": wanted.port,
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
        port=wanted.port,
        identity=f"transformers {serving.precision} {_folder_digest(weights.path)}",
        slots=TRANSFORMERS_SLOTS,
        context_tokens=context_tokens,
        package="transformers",
        api_key=wanted.api_key,
    )


def _vllm(serving: VllmServing, wanted: _Wanted) -> _Server:
    weights, name, context_tokens = wanted.weights, wanted.name, wanted.context_tokens
    if isinstance(weights, FolderWeights):
        context_tokens = context_tokens or _checkpoint_context(weights.path)
        identity = f"vllm bfloat16 {_folder_digest(weights.path)}"
    elif isinstance(weights, HubWeights) and context_tokens is not None:
        identity = f"vllm bfloat16 {weights.repository}@{weights.revision}"
    else:
        raise UserError(
            f"{name}: vllm serves weights of kind folder, or of kind hub with context_tokens"
        )
    return _Server(
        command=vllm_command(serving, weights, name, context_tokens, wanted.port),
        environment={
            "VLLM_API_KEY": wanted.api_key,
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        },
        port=wanted.port,
        identity=identity,
        slots=VLLM_SEQUENCES * serving.data_parallel,
        context_tokens=context_tokens,
        package="vllm",
        api_key=wanted.api_key,
    )


def vllm_command(
    serving: VllmServing,
    weights: FolderWeights | HubWeights,
    name: str,
    context_tokens: int,
    port: int,
) -> list[str]:
    """The command line of vLLM's server (https://docs.vllm.ai/en/stable/cli/serve.html)."""
    if isinstance(weights, HubWeights):
        model = [weights.repository, "--revision", weights.revision]
    else:
        model = [str(weights.path)]
    return [
        "vllm",
        "serve",
        *model,
        *("--served-model-name", name),
        *("--host", "127.0.0.1"),
        *("--port", str(port)),
        *("--dtype", "bfloat16"),
        *("--max-model-len", str(context_tokens)),
        *("--max-num-seqs", str(VLLM_SEQUENCES)),
        *("--tensor-parallel-size", str(serving.tensor_parallel)),
        *("--data-parallel-size", str(serving.data_parallel)),
        *("--gpu-memory-utilization", str(serving.gpu_memory_share)),
        "--enable-prefix-caching",
        "--enable-chunked-prefill",
        # The checkpoint's own sampling defaults would apply to whatever a request leaves out.
        *("--generation-config", "vllm"),
        *serving.arguments,
    ]


def _checkpoint_context(folder: Path) -> int:
    config = folder / "config.json"
    if not config.exists():
        raise UserError(f"{folder} is not a Hugging Face model folder: it has no config.json")
    return int(json.loads(config.read_text(encoding="utf-8"))["max_position_embeddings"])


def _folder_digest(folder: Path) -> str:
    """SHA-256 over what decides a checkpoint's answers: weights, configuration, tokenizer."""
    state = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".json"):
            state.update(f"{file.name} {file_sha256(file)}\n".encode())
    return state.hexdigest()


def _python_module(module: str, options: Mapping[str, object]) -> list[str]:
    command = [sys.executable, "-m", module]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    return command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(server: _Server, name: str, log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    source = str(Path(selflong.__file__).parent.parent)
    search_path = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "selflong.llm.child", str(os.getpid()), *server.command],
            env={**os.environ, "PYTHONPATH": ":".join(search_path), **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the job, which then ends its server
        )
    try:
        start = time.monotonic()
        _wait_until_healthy(server, process, name, log)
        logger.info("%s is served after %.0f s", name, time.monotonic() - start)
        yield
    finally:
        _end(process)


def _wait_until_healthy(
    server: _Server, process: subprocess.Popen[bytes], name: str, log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    pause = 0.05
    while not _is_healthy(server):
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


def _is_healthy(server: _Server) -> bool:
    """It is up, and it is ours: another process's server on that port does not know our key."""
    address = f"http://127.0.0.1:{server.port}"
    key = {"Authorization": f"Bearer {server.api_key}"}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for path in ("/health", "/v1/models"):
            request = urllib.request.Request(address + path, headers=key)
            with direct.open(request, timeout=10):
                pass
    except (OSError, urllib.error.URLError):
        return False
    return True


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
