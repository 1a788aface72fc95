"""No secret and no escape sequence reaches a log."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.logs import presentable

SIGNED = "https://user:pw@cdn.example/a/b.parquet?X-Amz-Signature=5ec1e7&X-Amz-Expires=3600"
LOGS = f"""
import logging
from selflong.logs import start_logging
start_logging()
for name in ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "aiohttp.client", "any.other"):
    logging.getLogger(name).info("HTTP Request: GET {SIGNED} 200 OK")
    logging.getLogger(name).warning("Retry: GET /a/b.parquet?X-Amz-Signature=5ec1e7 HTTP/1.1")
try:
    raise OSError("cannot read {SIGNED}")
except OSError:
    logging.getLogger("selflong.hub").exception("no \\x1b[31mcolour\\x1b[0m")
logging.getLogger("selflong.hub").info("read")
"""


def test_a_signed_address_is_never_logged() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS], check=True, capture_output=True, text=True, timeout=60
    )
    said = done.stdout + done.stderr
    assert "5ec1e7" not in said
    assert "pw" not in said
    assert "HTTP Request" not in said
    assert said.count("Retry: GET /a/b.parquet?***") == 7
    assert "OSError: cannot read https://cdn.example/a/b.parquet?***" in said
    assert "no colour\n" in said
    assert "read\n" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: text, 50%?", "plain: text, 50%?"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07bell\x07 \x1b[2J\x1b[1;31mred\x9b0m\r", "bell red0m"),
        ("http://me:pw@host/v1?key=1", "http://host/v1?***"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert presentable(text) == shown


@given(st.text())
def test_nothing_steers_the_terminal(text: str) -> None:
    shown = presentable(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert presentable(shown) == shown
