"""How Ctrl-C ends a program. It imports next to nothing: a launcher needs it before all else."""

import sys
from contextlib import suppress
from types import TracebackType


def quiet_interrupt(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """A `sys.excepthook` by which Ctrl-C ends a program with a sentence in place of a stack."""
    if issubclass(kind, KeyboardInterrupt):
        with suppress(OSError):
            print("Error: interrupted: start again, and it goes on", file=sys.stderr, flush=True)
    else:
        sys.__excepthook__(kind, error, trace)
