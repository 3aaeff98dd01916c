"""What a file may cost to read: size, seconds, and no code of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from elector.base.errors import InputError

#: Bytes of a description (JSON) and of a program with its weights (2 GiB).
DESCRIPTION, PROGRAM = 64 << 20, 2 << 30
#: Seconds to read a file, and to run through a class on the meta device.
READ_SECONDS, TRACE_SECONDS = 10, 120


@contextmanager
def at_most(seconds: int, what: str, file: object) -> Iterator[None]:
    """Stop what takes longer with an InputError; in the main thread only, where alarms come."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: object) -> None:
        raise InputError(f"{what} takes more than {seconds} s", file=file)

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
