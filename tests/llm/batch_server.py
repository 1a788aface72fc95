"""A server of OpenAI's batch API on the loopback: files, batches, and what each request cost."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from tests.serving import reply, serving


class BatchServer(ThreadingHTTPServer):
    """Answers each request with the last word of its prompt, turned round.

    done: whether batches end; before that they are in progress. paid: answers by the prompt's last word.
    unanswered: words whose line ends without a response, once each. silent: creations without a reply.
    page: batches in one page of the list.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = Lock()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.paid: Counter[str] = Counter()
        self.done = True
        self.unanswered: set[str] = set()
        self.silent = 0
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.failure: dict[str, Any] | None = None
        self.page = 2

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections are cut."""

    def finish(self, batch: dict[str, Any]) -> None:
        if batch["status"] == "completed" or not self.done:
            return
        if self.failure is not None:
            batch |= {"status": "failed", "errors": {"data": [self.failure]}}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        answered = []
        for line in lines:
            assert line["url"] == batch["endpoint"]
            word = line["body"]["messages"][-1]["content"].split()[-1]
            reply: dict[str, Any] = {"custom_id": line["custom_id"], "response": None}
            if word in self.unanswered:
                self.unanswered.remove(word)
                reply["error"] = {"code": "batch_expired", "message": "too late"}
            else:
                self.paid[word] += 1
                choice = {"message": {"content": word[::-1]}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 3, "completion_tokens": 2}
                body = {"choices": [choice], "usage": usage}
                reply["response"] = {"status_code": 200, "body": body}
            answered.append(json.dumps(reply))
        answered.reverse()
        self.files[f"out-{batch['id']}"] = "\n".join(answered).encode()
        batch |= {"status": "completed", "output_file_id": f"out-{batch['id']}"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BatchServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            if self.server.refusal is not None:
                self._reply(*self.server.refusal)
            elif self.path == "/v1/files":
                name = f"file-{len(self.server.files)}"
                self.server.files[name] = self._file(content)
                self._reply(200, {"id": name})
            else:
                self._create(json.loads(content))

    def _file(self, content: bytes) -> bytes:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + content).get_payload()
        assert isinstance(parts, list)
        found = {
            part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True)
            for part in parts
            if not isinstance(part, str)
        }
        assert found["purpose"] == b"batch"
        assert isinstance(found["file"], bytes)
        return found["file"]

    def _create(self, body: dict[str, Any]) -> None:
        name = f"batch-{len(self.server.batches)}"
        self.server.batches[name] = {"id": name, "status": "in_progress", **body}
        if self.server.silent:
            self.server.silent -= 1
            self.close_connection = True
            self.connection.close()
            return
        self._reply(200, self.server.batches[name])

    def do_GET(self) -> None:
        with self.server.lock:
            if file := re.fullmatch(r"/v1/files/(.*)/content", self.path):
                reply(self, 200, self.server.files[file[1]])
            elif self.path.startswith("/v1/batches?"):
                names = sorted(self.server.batches, reverse=True)
                after = re.search("after=(.*)", self.path)
                first = names.index(after[1]) + 1 if after else 0
                shown = names[first : first + self.server.page]
                more = first + self.server.page < len(names)
                data = [self.server.batches[name] for name in shown]
                self._reply(200, {"data": data, "has_more": more})
            else:
                batch = self.server.batches[self.path.rpartition("/")[2]]
                self.server.finish(batch)
                self._reply(200, batch)

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        reply(self, status, json.dumps(content).encode())

    def log_message(self, format: str, *args: object) -> None:
        """The tests look at what was paid."""


@contextmanager
def batch_server() -> Iterator[BatchServer]:
    """Serves for the length of the block."""
    server = BatchServer()
    with serving(server):
        yield server
