"""The LLM client beside a bare load generator, beside llama.cpp alone, and under ten kills.

    python benchmarks/llm_client.py

prints one line of JSON:
- share_of_bare_load: the client's requests per second with its durable cache, over a bare load generator's,
  10,000 requests at 0.5 s each (models take longer), 512 at once. The generator below sends the same bytes
  and looks at nothing; where `hey` is installed it runs too and the faster of the two counts.
- share_of_llama_cpp: completion tokens per second through the client, over what llama.cpp gives to the bare
  generator with the same requests and as many connections as slots.
- lost, stored_asked_twice: see tests/llm/kill_clients.py.
- peak_mb: of the client that asked 10,000 requests, its results not kept.

Each side is measured several times in turns and the best counts: what else runs on the machine slows both.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httptools
import uvloop

from benchmarks.on_cpu import SMOLLM2
from selflong.llm import Answer, Endpoint, Request, answers, chat
from selflong.llm.serve import serve
from selflong.recipe.site import LlamaCppServing

TESTS = Path(__file__).parent.parent / "tests" / "llm"
REQUESTS = 10_000
DELAY_SECONDS = 0.5
CONCURRENCY = 512
ROUNDS = 3
LLAMA_ROUNDS = 3
SLOTS = 4
LLAMA_REQUESTS = 48


class BareConnection(asyncio.Protocol):
    """Sends message after message over one connection and counts the replies."""

    def __init__(self, messages: Iterator[bytes]) -> None:
        self._messages = messages
        self._parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        message = next(self._messages, None)
        if message is None:
            self._transport.close()
            self.done.set_result(None)
        else:
            self._transport.write(message)  # type: ignore[attr-defined]


async def bare_load(endpoint: Endpoint, requests: Sequence[Request], concurrency: int) -> float:
    """Seconds for all requests."""
    host, port = endpoint.base_url.removeprefix("http://").split(":")
    payloads = [(request.path, request.payload(endpoint)) for request in requests]
    messages = iter(
        [
            (
                f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                f"Authorization: Bearer {endpoint.api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
            for path, body in payloads
        ]
    )
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    opened = await asyncio.gather(
        *(
            loop.create_connection(lambda: BareConnection(messages), host, int(port))
            for _ in range(concurrency)
        )
    )
    await asyncio.gather(*(connection.done for _, connection in opened))
    return time.perf_counter() - start


def hey_load(port: int, concurrency: int, body: Path) -> float:
    """Requests per second of https://github.com/rakyll/hey; 0 where it is not installed."""
    if not shutil.which("hey"):
        return 0.0
    command = [
        *("hey", "-n", str(REQUESTS), "-c", str(concurrency), "-m", "POST", "-D", str(body)),
        f"http://127.0.0.1:{port}/v1/chat/completions",
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in output.splitlines() if "Requests/sec" in line]
    return float(line.split()[1])


def script(name: str, *options: object) -> dict[str, float]:
    """The line of JSON that a script of the tests prints."""
    command = [sys.executable, str(TESTS / name), *map(str, options)]
    report: dict[str, float] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    )
    return report


@contextmanager
def loopback_server() -> Iterator[int]:
    """The port of a server that answers after a while."""
    command = [sys.executable, str(TESTS / "loopback_server.py"), "--delay", str(DELAY_SECONDS)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()


def question(number: int) -> Request:
    """A request as long as those of tests/llm/sample_client.py."""
    content = f"{number} " + "some words of a document " * 20
    return chat([{"role": "user", "content": content}], max_tokens=64, temperature=0)


def beside_bare_load(folder: Path) -> tuple[float, float]:
    """The client's share of the bare load, and its peak memory in MB."""
    peak_mb = bare = client = 0.0
    requests = [question(number) for number in range(REQUESTS)]
    with loopback_server() as port:
        endpoint = Endpoint(
            f"http://127.0.0.1:{port}", "loopback", "loopback", "loopback", 1, 4096, "", ""
        )
        body = folder / "body.json"
        body.write_bytes(requests[0].payload(endpoint))
        for number in range(ROUNDS):
            seconds = uvloop.run(bare_load(endpoint, requests, CONCURRENCY))
            bare = max(bare, REQUESTS / seconds, hey_load(port, CONCURRENCY, body))
            report = script(
                "sample_client.py",
                *("--port", port, "--samples", REQUESTS, "--concurrency", CONCURRENCY),
                *("--cache", folder / f"cache-{number}", "--timeout", 60),
            )
            client = max(client, report["requests_per_second"])
            peak_mb = max(peak_mb, report["peak_mb"])
    print(f"{client:.0f} of {bare:.0f} requests/s", file=sys.stderr)
    return client / bare, peak_mb


def beside_llama_cpp(folder: Path) -> float:
    """The client's share of llama.cpp's own throughput at the same number of slots."""
    serving = LlamaCppServing(kind="llama_cpp", slots=SLOTS, threads=2)
    with serve(
        serving, SMOLLM2, name="smollm2", log=folder / "log", context_tokens=1024
    ) as endpoint:
        bare = client = 0.0
        for number in range(LLAMA_ROUNDS):
            # Each side asks what the server has not seen, so that no prompt is in its slots.
            ours, theirs = (
                [
                    chat(
                        [{"role": "user", "content": f"Story {side} {number} {index}: tell it."}],
                        max_tokens=48,
                        temperature=0,
                        ignore_eos=True,
                    )
                    for index in range(LLAMA_REQUESTS)
                ]
                for side in ("one", "two")
            )
            seconds = uvloop.run(bare_load(endpoint, theirs, SLOTS))
            bare = max(bare, LLAMA_REQUESTS * 48 / seconds)
            start = time.perf_counter()
            results, _ = answers(endpoint, folder / f"llama-{number}", ours)
            seconds = time.perf_counter() - start
            tokens = sum(
                result.completion_tokens for result in results if isinstance(result, Answer)
            )
            client = max(client, tokens / seconds)
    print(f"llama.cpp: {client:.0f} of {bare:.0f} tokens/s", file=sys.stderr)
    return client / bare


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        share_of_bare_load, peak_mb = beside_bare_load(Path(folder))
        share_of_llama_cpp = beside_llama_cpp(Path(folder))
        kills = script("kill_clients.py")
    print(
        json.dumps(
            {
                "share_of_bare_load": round(share_of_bare_load, 3),
                "share_of_llama_cpp": round(share_of_llama_cpp, 3),
                "lost": kills["lost"],
                "stored_asked_twice": kills["stored_asked_twice"],
                "peak_mb": round(max(peak_mb, kills["peak_mb"]), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
