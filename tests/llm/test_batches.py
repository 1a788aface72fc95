"""Requests by a provider's batch API: each is answered, whatever is interrupted, and none is paid twice."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.llm import Answer, Cache, Client, Endpoint, Patience, Request, Result, chat, run
from selflong.llm import batches as module
from selflong.llm.batches import BatchTransport
from selflong.llm.protocol import Batches
from selflong.llm.serve import serve
from selflong.llm.transport import Reply
from selflong.recipe.site import BatchApi, RemoteServing
from selflong.recipe.weights import Price
from tests.damage import mutated
from tests.llm.batch_server import BatchServer, batch_server

PATIENCE = Patience(attempts=3, first_pause_seconds=0.01)
WORDS = [f"word{number}" for number in range(12)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    with batch_server() as running:
        yield running


def request(word: str) -> Request:
    return chat([{"role": "user", "content": f"Turn round: {word}"}], max_tokens=8)


def ask(
    server: BatchServer, cache: Path, words: list[str], seconds: float = 20, requests: int = 5
) -> list[Result]:
    """The results of all; TimeoutError where they are not there in time, and nothing is tidied up."""
    endpoint = Endpoint(
        base_url=server.url, api_key="key", model="m", identity="i", slots=requests * 10,
        context_tokens=100, server="s", server_version="1",
        batches=Batches(requests=requests, gather_seconds=0.05, poll_seconds=0.02),
    )  # fmt: skip

    async def work() -> list[Result]:
        with Cache(cache) as stored:
            async with (
                Client(endpoint, stored, patience=PATIENCE) as client,
                asyncio.timeout(seconds),
            ):
                return list(await asyncio.gather(*(client.ask(request(word)) for word in words)))

    return run(work())


def texts(results: list[Result]) -> list[str]:
    assert all(isinstance(result, Answer) for result in results)
    return [result.text for result in results if isinstance(result, Answer)]


def turned(words: list[str]) -> list[str]:
    return [word[::-1] for word in words]


def test_every_request_is_answered_by_batches_of_the_given_size(
    server: BatchServer, tmp_path: Path
) -> None:
    assert texts(ask(server, tmp_path, WORDS)) == turned(WORDS)
    sizes = [len(server.files[b["input_file_id"]].splitlines()) for b in server.batches.values()]
    assert sizes == [5, 5, 2]
    assert all(batch["completion_window"] == "24h" for batch in server.batches.values())
    assert texts(ask(server, tmp_path, WORDS)) == turned(WORDS)
    assert server.paid == dict.fromkeys(WORDS, 1)


def test_a_run_that_is_stopped_while_it_waits_finds_its_batches_again(
    server: BatchServer, tmp_path: Path
) -> None:
    server.done = False
    with pytest.raises(TimeoutError):
        ask(server, tmp_path, WORDS[:7], seconds=0.6)
    assert len(server.batches) == 2
    server.done = True
    assert texts(ask(server, tmp_path, WORDS)) == turned(WORDS)
    assert server.paid == dict.fromkeys(WORDS, 1)


def test_a_batch_whose_making_was_not_confirmed_is_found_by_its_name(
    server: BatchServer, tmp_path: Path
) -> None:
    server.silent = 2
    assert texts(ask(server, tmp_path, WORDS[:3])) == turned(WORDS[:3])
    assert len(server.batches) == 1
    for other in range(3):  # it stands on another page of the list
        server.batches[f"batch-x{other}"] = {"id": f"batch-x{other}", "metadata": None}
    (journal,) = (tmp_path / "batches").glob("*.json")
    content = json.loads(journal.read_text()) | {"id": None}  # as if killed before the reply
    journal.write_text(json.dumps(content))
    for segment in tmp_path.glob("*.segment"):
        segment.unlink()
    assert texts(ask(server, tmp_path, WORDS[:3])) == turned(WORDS[:3])
    assert server.paid == dict.fromkeys(WORDS[:3], 1)


def test_what_was_written_down_but_never_made_is_asked(server: BatchServer, tmp_path: Path) -> None:
    content = {"path": "/v1/chat/completions", "requests": ["a"], "id": None}
    journal = tmp_path / "batches" / "00000000000000000001-aa.json"
    journal.parent.mkdir()
    journal.write_text(json.dumps(content))
    assert texts(ask(server, tmp_path, WORDS[:1])) == turned(WORDS[:1])
    assert not journal.exists()


def test_requests_without_an_answer_go_into_another_batch(
    server: BatchServer, tmp_path: Path
) -> None:
    server.unanswered = {WORDS[1], WORDS[2]}
    assert texts(ask(server, tmp_path, WORDS[:4])) == turned(WORDS[:4])
    assert len(server.batches) == 2
    assert server.paid == dict.fromkeys(WORDS[:4], 1)


@pytest.mark.parametrize(
    ("refusal", "failure"),
    [
        ((401, {"error": {"message": "no such account"}}), None),
        (None, {"code": "model_not_found", "message": "the model m does not exist"}),
    ],
)
def test_what_every_request_would_meet_ends_the_run(
    server: BatchServer,
    tmp_path: Path,
    refusal: tuple[int, dict[str, object]] | None,
    failure: dict[str, object] | None,
) -> None:
    server.refusal, server.failure = refusal, failure
    with pytest.raises(UserError, match=r"no such account|does not exist"):
        ask(server, tmp_path, WORDS[:2])


def test_the_site_says_how_a_remote_model_is_asked(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "key")
    serving = RemoteServing(
        kind="remote",
        url=server.url,
        api_key_variable="KEY",
        parameters={"max_tokens": "max_completion_tokens", "temperature": None},
        reasoning_effort="low",
        reasoning_tokens=100,
        batch=BatchApi(requests=7),
    )
    price = Price(prompt=2.0, completion=8.0)
    with serve(serving, None, name="m", log=tmp_path, context_tokens=9, price=price) as endpoint:
        body = json.loads(chat([], max_tokens=8, temperature=0.7).payload(endpoint))
    assert body == {
        "messages": [],
        "model": "m",
        "max_completion_tokens": 108,
        "reasoning_effort": "low",
    }
    assert endpoint.slots == 7
    assert endpoint.price == Price(prompt=1.0, completion=4.0)


class Garbled:
    """A batch API whose replies are damaged now and then."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: list[str] = []

    def _reply(self, content: bytes) -> Reply:
        return Reply(200, mutated(content, self.rng) if self.rng.random() < 0.4 else content)

    async def upload(self, path: str, content: bytes, timeout_seconds: float) -> Reply:
        self.names = [json.loads(line)["custom_id"] for line in content.splitlines()]
        return self._reply(b'{"id": "file-1"}')

    async def post(self, path: str, body: bytes, timeout_seconds: float) -> Reply:
        return self._reply(b'{"id": "batch-1", "status": "validating"}')

    async def get(self, path: str, timeout_seconds: float) -> Reply:
        if path.startswith("/v1/batches?"):
            return self._reply(
                b'{"data": [{"id": "batch-0", "metadata": null}], "has_more": false}'
            )
        if path.startswith("/v1/batches/"):
            return self._reply(
                b'{"id": "batch-1", "status": "completed", "output_file_id": "file-2"}'
            )
        lines = ({"custom_id": name, "response": ANSWERED} for name in self.names)
        return self._reply("\n".join(map(json.dumps, lines)).encode())


ANSWERED = {"status_code": 200, "body": {"choices": []}}


def test_a_damaged_reply_of_the_api_answers_nobody_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    rng = random.Random(3)
    settings = Batches(requests=5, gather_seconds=0.001, poll_seconds=0.001)

    async def work(number: int) -> Reply | None:
        async with BatchTransport(Garbled(rng), settings, tmp_path / str(number)) as transport:
            try:
                return await transport.post("/v1/chat/completions", b"{}", 0.2)
            except OSError:  # TimeoutError too
                return None

    replies = [run(work(number)) for number in range(60)]
    assert sum(reply is not None and reply.status == 200 for reply in replies) > 10
    assert all(reply is None or isinstance(reply.body, bytes) for reply in replies)
