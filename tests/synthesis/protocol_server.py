"""A server of the OpenAI protocol that answers from the prompt alone, and remembers what it was asked."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import reply, serving

_WORD = re.compile(r"\w+")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{4,}")


def reply_to(prompt: str) -> str:
    """A question or a task in the prompt's own words where it wants one, else the beginning of its text."""
    subject = prompt.partition("<<<\n")[2] or prompt
    if hop := _hop(prompt, subject.partition("\n>>>")[0]):
        return hop
    if "Reasoning: " in prompt:
        words = " ".join(_WORD.findall(subject)[:9])
        return f"Reasoning: it is read.\nQuestion: What is said of {words}?\nAnswer: {words}."
    if re.search("write a task about|Write the next task|somebody who had asked for it", prompt):
        return f"Write a report on {' '.join(_WORD.findall(subject)[:12])}, with dates and figures."
    if "Write one question" in prompt:
        return f"How did {' '.join(_WORD.findall(prompt)[:9])} change over time?"
    text = prompt.partition("Text:\n")[2] or subject
    return " ".join(text.split()[:20]) + "."


def _hop(prompt: str, page: str) -> str | None:
    """A question on the way to one over two documents; an answer to that only where both are there."""
    words = _WORD.findall(page)
    if "A question whose answer is one name" in prompt:
        name = next(iter(_NAME.findall(page)), "nobody")
        others = [word for word in words if word != name]
        return f"Question: Who has to do with {' '.join(others[3:12])}?\nAnswer: {name}."
    if about := re.search(r"Ask for something that this text tells about \"(.+?)\"", prompt):
        said = " ".join(word for word in words[5:12] if word != fact(page))
        return f"Question: What of {about[1]} has to do with {said}?\nAnswer: {fact(page)}"
    if described := re.fullmatch(r"Question: Who(.+)\?", prompt):
        return f"Description: the one who{described[1]}"
    if "in as few words" in prompt or "If the documents above tell" in prompt:
        documents = prompt.partition("[Document 2]\n")[2].partition("\n\nQuestion:")[0]
        return fact(documents) if documents else "NOT TOLD"
    return None


def fact(page: str) -> str:
    """Its longest word, the first one of several."""
    return max(_WORD.findall(page), key=len)


class ProtocolServer(ThreadingHTTPServer):
    """reply: prompt -> answer; asked: path and body of every request, in the order of their coming;
    answered: how many of them; most: answers after which the others have to wait; error: status and body in
    place of every answer; open: connections that are being served."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[str], str] = reply_to
        self.asked: list[tuple[str, bytes]] = []
        self.answered = 0
        self.open: set[object] = set()
        self.most = math.inf
        self.error: tuple[int, dict[str, object]] | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections of killed jobs are cut."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ProtocolServer

    def setup(self) -> None:
        self.server.open.add(self)
        super().setup()

    def finish(self) -> None:
        self.server.open.discard(self)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, body))
        while self.server.answered >= self.server.most:
            time.sleep(0.005)
        asked = json.loads(body)
        text = self.server.reply(asked["messages"][-1]["content"])
        if "response_format" in asked:
            (field,) = asked["response_format"]["json_schema"]["schema"]["required"]
            text = json.dumps({field: text})
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(body) // 4, "completion_tokens": len(text) // 4}
        status, content = self.server.error or (200, {"choices": [choice], "usage": usage})
        with suppress(ConnectionError):  # whoever asked may have been killed
            reply(self, status, json.dumps(content).encode())
            self.server.answered += 1

    def log_message(self, format: str, *args: object) -> None:
        """The tests look at what was asked."""


@contextmanager
def protocol_server() -> Iterator[ProtocolServer]:
    """Serves for the length of the block."""
    server = ProtocolServer()
    with serving(server):
        yield server
