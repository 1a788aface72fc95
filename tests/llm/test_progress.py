"""What the progress of requests says."""

from selflong.llm import Usage
from selflong.llm.progress import Progress


def test_the_line_has_rate_tokens_time_left_and_troubles() -> None:
    usage = Usage(
        from_cache=1000,
        answered=300,
        refused=2,
        retried=7,
        prompt_tokens=60_000,
        completion_tokens=6_000,
        usd=1.234,
    )
    line = Progress("smollm2", usage, expected=4000).line(60)
    assert line == (
        "smollm2: 1,302 of 4,000 requests, 5.03 requests/s, 1,000 stored before, 1,000 + 100 tokens/s, "
        "7 retried, 2 refused, 1.23 USD, 0:08:56 left"
    )


def test_samples_that_take_several_requests_are_counted_by_themselves() -> None:
    """A run that said "94 of 30" had set requests against samples."""
    usage = Usage(answered=94, prompt_tokens=9_400, completion_tokens=940)
    progress = Progress("smollm2", usage, expected_samples=30)
    progress.made = 10
    assert progress.line(60) == (
        "smollm2: 10 of 30 samples, 0.167 samples/s, 94 requests, 0 stored before, 157 + 16 tokens/s, "
        "0:02:00 left"
    )
    progress.made = 30
    assert "left" not in progress.line(60)
