"""The client against servers that answer, refuse, and fail in every way a network knows."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

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
from selflong.recipe.synthesis import Price

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
    assert [result.prompt_tokens for result in results] == [0, 0, 0]
    assert server.connections == 3


def test_the_key_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = Server(
        lambda number, body: failed("500 Trouble", KEY) if number == 1 else answered(body)
    )
    converse(server, tmp_path, lambda client: client.ask(ask("hello")))
    assert KEY not in caplog.text
    assert KEY not in repr(endpoint_at("http://127.0.0.1:1"))
