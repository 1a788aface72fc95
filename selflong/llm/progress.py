"""How far the requests are."""

from typing import Protocol

from selflong.progress import LINE_SECONDS, Line, state
from selflong.tracking import numbers, open_tracker, this_job


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
        self._line = Line(self.line)
        self._tracked = 0.0
        self._tracker = open_tracker(f"{name}/{this_job()}")

    def line(self, seconds: float) -> str:
        """The state after `seconds`. The rate leaves out what came from the cache."""
        counts = self._counts
        details = [
            f"{counts.from_cache:,} stored before",
            f"{counts.prompt_tokens / seconds:,.0f} + {counts.completion_tokens / seconds:,.0f} "
            "tokens/s",
            *(
                f"{count:,} {name}"
                for count, name in (
                    (counts.retried, "retried"),
                    (counts.refused, "refused"),
                    (counts.failed, "failed"),
                )
                if count
            ),
        ]
        if counts.usd:
            details.append(f"{counts.usd:.2f} USD")
        if self._expected_samples is None:
            return state(
                self._name, "requests", counts.finished, self._expected, seconds, *details,
                before=counts.from_cache,
            )  # fmt: skip
        requests = f"{counts.finished:,} requests"
        return state(
            self._name, "samples", self.made, self._expected_samples, seconds, requests, *details
        )

    def show(self) -> None:
        """Called about once a second."""
        self._line.show()
        if self._line.seconds - self._tracked >= LINE_SECONDS:
            self._track()

    def finish(self) -> None:
        """The last line, where anything was asked."""
        if self._counts.finished:
            self._track()
            self._line.close()
        if self._tracker is not None:
            self._tracker.close()

    def _track(self) -> None:
        """By the seconds that have passed: requests have no order."""
        self._tracked = self._line.seconds
        if self._tracker is not None:
            values = {
                name: getattr(self._counts, name) for name in (*Counts.__annotations__, "finished")
            }
            self._tracker.log(round(self._tracked), numbers({**values, "samples": self.made}))
