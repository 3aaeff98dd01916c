"""Where the seconds of a search go: each one is counted once, under one name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: What is counted while no part is under way.
REST = "rest"


class Timers:
    """Seconds by part of the work. A part within a part is counted as itself only.

    clock : seconds, from anywhere. started : by it, when the search began.
    """

    def __init__(self, clock: Callable[[], float], started: float) -> None:
        self.clock = clock
        self.started = started
        self._spent: dict[str, float] = {}
        self._parts = [REST]
        self._since = started

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Counts what is done within as this part."""
        self._credit()
        self._parts.append(part)
        try:
            yield
        finally:
            self._credit()
            self._parts.pop()

    def _credit(self) -> float:
        now, part = self.clock(), self._parts[-1]
        self._spent[part] = self._spent.get(part, 0.0) + now - self._since
        self._since = now
        return now

    def spent(self) -> dict[str, float]:
        """Part -> seconds so far, `session` their sum; the work under way included."""
        session = self._credit() - self.started
        return {"session": session, **self._spent}
