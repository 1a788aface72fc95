"""A thin loopback server over greedy generation: `/v1/completions` on token ids, in vLLM's shapes.

`prompt` is a list of ids or a list of such lists; `max_tokens`, `stop_token_ids` and `return_token_ids` mean
what they mean to vLLM. Whatever is asked beyond that (sampling, text prompts) is refused with status 400.
"""

import argparse
import hmac
import json
import os
import re
import socket
import threading
import time
import uuid
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selflong.llm.generation import ATTENTION, Generated, Generator
from selflong.llm.protocol import COMPLETIONS
from selflong.llm.serve import API_KEY_VARIABLE
from selflong.llm.server_process import say_port

UNDERSTOOD = frozenset(
    {
        "model",
        "prompt",
        "max_tokens",
        "temperature",
        "top_p",
        "n",
        "seed",
        "stream",
        "stop_token_ids",
        "return_token_ids",
        "add_special_tokens",
    }
)
DEFAULT_MAX_TOKENS = 16  # the protocol's
LARGEST_BODY = 64 << 20  # bytes; a prompt of 1M token ids takes 8 MB
CONNECTIONS = 128
STRANGER_SECONDS = 10.0  # until a connection must have shown the key
IDLE_SECONDS = 60.0


class InvalidRequest(Exception):
    """Answered with status 400."""


class ModelService:
    """The model behind the server, and the rules of what may be asked."""

    def __init__(
        self, folder: str, name: str, context_tokens: int, precision: str, key_tokens: int
    ) -> None:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, precision), attn_implementation=ATTENTION
        )
        self.name = name
        self.context_tokens = context_tokens
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._vocabulary = model.config.vocab_size
        self._end_ids = self._end_ids_of(model)
        self._generator = Generator(model, max(key_tokens, context_tokens))

    def _end_ids_of(self, model: Any) -> frozenset[int]:
        ends = model.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        return frozenset(() if ends is None else [ends] if isinstance(ends, int) else ends)

    def run(self) -> NoReturn:
        """Generate what requests ask for, in the calling thread."""
        self._generator.run()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The protocol's reply to `body`; raises InvalidRequest."""
        self._check_parameters(body)
        prompts = self._prompts(body.get("prompt"))
        max_tokens = body.get("max_tokens") or DEFAULT_MAX_TOKENS
        for prompt in prompts:
            self._check_prompt(prompt, max_tokens)
        end_ids = self._end_ids | frozenset(body.get("stop_token_ids") or ())
        running = [self._generator.submit(prompt, max_tokens, end_ids) for prompt in prompts]
        generated = [row.result() for row in running]
        prompt_tokens = sum(map(len, prompts))
        completion_tokens = sum(len(row.token_ids) for row in generated)
        return {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.name,
            "choices": [
                self._choice(index, row, bool(body.get("return_token_ids")))
                for index, row in enumerate(generated)
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
                "prompt_tokens_details": {
                    "cached_tokens": sum(row.cached_tokens for row in generated)
                },
            },
        }

    def _choice(self, index: int, row: Generated, with_ids: bool) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": index,
            "text": self._tokenizer.decode(row.token_ids, skip_special_tokens=True),
            "finish_reason": row.finish_reason,
        }
        return {**choice, "token_ids": row.token_ids} if with_ids else choice

    def _check_parameters(self, body: dict[str, Any]) -> None:
        unknown = sorted(set(body) - UNDERSTOOD)
        if unknown:
            raise InvalidRequest(f"parameters that this server does not know: {', '.join(unknown)}")
        if body.get("temperature", 1.0) != 0:
            raise InvalidRequest("this server decodes greedily: temperature must be 0")
        if body.get("n", 1) != 1 or body.get("stream"):
            raise InvalidRequest("n must be 1, and stream false")

    def _prompts(self, prompt: Any) -> list[list[int]]:
        if not isinstance(prompt, list) or not prompt:
            raise InvalidRequest("prompt must be a list of token ids, or a list of such lists")
        prompts = prompt if isinstance(prompt[0], list) else [prompt]
        for ids in prompts:
            if not ids or not all(
                isinstance(token, int) and 0 <= token < self._vocabulary for token in ids
            ):
                raise InvalidRequest(f"token ids must be integers from 0 to {self._vocabulary - 1}")
        return prompts

    def _check_prompt(self, prompt: list[int], max_tokens: Any) -> None:
        if not isinstance(max_tokens, int) or max_tokens < 1:
            raise InvalidRequest("max_tokens must be a positive integer")
        if len(prompt) + max_tokens > self.context_tokens:
            raise InvalidRequest(
                f"the prompt's {len(prompt)} tokens and max_tokens {max_tokens} exceed the "
                f"maximum context length of {self.context_tokens}"
            )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS  # of one read or write
    service: ModelService
    api_key: str
    server: "_Server"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._reply(HTTPStatus.OK, {})
        elif not self._is_authorised():
            self._turn_away(HTTPStatus.UNAUTHORIZED, "wrong API key")
        elif self.path == "/v1/models":
            model = {
                "id": self.service.name,
                "object": "model",
                "max_model_len": self.service.context_tokens,
            }
            self._reply(HTTPStatus.OK, {"object": "list", "data": [model]})
        else:
            self._fail(HTTPStatus.NOT_FOUND, f"no such path: {self.path}")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._is_authorised():
            self._turn_away(HTTPStatus.UNAUTHORIZED, "wrong API key")
        elif self.path != COMPLETIONS:
            self._turn_away(HTTPStatus.NOT_FOUND, f"no such path: {self.path}")
        elif not re.fullmatch("[0-9]{1,19}", length):
            self._turn_away(HTTPStatus.LENGTH_REQUIRED, "Content-Length must be a number of bytes")
        elif int(length) > LARGEST_BODY:
            self._turn_away(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes")
        else:
            self._complete(self.rfile.read(int(length)))

    def _complete(self, raw: bytes) -> None:
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise InvalidRequest("the body must be a JSON object")
            reply = self.service.complete(body)
        except (InvalidRequest, ValueError, RecursionError) as error:
            self._fail(HTTPStatus.BAD_REQUEST, str(error))
        except Exception as error:
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        else:
            self._reply(HTTPStatus.OK, reply)

    def _is_authorised(self) -> bool:
        given = self.headers.get("Authorization", "")
        is_authorised = hmac.compare_digest(
            given.encode(errors="replace"), f"Bearer {self.api_key}".encode()
        )
        if is_authorised:
            self.server.know(self.connection)
        return is_authorised

    def _turn_away(self, status: HTTPStatus, message: str) -> None:
        """Fail without reading what the request holds, so that nothing more can come of the connection."""
        self.close_connection = True
        self._fail(status, message)

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self._reply(status, {"error": {"message": message, "code": status.value}})

    def _reply(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are counted by the client."""


class _Server(ThreadingHTTPServer):
    """A thread a connection, of which there are few; those that show no key are soon cut."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._strangers: dict[socket.socket, float] = {}
        self._lock = threading.Lock()

    def know(self, connection: socket.socket) -> None:
        """The connection has shown the key."""
        with self._lock:
            self._strangers.pop(connection, None)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._strangers[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.know(request)
            self._places.release()

    def service_actions(self) -> None:
        """Called twice a second."""
        with self._lock:
            for stranger, since in self._strangers.items():
                if time.monotonic() - since > STRANGER_SECONDS:
                    with suppress(OSError):
                        stranger.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was cut; what goes wrong with an answer is in its reply."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face model folder")
    parser.add_argument("--name", required=True)
    parser.add_argument("--context-tokens", type=int, required=True)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), required=True)
    parser.add_argument("--key-tokens", type=int, required=True, help="of all prompts at once")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    _Handler.api_key = os.environ[API_KEY_VARIABLE]
    _Handler.service = ModelService(
        arguments.model,
        arguments.name,
        arguments.context_tokens,
        arguments.precision,
        arguments.key_tokens,
    )
    server = _Server(_Handler)
    say_port(server.server_port)
    threading.Thread(target=server.serve_forever, name="requests", daemon=True).start()
    _Handler.service.run()


if __name__ == "__main__":
    main()
