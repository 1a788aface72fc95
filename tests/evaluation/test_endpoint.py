"""A model at an endpoint: asked in words, paid within a budget, and never asked twice."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
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
from tests.suites.longbench_v2.test_prompts import COT, row
from tests.suites.mrcr.test_prompts import SUITE as MRCR
from tests.suites.mrcr.test_prompts import sample

KEY_VARIABLE = "ENDPOINT_TEST_KEY"


class Endpoint(ThreadingHTTPServer):
    """Answers chats with the question's own words, and writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.before_reply: Callable[[], None] = lambda: None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Of a client that was killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, **body})
        self.server.before_reply()
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
    port: int,
    name: str,
    suite: Suite,
    tokenizer: Path,
    work: Path,
    files: Sequence[Path] = (),
    **site: Any,
) -> Job:
    serving = RemoteServing(
        kind="remote",
        url=f"http://127.0.0.1:{port}/v1",
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
        asked = job(endpoint.server_port, name, suite, smollm2_tokenizer_folder, tmp_path / name)
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
        endpoint.server_port,
        "mrcr",
        MRCR,
        smollm2_tokenizer_folder,
        tmp_path / "work",
        files=[download],
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
        endpoint.server_port, "grid", GRID, smollm2_tokenizer_folder, tmp_path,
        budget_usd=0.0011, maximum_concurrency=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="USD is spent"):
        evaluate(asked, tmp_path / "grid.parquet")
    assert len(endpoint.asked) == 2  # of three


KILLED = """
import sys
from pathlib import Path
from selflong.evaluation.evaluate import evaluate
from tests.evaluation.test_endpoint import two_passes
port, tokenizer, folder = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
evaluate(two_passes(port, tokenizer, folder), folder / "all.parquet")
"""


def two_passes(port: int, tokenizer: Path, folder: Path) -> Job:
    """A suite that asks for reasoning first and for the choice after all of it, one request at a time."""
    return job(
        port, "longbench", COT, tokenizer, folder / "work", files=[folder / "download"],
        maximum_concurrency=1,
    )  # fmt: skip


def test_killed_in_either_pass_nothing_is_asked_twice(
    endpoint: Endpoint, smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    """Three questions are six requests; each kill lets one go unanswered, which alone is sent again."""
    rows = [{**row(20, "short", "easy"), "question": f"Which is {n}?"} for n in range(3)]
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "data.json").write_text(json.dumps(rows))
    arguments = [str(endpoint.server_port), str(smollm2_tokenizer_folder), str(tmp_path)]
    for killed_at in (2, 6):  # of the first pass, and with one more of the second
        client = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])

        def kill(client: subprocess.Popen[bytes] = client, last: int = killed_at) -> None:
            if len(endpoint.asked) == last:
                client.kill()
                client.wait()

        endpoint.before_reply = kill
        client.wait()
        assert len(endpoint.asked) == killed_at
    endpoint.before_reply = lambda: None
    asked = two_passes(endpoint.server_port, smollm2_tokenizer_folder, tmp_path)
    evaluate(asked, tmp_path / "all.parquet")
    sent = [json.dumps(request, sort_keys=True) for request in endpoint.asked]
    assert (len(sent), len(set(sent))) == (8, 6)
    unanswered = [sent[1], sent[5]]
    assert all(sent.count(request) == 2 for request in unanswered)
    assert read_parquet(tmp_path / "all.parquet", PREDICTIONS)["reasoning"].is_not_null().all()
