"""Count to a number, four a second, with the state saved after each step."""

import logging
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from selflong.cluster import within_time_limit


def main(steps: int, heeds_warning: bool, state: Path, output: Path) -> None:
    done = len(state.read_text().splitlines()) if state.exists() else 0
    with within_time_limit() if heeds_warning else nullcontext():
        for step in range(done, steps):
            # Between two steps only, so that none is half done.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            with state.open("a") as stream:
                stream.write(f"{step}\n")
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            time.sleep(0.25)
    output.write_text(f"{steps}\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(int(sys.argv[1]), sys.argv[2] == "heeds", Path(sys.argv[3]), Path(sys.argv[4]))
