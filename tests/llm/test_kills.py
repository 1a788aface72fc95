"""What a faulty server and ten kills leave behind, and memory over a long run."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_until_ended

HERE = Path(__file__).parent


def script(name: str, *options: object) -> dict[str, float]:
    """The JSON line that a script beside this file prints."""
    command = [sys.executable, str(HERE / name), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    wait_until_ended(process.pid)
    output, _ = process.communicate()
    assert process.returncode == 0
    report: dict[str, float] = json.loads(output)
    return report


@contextmanager
def loopback_server(*options: object) -> Iterator[int]:
    """Its port."""
    command = [sys.executable, str(HERE / "loopback_server.py"), *map(str, options)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()


def test_ten_kills_lose_nothing_and_pay_nothing_twice() -> None:
    report = script("kill_clients.py", "--samples", 2000, "--kills", 10)
    assert report["attempts"] > 2300  # the server was faulty indeed
    assert report["stored_at_last_kill"] > 100
    assert report["lost"] == 0
    assert report["failures"] == 0
    assert report["stored_asked_twice"] == 0
    assert report["answered_again"] <= report["in_flight"]


def test_memory_stays_flat(tmp_path: Path) -> None:
    words = 5_000  # 25 kB an answer: 100 MB between the two measurements
    with loopback_server("--delay", 0, "--answer-words", words) as port:
        report = script(
            "sample_client.py",
            *("--port", port, "--cache", tmp_path, "--samples", 6000),
            *("--concurrency", 16, "--answer-words", words, "--timeout", 60),
        )
    assert report["missing"] == report["wrong"] == 0
    assert report["growth_mb"] < 15
