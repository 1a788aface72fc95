"""How Ctrl-C ends a program: with a sentence. It imports next to nothing: a program needs it before all else.

A KeyboardInterrupt alone would not do. While a program imports, libraries in other languages make an error of
their own of it or abort, and while the interpreter ends it is printed as a stack. Nothing has to be put away
then, so that the signal ends the program where it is. Only while a job works it is raised.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

SENTENCE = b"Error: interrupted: start again, and it goes on\n"


def end_at_once() -> None:
    """From here on Ctrl-C ends this program where it is; one that runs in the background has none."""
    sys.excepthook = _excepthook
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def raised() -> Iterator[None]:
    """Within the block Ctrl-C raises KeyboardInterrupt, so that what is open is closed."""
    before = signal.getsignal(signal.SIGINT)
    if before is _end:
        # No handler of our own: asyncio stops its tasks only where it finds Python's.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, _frame: FrameType | None) -> None:
    _say()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _say() -> None:
    with suppress(OSError):
        os.write(2, SENTENCE)  # a handler may have come upon a print under way


def _excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if _stems_from_interrupt(error):
        _say()
    else:
        sys.__excepthook__(kind, error, trace)


def _stems_from_interrupt(error: BaseException | None) -> bool:
    """Whether an error is a KeyboardInterrupt or came of one: its name in a text may be all that is left."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or KeyboardInterrupt.__name__ in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
