"""Asks the loopback server for samples and prints what came of it as one line of JSON.

python sample_client.py --port PORT --cache FOLDER --samples 1000 --concurrency 32
"""

import argparse
import json
import time
from pathlib import Path

import psutil
from loopback_server import answer_to, is_refused

from selflong.job import end_with_parent
from selflong.llm import (
    Answer,
    Cache,
    Client,
    Endpoint,
    Failure,
    Patience,
    Refusal,
    Request,
    Result,
    chat,
    run,
)


def sample(number: int) -> Request:
    """The request of a sample, about 500 characters long."""
    return chat(
        [{"role": "user", "content": f"{number} " + "some words of a document " * 20}],
        max_tokens=64,
        temperature=0,
    )


def endpoint(port: int, concurrency: int) -> Endpoint:
    return Endpoint(
        base_url=f"http://127.0.0.1:{port}",
        api_key="loopback",
        model="loopback",
        identity="loopback 1",
        slots=concurrency,
        context_tokens=4096,
        server="loopback",
        server_version="1",
    )


def is_right(number: int, result: Result, answer_words: int) -> bool:
    if is_refused(number):
        return isinstance(result, Refusal)
    return isinstance(result, Answer) and result.text == answer_to(number, answer_words)


async def ask(arguments: argparse.Namespace) -> dict[str, float]:
    patience = Patience(
        attempts=20,
        timeout_seconds=arguments.timeout,
        first_pause_seconds=0.01,
        longest_pause_seconds=0.1,
    )
    numbers: dict[int, int] = {}
    wrong = failures = 0
    process = psutil.Process()
    early_memory = 0
    start = time.perf_counter()
    with Cache(arguments.cache) as cache:
        client = Client(endpoint(arguments.port, arguments.concurrency), cache, patience=patience)
        async with client:
            async for request, result in client.ask_all(map(sample, range(arguments.samples))):
                number = int(request.body["messages"][0]["content"].split(" ", 1)[0])
                numbers[number] = numbers.get(number, 0) + 1
                failures += isinstance(result, Failure)
                wrong += not is_right(number, result, arguments.answer_words)
                if len(numbers) == arguments.samples // 3:
                    early_memory = process.memory_info().rss
        seconds = time.perf_counter() - start
        return {
            "requests_per_second": arguments.samples / seconds,
            "missing": arguments.samples - len(numbers),
            "more_than_once": sum(times > 1 for times in numbers.values()),
            "wrong": wrong,
            "failures": failures,
            "retried": client.usage.retried,
            "from_cache": client.usage.from_cache,
            "peak_mb": process.memory_info().rss / 2**20,
            "growth_mb": (process.memory_info().rss - early_memory) / 2**20,
        }


def main() -> None:
    end_with_parent()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--answer-words", type=int, default=40)
    parser.add_argument("--timeout", type=float, default=0.5, help="seconds of an attempt")
    print(json.dumps(run(ask(parser.parse_args()))))


if __name__ == "__main__":
    main()
