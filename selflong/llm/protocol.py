"""What passes between a stage and a model: requests of the OpenAI protocol and the three ways they end."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selflong.recipe.weights import Price

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Batches:
    """How requests go to a provider's batch API."""

    requests: int
    """Of a batch at most."""
    gather_seconds: float
    """A batch is sent when no request came for so long."""
    poll_seconds: float


@dataclass(frozen=True)
class Endpoint:
    """A model that answers over HTTP.

    `identity` says which weights answer, in which precision: it is part of every request's key, the
    address is not, so that a server on another port finds the answers of the one before.
    """

    base_url: str
    """Scheme, host and port; a path before `/v1` where the provider has one."""
    api_key: str = field(repr=False)
    model: str
    """Name that the endpoint knows the model by."""
    identity: str
    slots: int
    """Requests that the endpoint works on at once."""
    context_tokens: int
    server: str
    server_version: str
    price: Price | None = None
    timeout_seconds: float = 600.0
    """How long an answer may take, the wait in the endpoint's queue included."""
    takes_token_ids: bool = True
    """Whether a prompt may be token ids, so that no text in it can be read as a control token."""
    socket: Path | None = None
    """The Unix socket where it listens, in place of the address's host and port."""
    parameters: Mapping[str, str | None] = field(default_factory=dict)
    """Other names for a request's parameters; None leaves one out."""
    additions: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that every request gets."""
    reasoning_tokens: int = 0
    """What a model may think before each answer, beside the answer's own max_tokens."""
    takes_schemas: bool = False
    """Whether an answer may be asked for as JSON of a schema."""
    batches: Batches | None = None
    """Where requests are answered by batches, within a day."""


@dataclass(frozen=True)
class Request:
    """One request: `body` holds the parameters of the protocol but for `model`, which the endpoint names."""

    path: str
    body: Mapping[str, Any]

    def payload(self, endpoint: Endpoint) -> bytes:
        """The body as canonical JSON: equal requests give equal bytes."""
        body = {**self.body, **endpoint.additions, "model": endpoint.model}
        if endpoint.reasoning_tokens and "max_tokens" in body:
            body["max_tokens"] += endpoint.reasoning_tokens
        for name, other in endpoint.parameters.items():
            value = body.pop(name, None)
            if other is not None and value is not None:
                body[other] = value
        return _canonical.encode(body).encode()

    def key(self, endpoint: Endpoint) -> str:
        """SHA-256 of the whole request, model identity included, in hexadecimal."""
        return request_key(endpoint, self.path, self.payload(endpoint)).hex()

    def prompt_tokens(self, count: Callable[[str], int]) -> int:
        """Tokens of the prompt where `count` counts those of a text; without what a chat template adds."""
        prompt = self.body.get("prompt", [])
        if isinstance(prompt, str):
            return count(prompt)
        messages = self.body.get("messages", [])
        return len(prompt) + sum(count(message["content"]) for message in messages)


def request_key(endpoint: Endpoint, path: str, payload: bytes) -> bytes:
    """SHA-256 under which the cache holds the answer to `payload`."""
    state = hashlib.sha256(f"{endpoint.identity}\n{path}\n".encode())
    state.update(payload)
    return state.digest()


def chat(messages: Sequence[Mapping[str, str]], **parameters: Any) -> Request:
    """A chat request; `parameters` are the protocol's (max_tokens, temperature, top_p, seed, ...)."""
    return Request(CHAT, {"messages": list(messages), **parameters})


def completion(prompt: str | Sequence[int], **parameters: Any) -> Request:
    """A completion of a text or of token ids, which the server takes as they are (no BOS is added)."""
    return Request(
        COMPLETIONS, {"prompt": prompt if isinstance(prompt, str) else list(prompt), **parameters}
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said. `key` names the request in the cache and in a row's provenance."""

    key: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    """`stop` where the model ended the answer; else why it is not whole: `length` where max_tokens cut it,
    `content_filter` where the provider did, `no content` where only reasoning came, or the server's word."""
    token_ids: tuple[int, ...] | None = None
    """Where the request asked with `return_token_ids` and the server knows them."""
    cached_tokens: int = 0
    """Of the prompt's those that the server did not read again, where it says so."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server will never answer this request, for its length or its content; stored, not asked again."""

    key: str
    reason: str
    status: int


@dataclass(frozen=True, slots=True)
class Failure:
    """No attempt was answered while other requests were; not stored, the next run asks again."""

    key: str
    reason: str
    attempts: int


Result = Answer | Refusal | Failure
