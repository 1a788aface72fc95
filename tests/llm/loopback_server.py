"""A server of the OpenAI protocol on loopback that can misbehave, and writes down what it was asked.

A sample's number is the first word of its message; the right answer to it is `answer_to(number)`. The
journal gets a line `asked N` for each request that arrived whole and `answered N` for each whole answer
that was sent, refusals included.

    python loopback_server.py --journal FILE [--delay 0.05] [--faults 0.3] [--answer-words 40]

prints its port and serves until it is ended.
"""

import argparse
import asyncio
import json
import random
from pathlib import Path
from typing import TextIO, cast

import httptools
import uvloop

from selflong.job import end_with_parent

# One in so many samples is refused for good.
REFUSED_EVERY = 50
# Shares of the faulty attempts: most are 429 and 5xx.
FAULTS = {"429": 4, "500": 3, "503": 3, "hang": 1, "cut": 2, "truncate": 2, "stall": 1}


def answer_to(number: int, words: int = 40) -> str:
    """What the server says to a sample."""
    return f"answer {number} " + "word " * words


def is_refused(number: int) -> bool:
    """Whether the server will never answer this sample."""
    return number % REFUSED_EVERY == REFUSED_EVERY - 1


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def error(status: str, message: str, *headers: str) -> bytes:
    return http(status, json.dumps({"error": {"message": message}}).encode(), *headers)


class Conversation(asyncio.Protocol):
    """One connection."""

    delay: float
    faults: float
    answer_words: int
    journal: TextIO | None
    random: random.Random

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)
        self.loop = asyncio.get_running_loop()
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        content = json.loads(self.body)["messages"][0]["content"]
        self.body = b""
        number = int(content.split(" ", 1)[0])
        self.note(f"asked {number}")
        fault = None
        if self.random.random() < self.faults:
            (fault,) = self.random.choices(list(FAULTS), FAULTS.values())
        self.loop.call_later(self.delay, self.answer, number, fault)

    def answer(self, number: int, fault: str | None) -> None:
        if self.transport.is_closing() or fault == "hang":
            return
        if fault == "429":
            self.transport.write(error("429 Too Many Requests", "slow down", "Retry-After: 0.02"))
        elif fault in ("500", "503"):
            self.transport.write(error(f"{fault} Trouble", "try again"))
        elif is_refused(number):
            self.transport.write(error("400 Bad Request", "the prompt exceeds the context"))
            self.note(f"answered {number}")
        else:
            self.send_answer(number, fault)

    def send_answer(self, number: int, fault: str | None) -> None:
        body = json.dumps(
            {
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": answer_to(number, self.answer_words),
                        },
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 100, "completion_tokens": self.answer_words},
            }
        ).encode()
        if fault == "truncate":
            self.transport.write(http("200 OK", body[: len(body) // 2]))
            return
        whole = http("200 OK", body)
        if fault in ("cut", "stall"):
            self.transport.write(whole[: len(whole) // 2])
            if fault == "cut":
                self.transport.close()
            return
        self.transport.write(whole)
        self.note(f"answered {number}")

    def note(self, line: str) -> None:
        if self.journal is not None:
            self.journal.write(f"{line}\n")


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(
        Conversation, "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before an answer")
    parser.add_argument("--faults", type=float, default=0.0, help="share of the attempts")
    parser.add_argument("--answer-words", type=int, default=40)
    arguments = parser.parse_args()
    Conversation.delay = arguments.delay
    Conversation.faults = arguments.faults
    Conversation.answer_words = arguments.answer_words
    Conversation.random = random.Random(1)
    # Line by line: whoever kills a client reads the journal while it is written.
    Conversation.journal = arguments.journal.open("w", buffering=1) if arguments.journal else None
    uvloop.run(serve())


if __name__ == "__main__":
    main()
