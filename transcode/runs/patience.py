"""Questions that must not wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_Answer = TypeVar("_Answer")


class Silent(Exception):
    """Nothing was answered in time."""


def within(seconds: float, ask: Callable[[], _Answer]) -> _Answer:
    """What `ask` returns, or raises, if within so many seconds; Silent otherwise.

    A thread that hangs in a driver cannot be ended; it is left behind.
    """
    answers: list[_Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise Silent(f"did not answer within {seconds:g} s")
    return answers[0]
