"""How far the requests are: one line a minute, or one that renews itself on a terminal."""

import logging
import sys
import time
from typing import Protocol

from selflong.tracking import numbers, open_tracker, this_job

logger = logging.getLogger(__name__)

LINE_SECONDS = 60.0


class Counts(Protocol):
    """What a client counts."""

    from_cache: int
    retried: int
    failed: int
    refused: int
    prompt_tokens: int
    completion_tokens: int
    usd: float

    @property
    def finished(self) -> int: ...


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class Progress:
    """Shows `counts`, which its owner changes.

    expected: how many requests will come; or, where a sample takes requests whose number nobody knows,
    expected_samples: how many samples, which `made` counts. The two are never set against each other.
    """

    def __init__(
        self,
        name: str,
        counts: Counts,
        expected: int | None = None,
        expected_samples: int | None = None,
    ) -> None:
        self.made = 0
        """Samples."""
        self._name = name
        self._counts = counts
        self._expected = expected
        self._expected_samples = expected_samples
        self._start = self._last_line = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._tracker = open_tracker(f"{name}/{this_job()}")

    def line(self, seconds: float) -> str:
        """The state after `seconds`. The rate leaves out what came from the cache."""
        counts = self._counts
        asked = counts.finished - counts.from_cache
        rate = asked / seconds
        requests = f"{counts.finished:,}" + (f" of {self._expected:,}" if self._expected else "")
        parts = [
            *self._samples(),
            f"{requests} requests",
            f"{counts.from_cache:,} stored before",
            f"{rate:.3g} requests/s",
            f"{counts.prompt_tokens / seconds:,.0f} + {counts.completion_tokens / seconds:,.0f} "
            "tokens/s",
        ]
        for count, name in (
            (counts.retried, "retried"),
            (counts.refused, "refused"),
            (counts.failed, "failed"),
        ):
            if count:
                parts.append(f"{count:,} {name}")
        if counts.usd:
            parts.append(f"{counts.usd:.2f} USD")
        if self._expected and rate and counts.finished < self._expected:
            parts.append(f"{_duration((self._expected - counts.finished) / rate)} left")
        if self._expected_samples and 0 < self.made < self._expected_samples:
            left = self._expected_samples - self.made
            parts.append(f"{_duration(left * seconds / self.made)} left")
        return f"{self._name}: " + ", ".join(parts)

    def _samples(self) -> list[str]:
        if self._expected_samples is None:
            return []
        return [f"{self.made:,} of {self._expected_samples:,} samples"]

    def show(self) -> None:
        """Called about once a second."""
        now = time.monotonic()
        if self._terminal:
            print(f"\r\033[K{self.line(now - self._start)}", end="", file=sys.stderr, flush=True)
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            if not self._terminal:
                logger.info("%s", self.line(now - self._start))
            self._track(now - self._start)

    def finish(self) -> None:
        """The last line, where anything was asked."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if self._counts.finished:
            self._track(time.monotonic() - self._start)
            logger.info("%s", self.line(max(1e-3, time.monotonic() - self._start)))
        if self._tracker is not None:
            self._tracker.close()

    def _track(self, seconds: float) -> None:
        """By the seconds that have passed: requests have no order."""
        if self._tracker is not None:
            values = {
                name: getattr(self._counts, name) for name in (*Counts.__annotations__, "finished")
            }
            self._tracker.log(round(seconds), numbers({**values, "samples": self.made}))
