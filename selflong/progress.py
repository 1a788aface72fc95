"""How far long work is, in one form for all of it.

"smollm2: 1,302 of 4,000 requests, 5.03 requests/s, 0:08:56 left": a line a minute in the log, or one that
renews itself on a terminal.
"""

import logging
import sys
import time
from collections.abc import Callable
from threading import Lock

LINE_SECONDS = 60.0
TERMINAL_SECONDS = 1.0

logger = logging.getLogger(__name__)


def state(
    name: str, unit: str, done: int, total: int | None, seconds: float, *details: str, before: int = 0
) -> str:  # fmt: skip
    """What is done of `total` after `seconds`; `before` of it was there already, and counts for no rate."""
    rate = (done - before) / max(seconds, 1e-3)
    parts = [
        f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}",
        f"{rate:,.0f} {unit}/s" if rate >= 100 else f"{rate:.3g} {unit}/s",
        *details,
    ]
    if total is not None and rate > 0 and done < total:
        minutes, rest = divmod(round((total - done) / rate), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02}:{rest:02} left")
    return f"{name}: " + ", ".join(parts)


class Line:
    """Where the state goes: `text` makes it of the seconds since the beginning."""

    def __init__(self, text: Callable[[float], str]) -> None:
        self._text = text
        self._terminal = sys.stderr.isatty()
        self._begin = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begin

    def show(self) -> None:
        """Say it where that is due; may be called often."""
        if time.monotonic() - self._said < (TERMINAL_SECONDS if self._terminal else LINE_SECONDS):
            return
        self._said = time.monotonic()
        if self._terminal:
            print(f"\r\033[K{self._text(self.seconds)}", end="", file=sys.stderr, flush=True)
        else:
            logger.info("%s", self._text(self.seconds))

    def close(self) -> None:
        """Say how it ended."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        logger.info("%s", self._text(self.seconds))


class Progress:
    """Counts what is done, whichever thread does it. `before` of `total` were done by an earlier job."""

    def __init__(self, name: str, unit: str, total: int | None, before: int = 0) -> None:
        self._name, self._unit, self._total, self._before = name, unit, total, before
        self._done = before
        self._lock = Lock()
        self._line = Line(self._text)

    def _text(self, seconds: float) -> str:
        return state(self._name, self._unit, self._done, self._total, seconds, before=self._before)

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        with self._lock:
            self._done += count
            self._line.show()

    def close(self) -> None:
        """All that comes has come."""
        self._line.close()
