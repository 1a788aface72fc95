"""Kills a client at random again and again, lets it finish, and counts what was lost or asked in vain.

The server injects faults into three of ten attempts. Prints one line of JSON:
- lost: samples without their right result at the end
- stored_asked_twice: requests for samples whose result was on the disk when their process started
- answered_again: samples that were answered more than once; no more than were in flight at the kills
- in_flight: the most that could be in flight at all kills together

    python kill_clients.py --samples 3000 --kills 10
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sample_client import endpoint, sample

from selflong.llm import Cache, Client

CONCURRENCY = 32
FAULTS = 0.3
HERE = Path(__file__).parent


def journal_lines(journal: Path) -> list[str]:
    """The whole lines so far."""
    return journal.read_text().split("\n")[:-1]


def numbers(lines: list[str], event: str) -> Counter[int]:
    return Counter(int(line.split()[1]) for line in lines if line.startswith(event))


def stored_samples(cache_folder: Path, samples: int) -> set[int]:
    """Samples whose answer or refusal a new process would find."""
    with Cache(cache_folder) as cache:
        client = Client(endpoint(1, 1), cache)
        return {number for number in range(samples) if client.stored(sample(number))}


def start_client(port: int, cache_folder: Path, samples: int) -> subprocess.Popen[str]:
    options = {
        "port": port,
        "cache": cache_folder,
        "samples": samples,
        "concurrency": CONCURRENCY,
    }
    command = [sys.executable, str(HERE / "sample_client.py")]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_lines(journal: Path, count: int, client: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(journal_lines(journal)) < count and client.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {count} lines in the journal after a minute")
        time.sleep(0.002)


@contextmanager
def faulty_server(journal: Path) -> Iterator[int]:
    """The port of a server that writes `journal`."""
    server = subprocess.Popen(
        [
            *(sys.executable, str(HERE / "loopback_server.py"), "--delay", "0.005"),
            *("--journal", str(journal), "--faults", str(FAULTS)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()


def experiment(samples: int, kills: int, folder: Path) -> dict[str, float]:
    journal, cache_folder = folder / "journal", folder / "cache"
    draw = random.Random(2)
    with faulty_server(journal) as port:
        stored_asked_twice = 0
        for _ in range(kills):
            stored = stored_samples(cache_folder, samples)
            before = len(journal_lines(journal))
            client = start_client(port, cache_folder, samples)
            wait_for_lines(journal, before + draw.randint(1, 2 * samples // kills), client)
            client.kill()
            client.wait()
            time.sleep(0.05)  # what the server still had in hand
            asked = numbers(journal_lines(journal)[before:], "asked")
            stored_asked_twice += sum(asked[number] for number in stored)
        stored = stored_samples(cache_folder, samples)
        before = len(journal_lines(journal))
        client = start_client(port, cache_folder, samples)
        output, _ = client.communicate(timeout=120)
        if client.returncode != 0:
            raise RuntimeError(f"the last client ended with status {client.returncode}")
        report = json.loads(output)
    lines = journal_lines(journal)
    asked = numbers(lines[before:], "asked")
    stored_asked_twice += sum(asked[number] for number in stored)
    answered = numbers(lines, "answered")
    return {
        "lost": report["missing"] + report["wrong"] + report["more_than_once"],
        "stored_asked_twice": stored_asked_twice,
        "answered_again": sum(times - 1 for times in answered.values()),
        "in_flight": kills * CONCURRENCY,
        "attempts": sum(numbers(lines, "asked").values()),
        "stored_at_last_kill": len(stored),
        "failures": report["failures"],
        "peak_mb": report["peak_mb"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(experiment(arguments.samples, arguments.kills, Path(folder))))


if __name__ == "__main__":
    main()
