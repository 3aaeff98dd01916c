"""Ctrl-C, SIGTERM and SIGHUP: one way to end, and never in the middle of what must be whole.

Batch systems and containers end a program with SIGTERM, a terminal that closes with SIGHUP. Both
become what Ctrl-C is, a KeyboardInterrupt, so that a command ends the same way whoever ends it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: So many signals end a program wherever it is: its owner does not want to wait.
_INSISTENT = 5


class Interrupts:
    """Signals that ask a program to end, raised as KeyboardInterrupt where that does no harm.

    The first one is raised at once, unless within `whole`; those that follow are only noted until
    `settled` says that what matters is safe, so that a second Ctrl-C cannot undo the first.

    most : signals from which on the program ends whatever it does.
    """

    def __init__(self, most: int = _INSISTENT) -> None:
        self.noted = 0
        self._most = most
        self._depth = 0
        self._raised = False

    def handle(self, number: int, frame: object) -> None:
        """The handler of a signal.

        number, frame : as `signal.signal` gives them.
        """
        self.noted += 1
        if self.noted < self._most and (self._depth or self._raised):
            return
        self._raised = True
        raise KeyboardInterrupt

    @contextmanager
    def whole(self, most: int = _INSISTENT) -> Iterator[None]:
        """Work that is not interrupted; what was noted meanwhile is raised at its end.

        most : so many signals interrupt it all the same.
        """
        before, self._most = self._most, most
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._most = before
        if not self._raised:
            self.check()

    def check(self) -> None:
        """Raises what was noted, even if it was raised: a destructor may have swallowed it."""
        if self.noted and not self._depth:
            self._raised = True
            raise KeyboardInterrupt

    def settled(self) -> None:
        """What matters is safe: from now on a signal is raised again."""
        self.noted, self._raised = 0, False


@contextmanager
def gentle(most: int = _INSISTENT) -> Iterator[Interrupts]:
    """Handles the signals that end a program, and leaves alone those that are handled already.

    most : from so many signals on each is raised at once, whatever was raised before.
    Only the main thread of a program is told of signals; elsewhere this changes nothing. A
    signal that is ignored, as by nohup, stays so.
    """
    interrupts = Interrupts(most)
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and _is_ours(signal.getsignal(number)):
                before[number] = signal.signal(number, interrupts.handle)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ours(handler: Any) -> bool:
    """Whether a handler is Python's own, or one of `gentle` further out."""
    own = isinstance(getattr(handler, "__self__", None), Interrupts)
    return own or handler in (signal.SIG_DFL, signal.default_int_handler)
