"""What a job says: nothing in it is secret, and nothing steers the terminal that shows it."""

import logging
import re
import sys

_USER = re.compile(r"(?<=://)[^\s/@]*@")
_QUERY = re.compile(r"\?[^\s\"'<>]*=[^\s\"'<>]*")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
# Control characters but for tab and newline, and those that turn the direction of what follows.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def presentable(text: str) -> str:
    """`text` without passwords and queries of addresses, where signatures stand, and without controls."""
    text = _CONTROLS.sub("", _ESCAPE.sub("", text))
    return _QUERY.sub("?***", _USER.sub("", text))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return presentable(super().format(record))


def start_logging() -> None:
    """Log to standard error; a library is heard where something is wrong, its requests never are."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("selflong").setLevel(logging.INFO)
