"""A model at an endpoint: asked in words, paid within a budget, and never asked twice."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selflong.evaluation.evaluate import evaluate
from selflong.formats import PREDICTIONS, read_parquet
from selflong.job import UserError
from selflong.recipe.site import RemoteServing
from selflong.recipe.suites import Suite
from selflong.recipe.weights import EndpointWeights, FolderWeights, Price
from selflong.suites.evaluation_job import Job
from tests.suites.downloads import parquet
from tests.suites.jobs import GRID, RULER, job_of
from tests.suites.mrcr.test_prompts import SUITE as MRCR
from tests.suites.mrcr.test_prompts import sample

KEY_VARIABLE = "ENDPOINT_TEST_KEY"


class Endpoint(ThreadingHTTPServer):
    """Answers chats with the question's own words, and writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, **body})
        reply = {
            "choices": [
                {
                    "message": {"role": "assistant", "content": "eat a sandwich"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 123, "completion_tokens": 4},
        }
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """What was asked is written down."""


@contextmanager
def running() -> Iterator[Endpoint]:
    with Endpoint() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(KEY_VARIABLE, "sk-1")
    with running() as server:
        yield server


def job(
    server: Endpoint,
    name: str,
    suite: Suite,
    tokenizer: Path,
    work: Path,
    files: Sequence[Path] = (),
    **site: Any,
) -> Job:
    serving = RemoteServing(
        kind="remote",
        url=f"http://127.0.0.1:{server.server_port}/v1",
        api_key_variable=KEY_VARIABLE,
        **site,
    )
    weights = EndpointWeights(
        kind="endpoint",
        model="the-model",
        context_tokens=4096,
        tokenizer=FolderWeights(kind="folder", path=tokenizer),
        price=Price(prompt=2.0, completion=8.0),
    )
    return job_of(name, suite, tokenizer, work, serving=serving, endpoint=weights, files=files)


def test_it_is_asked_in_words_and_once(
    endpoint: Endpoint, smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    for name, suite, prompts in (("grid", GRID, 3), ("ruler", RULER, 6)):
        del endpoint.asked[:]
        asked = job(endpoint, name, suite, smollm2_tokenizer_folder, tmp_path / name)
        evaluate(asked, tmp_path / f"{name}.parquet")
        found = read_parquet(tmp_path / f"{name}.parquet", PREDICTIONS)
        assert found.height == len(endpoint.asked) == prompts
        for request in endpoint.asked:
            assert request["path"] == "/v1/chat/completions"
            assert (request["model"], request["temperature"]) == ("the-model", 0.0)
            (message,) = request["messages"]
            assert message["role"] == "user"
            assert "<|im_start|>" not in message["content"]  # the template is the endpoint's
        messages = {request["messages"][0]["content"] for request in endpoint.asked}
        assert set(found["prompt"]) == messages
        assert set(found["prompt_tokens"]) == {123}
        evaluate(asked, tmp_path / f"{name}_again.parquet")
        assert read_parquet(tmp_path / f"{name}_again.parquet", PREDICTIONS).equals(found)
        assert len(endpoint.asked) == prompts


def test_a_conversation_is_asked_turn_by_turn(
    endpoint: Endpoint, smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    row = sample(needles=2, number=0, words=12)
    download = tmp_path / "download"
    download.mkdir()
    (download / "2needle.parquet").write_bytes(parquet([row]))
    asked = job(
        endpoint, "mrcr", MRCR, smollm2_tokenizer_folder, tmp_path / "work", files=[download]
    )
    evaluate(asked, tmp_path / "mrcr.parquet")
    (request,) = endpoint.asked
    assert request["messages"] == json.loads(row["prompt"])
    (prompt,) = read_parquet(tmp_path / "mrcr.parquet", PREDICTIONS)["prompt"]
    assert prompt.split("\n\n") == [turn["content"] for turn in request["messages"]]


def test_a_budget_ends_the_job(
    endpoint: Endpoint, smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    asked = job(
        endpoint, "grid", GRID, smollm2_tokenizer_folder, tmp_path,
        budget_usd=0.0011, maximum_concurrency=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="USD is spent"):
        evaluate(asked, tmp_path / "grid.parquet")
    assert len(endpoint.asked) == 2  # of three
