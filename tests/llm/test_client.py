"""The client against servers that answer, refuse, and fail in every way a network knows."""

import asyncio
import json
import logging
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.llm import (
    Answer,
    Budget,
    BudgetSpent,
    Cache,
    Client,
    Endpoint,
    Failure,
    Patience,
    Refusal,
    Request,
    answers,
    chat,
    completion,
    run,
)
from selflong.llm.replies import Trouble, judge
from selflong.llm.transport import Reply, proxy_of
from selflong.recipe.weights import Price

QUICK = Patience(
    attempts=4, timeout_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.05
)
KEY = "sk-very-secret"


class Server:
    """Reads whole requests and lets `behave(number, body)` say which bytes answer them; None hangs up."""

    def __init__(self, behave: "Callable[[int, dict[str, Any]], bytes | None]") -> None:
        self.behave = behave
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.times: list[float] = []
        self.delay = 0.0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.heads.append(head.decode())
                self.bodies.append(body)
                self.times.append(asyncio.get_running_loop().time())
                await asyncio.sleep(self.delay)
                reply = self.behave(len(self.bodies), body)
                if reply is None:
                    break
                writer.write(reply)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def reply(status: str, content: object, *headers: str) -> bytes:
    body = json.dumps(content).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return head.encode() + body


def answered(body: dict[str, Any]) -> bytes:
    text = f"echo {body['messages'][0]['content']}"
    return reply(
        "200 OK",
        {
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        },
    )


def failed(status: str, message: str = "no", *headers: str) -> bytes:
    return reply(status, {"error": {"message": message}}, *headers)


def ask(text: str) -> Request:
    return chat([{"role": "user", "content": text}], max_tokens=5)


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server.converse, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()


def endpoint_at(base_url: str, **changes: Any) -> Endpoint:
    settings: dict[str, Any] = {
        "base_url": base_url,
        "api_key": KEY,
        "model": "model-name",
        "identity": "weights 1",
        "slots": 4,
        "context_tokens": 100,
        "server": "test",
        "server_version": "1",
    }
    return Endpoint(**{**settings, **changes})


def converse(
    server: Server,
    cache_folder: Path,
    talk: Callable[[Client], Awaitable[Any]],
    *,
    patience: Patience = QUICK,
    budget: Budget | None = None,
    **endpoint: Any,
) -> Any:
    """Run `talk` with a client of `server`."""

    async def conversation() -> Any:
        async with listening(server) as base_url:
            with Cache(cache_folder) as cache:
                client = Client(
                    endpoint_at(base_url, **endpoint), cache, patience=patience, budget=budget
                )
                async with client:
                    return await talk(client)

    return run(conversation())


def test_an_answer_is_stored_and_never_asked_again(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))

    async def talk(client: Client) -> tuple[Any, Any]:
        return await client.ask(ask("hello")), client.usage

    first, usage = converse(server, tmp_path, talk)
    assert first == Answer(first.key, "echo hello", 10, 5, "stop")
    assert (usage.answered, usage.from_cache) == (1, 0)
    again, usage = converse(server, tmp_path, talk)  # on another port
    assert again == first
    assert (usage.answered, usage.from_cache) == (0, 1)
    assert len(server.bodies) == 1
    assert server.bodies[0]["model"] == "model-name"
    assert f"Authorization: Bearer {KEY}" in server.heads[0]


def test_the_key_covers_the_whole_request() -> None:
    endpoint = endpoint_at("http://127.0.0.1:1")
    base = chat([{"role": "user", "content": "a"}], temperature=0, seed=1)
    same = chat([{"content": "a", "role": "user"}], seed=1, temperature=0)
    others = [
        chat([{"role": "user", "content": "b"}], temperature=0, seed=1),
        chat([{"role": "system", "content": "a"}], temperature=0, seed=1),
        chat([{"role": "user", "content": "a"}], temperature=0, seed=2),
        chat([{"role": "user", "content": "a"}], temperature=0),
        Request("/v1/other", base.body),
        completion([1, 2], temperature=0),
        completion("a", temperature=0),
    ]
    assert same.key(endpoint) == base.key(endpoint)
    assert base.key(endpoint_at("http://127.0.0.1:2")) == base.key(endpoint)
    keys = {base.key(endpoint), base.key(endpoint_at("http://127.0.0.1:1", identity="weights 2"))}
    keys |= {other.key(endpoint) for other in others}
    assert len(keys) == 2 + len(others)


@pytest.mark.parametrize(
    "trouble",
    [
        failed("429 Too Many Requests"),
        failed("500 Internal Server Error"),
        failed("503 Service Unavailable"),
        failed("408 Request Timeout"),
        None,  # the connection is dropped
        b"",  # nothing ever comes
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",  # stalls in mid-answer
        b"no HTTP at all\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"choices": [',
        reply("200 OK", {"error": {"message": "overloaded"}}),
        reply("200 OK", {"choices": []}),
        reply("200 OK", ["odd"]),
        reply("502 Bad Gateway", "<html>"),
    ],
)
def test_what_may_pass_is_tried_again(tmp_path: Path, trouble: bytes | None) -> None:
    server = Server(lambda number, body: trouble if number <= 2 else answered(body))

    async def talk(client: Client) -> tuple[Any, int]:
        return await client.ask(ask("hello")), client.usage.retried

    result, retried = converse(server, tmp_path, talk)
    assert isinstance(result, Answer)
    assert result.text == "echo hello"
    assert retried == 2
    assert len(server.bodies) == 3


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    server = Server(
        lambda number, body: (
            failed("429 Too Many Requests", "slow", "Retry-After: 0.4")
            if number == 1
            else answered(body)
        )
    )
    converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert server.times[1] - server.times[0] > 0.39


REFUSED = [
    # llama.cpp, vLLM, OpenAI, Anthropic, Gemini, TGI, Azure, DashScope
    ("400 Bad Request", {"message": "the request exceeds the available context size"}),
    ("400 Bad Request", {"message": "This model's maximum context length is 4096 tokens."}),
    ("400 Bad Request", {"message": "Too much.", "code": "context_length_exceeded"}),
    ("400 Bad Request", {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
    ("400 Bad Request", {"message": "The input token count (9) exceeds the maximum", "code": 400}),
    ("422 Unprocessable", {"message": "`inputs` tokens + `max_new_tokens` must be <= 4096"}),
    ("400 Bad Request", {"message": "max_tokens must be at least 1, got 0. (value=0)"}),
    ("400 Bad Request", {"message": "filtered", "code": "content_filter"}),
    ("400 Bad Request", {"message": "Input data may contain inappropriate content."}),
    ("413 Request Entity Too Large", {"message": "<html>"}),
]


@pytest.mark.parametrize(("status", "error"), REFUSED)
def test_a_request_is_refused_for_its_length_or_content(
    tmp_path: Path, status: str, error: dict[str, object]
) -> None:
    server = Server(lambda number, body: reply(status, {"error": error}))

    async def talk(client: Client) -> Any:
        return await client.ask(ask("long"))

    for _ in range(2):
        assert isinstance(converse(server, tmp_path, talk), Refusal)
    assert len(server.bodies) == 1


UNANSWERED = [
    ("400 Bad Request", {"error": {"code": 400, "message": "API key not valid"}}),
    ("400 Bad Request", [{"error": {"code": 400, "message": "API key not valid"}}]),
    (
        "400 Bad Request",
        {"error": {"message": "Unsupported parameter", "code": "unsupported_parameter"}},
    ),
    (
        "400 Bad Request",
        {
            "error": {
                "message": "max_tokens is too large: 9. It supports at most 4 completion tokens"
            }
        },
    ),
    ("400 Bad Request", {"error": {"message": "bad request"}}),
    ("405 Method Not Allowed", {"detail": "Method Not Allowed"}),
    ("407 Proxy Authentication Required", {}),
    ("410 Gone", {}),
    ("422 Unprocessable", {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}),
    ("301 Moved Permanently", {}),
    ("200 OK", {"error": {"message": "no such key", "code": 401}}),
]


@pytest.mark.parametrize(("status", "content"), UNANSWERED)
def test_what_says_nothing_of_the_request_ends_the_run_and_is_not_stored(
    tmp_path: Path, status: str, content: object
) -> None:
    server = Server(
        lambda number, body: (
            reply(status, content, "Location: /") if number == 1 else answered(body)
        )
    )

    async def talk(client: Client) -> Any:
        return await client.ask(ask("hello"))

    with pytest.raises(UserError, match="check"):
        converse(server, tmp_path, talk)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(converse(server, tmp_path, talk), Answer)


def test_a_refusal_that_an_earlier_version_stored_by_mistake_is_asked_again(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))

    async def talk(client: Client) -> Any:
        request = ask("hello")
        key = bytes.fromhex(request.key(client.endpoint))
        refusal = Refusal(key.hex(), "status 400: API key not valid", 400)
        client._cache.put(client._refusal_key(key), refusal)
        return await client.ask(request)

    assert isinstance(converse(server, tmp_path, talk), Answer)


def test_one_odd_request_among_answered_ones_fails_alone(tmp_path: Path) -> None:
    def behave(number: int, body: dict[str, Any]) -> bytes:
        is_odd = body["messages"][0]["content"].startswith("odd")
        return failed("400 Bad Request", "cannot be parsed") if is_odd else answered(body)

    server = Server(behave)

    async def talk(client: Client) -> list[Any]:
        return [await client.ask(ask(text)) for text in ("a", "odd 1", "b", "odd 2")]

    results = converse(server, tmp_path, talk)
    assert [type(result) for result in results] == [Answer, Failure, Answer, Failure]
    assert len(server.bodies) == 4  # a failure of this kind is not tried again at once

    async def talk_oddly(client: Client) -> list[Any]:
        return [await client.ask(ask(f"odd {number}")) for number in range(100)]

    with pytest.raises(UserError, match="cannot be parsed"):
        converse(server, tmp_path, talk_oddly)
    assert len(server.bodies) < 20


def completed(choice: dict[str, Any], usage: object = None) -> bytes:
    return reply("200 OK", {"choices": [choice], "usage": usage})


def read(tmp_path: Path, *replies: bytes) -> Answer:
    """The answer that comes of the first replies of a server, the last one repeated."""
    server = Server(lambda number, body: replies[min(number, len(replies)) - 1])
    result = converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert isinstance(result, Answer)
    assert converse(server, tmp_path, lambda client: client.ask(ask("hello"))) == result
    assert len(server.bodies) == len(replies)
    return result


def test_an_error_inside_a_choice_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = {
        "message": {"content": ""},
        "finish_reason": "error",
        "error": {"message": "the provider fell over", "code": 502},
    }
    whole = {"message": {"content": "Paris."}, "finish_reason": "stop"}
    assert read(tmp_path / "error", completed(broken), completed(whole)).text == "Paris."
    del broken["error"]
    assert read(tmp_path / "word", completed(broken), completed(whole)).text == "Paris."


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "Par"}, {"type": "text", "text": "is."}], "Paris."),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris."}], "Paris."),
        ("half \ud83d", "half \ufffd"),
        ("whole \ud83d\ude00", "whole \U0001f600"),
        ("a\x00b", "a\x00b"),
        ([], ""),
    ],
)
def test_a_text_is_stored_as_a_text(tmp_path: Path, content: object, text: str) -> None:
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    assert read(tmp_path, completed(choice)).text == text


@pytest.mark.parametrize(
    ("message", "finish_reason", "expected"),
    [
        ({"content": None, "reasoning_content": "Let me"}, "length", "length"),
        ({"content": None, "reasoning_content": "Let me"}, "stop", "no content"),
        ({"content": "", "reasoning": "Let me"}, "stop", "no content"),
        ({"content": None}, "stop", "no content"),
        ({"content": ""}, "stop", "stop"),
        ({"content": "Half a"}, "content_filter", "content_filter"),
        ({"content": "Half a"}, "SAFETY", "content_filter"),
        ({"content": "Half a"}, "MAX_TOKENS", "length"),
        ({"content": "Whole."}, "eos_token", "stop"),
        ({"content": "Whole."}, None, "stop"),
        ({"content": "", "tool_calls": []}, "tool_calls", "tool_calls"),
    ],
)
def test_an_early_end_is_known(
    tmp_path: Path, message: dict[str, Any], finish_reason: str | None, expected: str
) -> None:
    choice = {"message": message, "finish_reason": finish_reason}
    assert read(tmp_path, completed(choice)).finish_reason == expected


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"prompt_tokens": -5, "completion_tokens": -5},
        {"prompt_tokens": "5", "completion_tokens": 1.5},
        {"prompt_tokens": True, "completion_tokens": 1 << 40},
        {"prompt_tokens": 0, "completion_tokens": 0},
    ],
)
def test_tokens_are_counted_here_where_the_endpoint_does_not_say_them(
    tmp_path: Path, usage: object
) -> None:
    choice = {"message": {"content": "Paris."}, "finish_reason": "stop"}
    server = Server(lambda number, body: completed(choice, usage))

    async def talk(client: Client) -> list[Any]:
        return [await client.ask(ask(str(number))) for number in range(100)]

    with pytest.raises(BudgetSpent):
        converse(server, tmp_path, talk, budget=Budget(tokens=40))
    assert len(server.bodies) == 5  # of 1 + 6 bytes each; the sixth could take 1 + 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_comes_is_an_answer_that_can_be_stored_or_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content: Any = {
        "choices": [{"message": {"content": "text"}, "finish_reason": "stop", "token_ids": [1]}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "error": None,
    }
    places = [
        (content, list(content)),
        (content["choices"], [0]),
        (content["choices"][0], list(content["choices"][0])),
        (content["choices"][0]["message"], ["content"]),
        (content["usage"], list(content["usage"])),
    ]
    holder, keys = data.draw(st.sampled_from(places))
    holder[data.draw(st.sampled_from(keys))] = data.draw(json_values)
    status = data.draw(st.sampled_from([200, 200, 400, 429, 500]))
    endpoint = endpoint_at("http://127.0.0.1:1")
    body = json.dumps(content).encode()
    outcome = judge(b"k" * 32, ask("hello"), Reply(status, body), endpoint, len)
    if isinstance(outcome, Answer | Refusal):
        with Cache(tmp_path_factory.mktemp("cache")) as cache:
            cache.put(b"k" * 32, outcome)
            assert cache.get(b"k" * 32) == outcome
    if isinstance(outcome, Answer):
        outcome.text.encode()


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting_is_no_answer(depth: int) -> None:
    body = b"[" * depth + b"]" * depth
    endpoint = endpoint_at("http://127.0.0.1:1")
    assert isinstance(judge(b"k" * 32, ask("a"), Reply(200, body), endpoint, len), Trouble)


def test_parameters_take_the_names_of_the_endpoint(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))
    request = chat([{"role": "user", "content": "a"}], max_tokens=5, temperature=0.7, seed=1)
    converse(
        server,
        tmp_path,
        lambda client: client.ask(request),
        parameters={"max_tokens": "max_completion_tokens", "temperature": None},
    )
    assert server.bodies[0]["max_completion_tokens"] == 5
    assert set(server.bodies[0]) == {"messages", "model", "max_completion_tokens", "seed"}


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(lambda number, body: answered(body))

    async def conversation(host: str) -> Any:
        async with listening(server) as proxy:
            monkeypatch.setenv("http_proxy", proxy if host != "127.0.0.1" else "http://127.0.0.1:9")
            monkeypatch.setenv("no_proxy", "direct.example")
            base_url = proxy if host == "127.0.0.1" else f"http://{host}"
            with Cache(tmp_path / host) as cache:
                async with Client(endpoint_at(base_url), cache, patience=QUICK) as client:
                    return await client.ask(ask("hello"))

    assert isinstance(run(conversation("models.example")), Answer)
    assert server.heads[0].startswith("POST http://models.example/v1/chat/completions ")
    assert isinstance(run(conversation("127.0.0.1")), Answer)
    assert server.heads[1].startswith("POST /v1/chat/completions ")
    with pytest.raises(UserError, match="answered nobody"):
        run(conversation("direct.example"))
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(UserError, match="https_proxy"):
        proxy_of("https://models.example")


def test_an_address_of_ipv6(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))

    async def conversation() -> Any:
        listener = await asyncio.start_server(server.converse, "::1", 0)
        port = listener.sockets[0].getsockname()[1]
        with Cache(tmp_path) as cache:
            async with Client(endpoint_at(f"http://[::1]:{port}"), cache, patience=QUICK) as client:
                result = await client.ask(ask("hello"))
        listener.close()
        return result

    assert isinstance(run(conversation()), Answer)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_ends_the_run(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = Server(lambda number, body: answered(body))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def conversation() -> None:
        listener = await asyncio.start_server(server.converse, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        endpoint = endpoint_at(f"https://localhost:{port}")
        with Cache(tmp_path / "cache") as cache:
            async with Client(endpoint, cache, patience=QUICK) as client:
                await client.ask(ask("hello"))

    with pytest.raises(UserError, match="certificate is not trusted"):
        run(conversation())
    assert server.bodies == []


def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    server = Server(
        lambda number, body: reply("307 Temporary Redirect", {}, "Location: /v1/elsewhere")
    )
    with pytest.raises(UserError, match="check the address"):
        converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert len(server.bodies) == 1


def test_an_endless_reply_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selflong.llm.transport.LARGEST_REPLY", 1000)
    server = Server(
        lambda number, body: failed("500 Trouble", "x" * 2000) if number == 1 else answered(body)
    )
    assert isinstance(converse(server, tmp_path, lambda client: client.ask(ask("hello"))), Answer)


@pytest.mark.parametrize("status", ["400 Bad Request", "413 Too Large", "422 Unprocessable"])
def test_a_refusal_is_recorded_and_never_repeated(tmp_path: Path, status: str) -> None:
    server = Server(lambda number, body: failed(status, f"context too long for {KEY}"))

    async def talk(client: Client) -> Any:
        return await client.ask(ask("long"))

    refused = converse(server, tmp_path, talk)
    assert isinstance(refused, Refusal)
    assert refused.status == int(status[:3])
    assert refused.reason == f"status {status[:3]}: context too long for ***"
    assert converse(server, tmp_path, talk) == refused
    assert len(server.bodies) == 1
    # A server with a longer context may answer it.
    converse(server, tmp_path, talk, context_tokens=200)
    assert len(server.bodies) == 2


def test_a_request_that_always_fails_is_no_answer_and_stops_nobody(tmp_path: Path) -> None:
    server = Server(
        lambda number, body: (
            failed("500 Internal Server Error", "crashed")
            if body["messages"][0]["content"] == "poison"
            else answered(body)
        )
    )
    server.delay = 0.01

    async def talk(client: Client) -> dict[str, Any]:
        requests = [ask("poison"), *(ask(str(number)) for number in range(50))]
        return {
            request.body["messages"][0]["content"]: result
            async for request, result in client.ask_all(requests)
        }

    results = converse(server, tmp_path, talk)
    poisoned = results.pop("poison")
    assert poisoned == Failure(poisoned.key, "status 500: crashed", 4)
    assert len(results) == 50
    assert all(isinstance(result, Answer) for result in results.values())
    # It was not stored; and where nobody else is answered either, the endpoint is taken to be down.
    with pytest.raises(UserError, match="answered nobody"):
        converse(server, tmp_path, lambda client: client.ask(ask("poison")))


@pytest.mark.parametrize(
    ("status", "mend"),
    [
        ("401 Unauthorized", "check the API key"),
        ("403 Forbidden", "may not use"),
        ("404 Not Found", "model's name"),
        ("402 Payment Required", "no credit"),
    ],
)
def test_a_wrong_configuration_stops_the_run_at_once(
    tmp_path: Path, status: str, mend: str
) -> None:
    server = Server(lambda number, body: failed(status, f"bad key {KEY}"))

    async def talk(client: Client) -> None:
        async for _ in client.ask_all(ask(str(number)) for number in range(100)):
            pass

    with pytest.raises(UserError, match=mend) as mistake:
        converse(server, tmp_path, talk)
    assert KEY not in str(mistake.value)
    assert len(server.bodies) <= 4
    assert list(tmp_path.iterdir()) == []


def test_what_a_provider_says_steers_no_terminal(tmp_path: Path) -> None:
    message = "\x1b]0;title\x07\x1b[31mno\r\x9b2J see https://me:pw@host/?token=abc"
    server = Server(lambda number, body: failed("401 Unauthorized", message))
    with pytest.raises(UserError, match="no2J see") as mistake:
        converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert "status 401: no2J see https://host/?***: check" in str(mistake.value)


def test_an_exhausted_quota_is_not_waited_for(tmp_path: Path) -> None:
    server = Server(
        lambda number, body: reply(
            "429 Too Many Requests",
            {"error": {"message": "quota", "code": "insufficient_quota"}},
        )
    )
    with pytest.raises(UserError, match="no credit"):
        converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert len(server.bodies) == 1


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answered nobody"):
        answers(endpoint_at("http://127.0.0.1:9"), tmp_path, [ask("hello")], patience=QUICK)


@pytest.mark.parametrize("budget", [Budget(tokens=150), Budget(usd=0.00015)])
def test_the_budget_stops_the_run_and_outlives_a_restart(tmp_path: Path, budget: Budget) -> None:
    server = Server(lambda number, body: answered(body))
    price = Price(prompt=0.5, completion=2.0)  # 15 micro-USD and 15 tokens an answer

    async def talk(client: Client) -> list[Any]:
        results = []
        with pytest.raises(BudgetSpent, match="in config"):
            async for _, result in client.ask_all(ask(str(number)) for number in range(100)):
                results.append(result)
        return results

    results = converse(server, tmp_path, talk, budget=budget, price=price)
    # Ten answers spend it; up to four were in flight by then, and their answers are kept.
    assert 10 <= len(results) == len(server.bodies) <= 14
    asked = len(server.bodies)
    results = converse(server, tmp_path, talk, budget=budget, price=price)
    assert len(server.bodies) == asked


def test_the_same_request_at_once_is_sent_once(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))
    server.delay = 0.05

    async def talk(client: Client) -> list[Any]:
        return await asyncio.gather(*(client.ask(ask("same")) for _ in range(10)))

    results = converse(server, tmp_path, talk)
    assert len(server.bodies) == 1
    assert len(set(results)) == 1


def test_a_cancelled_ask_leaves_the_others_waiting_for_an_answer(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))
    server.delay = 0.05

    async def talk(client: Client) -> Any:
        first = asyncio.create_task(client.ask(ask("same")))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(client.ask(ask("same")))
        await asyncio.sleep(0.01)
        first.cancel()
        return await second

    assert isinstance(converse(server, tmp_path, talk), Answer)


def test_no_more_in_flight_than_the_slots(tmp_path: Path) -> None:
    replied = 0
    most = 0

    def behave(number: int, body: dict[str, Any]) -> bytes:
        nonlocal replied, most
        most = max(most, len(server.bodies) - replied)
        replied += 1
        return answered(body)

    server = Server(behave)
    server.delay = 0.005

    async def talk(client: Client) -> int:
        return sum([1 async for _ in client.ask_all(ask(str(number)) for number in range(100))])

    assert converse(server, tmp_path, talk) == 100
    assert most == 4
    assert server.connections == 4  # kept alive


def test_answers_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    async def conversation() -> None:
        server = Server(lambda number, body: answered(body))
        server.delay = 0.001
        async with listening(server) as base_url:
            requests = [ask(str(number % 30)) for number in range(60)]
            results, usage = await asyncio.to_thread(
                answers, endpoint_at(base_url), tmp_path, requests
            )
        texts = [result.text for result in results if isinstance(result, Answer)]
        assert texts == [f"echo {number % 30}" for number in range(60)]
        assert (usage.answered, usage.from_cache) == (30, 30)

    asyncio.run(conversation())


def test_leaving_early_ends_the_work(tmp_path: Path) -> None:
    server = Server(lambda number, body: answered(body))
    server.delay = 0.01

    async def talk(client: Client) -> int:
        async for _ in client.ask_all(ask(str(number)) for number in range(1000)):
            break
        await asyncio.sleep(0.1)
        return len(server.bodies)

    assert converse(server, tmp_path, talk) < 50


def test_chunked_replies_and_closed_connections(tmp_path: Path) -> None:
    def behave(number: int, body: dict[str, Any]) -> bytes:
        content = json.dumps(
            {"choices": [{"text": f"é {body['prompt']}", "finish_reason": "length"}]}
        ).encode()
        half = len(content) // 2
        chunks = b"".join(
            b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:half], content[half:], b"")
        )
        return (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks
        )

    server = Server(behave)

    async def talk(client: Client) -> list[Any]:
        return [await client.ask(completion([number])) for number in range(3)]

    results = converse(server, tmp_path, talk)
    assert [result.text for result in results] == ["é [0]", "é [1]", "é [2]"]
    assert [result.prompt_tokens for result in results] == [1, 1, 1]  # counted here
    assert server.connections == 3


def test_the_key_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server(
        lambda number, body: failed("500 Trouble", KEY) if number == 1 else answered(body)
    )
    converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert KEY not in caplog.text
    assert KEY not in repr(endpoint_at("http://127.0.0.1:1"))
