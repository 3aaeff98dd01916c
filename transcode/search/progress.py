"""How far a search is, while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transcode.search.state import SearchState
from transcode.search.timers import Timers

#: Seconds between two looks at the hypervolume, at least, and the share of the time they may take.
_LOOK, _SHARE = 1.0, 0.05


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    designs : evaluated so far, earlier sessions included; expected : in the end, if known.
    rate : designs a second, this session.
    hypervolume : None before there is a reference point. exact : whether it is of every point.
    left : seconds to go, as far as can be said.
    """

    designs: int
    expected: int | None
    feasible: int
    front: int
    hypervolume: float | None
    exact: bool
    rate: float
    seconds: float
    left: float | None
    finished: bool = False


class Meter:
    """Says where a search stands, and looks at the hypervolume now and then.

    expected : designs in the end, if known. time : seconds the session may take, if limited.
    """

    def __init__(self, timers: Timers, expected: int | None, time: float | None) -> None:
        self.timers = timers
        self.expected = expected
        self.time = time
        self._begun = 0.0
        self._look = -np.inf
        self._volume: tuple[float | None, bool] = (None, True)

    def begin(self) -> None:
        """From now on designs are evaluated."""
        self._begun = self.timers.clock()

    def read(self, state: SearchState, finished: bool = False) -> Progress:
        """Where the search stands now.

        finished : whether it has ended.
        """
        clock = self.timers.clock
        now = clock()
        if (now >= self._look or finished) and state.reference is not None:
            self._volume = state.live_hypervolume()
            self._look = clock() + max(_LOOK, (clock() - now) / _SHARE)
        seconds = now - self.timers.started
        rate = state.new / max(now - self._begun, 1e-9)
        left = [] if self.time is None else [max(self.time - seconds, 0.0)]
        if self.expected is not None and rate > 0:
            left.append((self.expected - state.designs) / rate)
        volume, exact = self._volume
        return Progress(
            designs=state.designs,
            expected=self.expected,
            feasible=state.feasible,
            front=len(state.archive),
            hypervolume=volume,
            exact=exact,
            rate=rate,
            seconds=seconds,
            left=min(left, default=None),
            finished=finished,
        )
