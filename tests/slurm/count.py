"""Count to 80, four a second, with the state saved after each step: a job longer than its time allows."""

import logging
import signal
import sys
import time
from pathlib import Path

from selflong.cluster import within_time_limit

STEPS = 80


def main(state: Path, output: Path) -> None:
    done = len(state.read_text().splitlines()) if state.exists() else 0
    with within_time_limit(margin=45):
        for step in range(done, STEPS):
            # Between two steps only, so that none is half done.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            with state.open("a") as stream:
                stream.write(f"{step}\n")
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            time.sleep(0.25)
    output.write_text(f"{STEPS}\n")


logging.basicConfig(level=logging.INFO)
main(Path(sys.argv[1]), Path(sys.argv[2]))
