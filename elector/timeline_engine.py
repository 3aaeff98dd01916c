"""The queue of events: jobs, units, and a memory that serves one transfer at a time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Weights:
    """Parameters that several jobs share.

    order : of the first job that needs them; pieces, size : as they are fetched [byte];
    sharers : jobs that use them.
    """

    order: int
    pieces: int
    size: float
    sharers: int
    fetched: int = 0
    users: list[int] = field(default_factory=list)


@dataclass
class Job:
    """One layer of one operation for one sequence.

    seconds : of each piece on its unit. fetch, store : bytes of its own operands and results.
    latency : seconds after which a piece's result is there once its unit is free again.
    weights : parameters it needs, or None. off_chain : nothing in its sequence waits for it.
    waits : jobs that must be done before; behind : job whose pieces it follows one by one.
    """

    row: int
    layer: int
    stream: int
    unit: str
    seconds: list[float]
    fetch: float
    store: float
    latency: float
    weights: Weights | None
    off_chain: bool
    waits: list[int] = field(default_factory=list)
    behind: int | None = None
    asked: int = 0
    fetched: int = 0
    started: int = 0
    finished: int = 0
    storing: int = 0

    @property
    def pieces(self) -> int:
        """Pieces the job is cut into."""
        return len(self.seconds)


@dataclass(frozen=True)
class Span:
    """A resource busy with a piece of a row."""

    resource: str
    row: int
    layer: int
    stream: int
    start: float
    end: float


class Engine:
    """Runs jobs through the resources.

    A unit takes the oldest job that can go on; gradients of weights only fill gaps. Memory
    writes results first, then fetches in program order. Half of the buffer holds weights that
    were fetched ahead, half activations, so that neither can lock out the other.
    """

    def __init__(self, jobs: list[Job], bandwidth: float, buffer: float, start: float) -> None:
        self.jobs, self.bandwidth, self.now = jobs, bandwidth, start
        self.room = buffer / 2.0
        self.spans: list[Span] = []
        self.busy: dict[str, float] = {}
        self.free = {job.unit: True for job in jobs}
        self.ready: dict[str, list[tuple[bool, int]]] = {job.unit: [] for job in jobs}
        self.queued = [False] * len(jobs)
        self.memory_free = True
        self.held_weights = self.held = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = 0
        self.stores: deque[int] = deque()
        self.fetches: list[int] = []
        self.waiting = [len(job.waits) for job in jobs]
        self.followers: list[list[int]] = [[] for _ in jobs]
        ahead: dict[int, Weights] = {}
        for n, job in enumerate(jobs):
            for w in (*job.waits, *(() if job.behind is None else (job.behind,))):
                self.followers[w].append(n)
            if job.weights is not None:
                job.weights.users.append(n)
                ahead[id(job.weights)] = job.weights
        self.ahead = deque(sorted(ahead.values(), key=lambda w: w.order))
        for n in range(len(jobs)):
            self._ask(n)
            self._offer(n)

    def run(self) -> float:
        """Time at which the last event ends."""
        self._dispatch()
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
            if not self.events or self.events[0][0] > self.now:
                self._dispatch()
        assert all(job.finished == job.pieces for job in self.jobs), "a job never ran"
        return self.now

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.events, (self.now + seconds, self.order, action))

    def _dispatch(self) -> None:
        for unit, free in self.free.items():
            if free and self.ready[unit]:
                self._start(unit)
        if self.memory_free:
            self._transfer()

    def _allowed(self, n: int) -> int:
        """Pieces whose inputs exist already."""
        job = self.jobs[n]
        if self.waiting[n]:
            return 0
        if job.behind is None:
            return job.pieces
        producer = self.jobs[job.behind]
        return producer.finished * job.pieces // producer.pieces

    def _ask(self, n: int) -> None:
        """Queue the fetches of activations that exist by now."""
        job = self.jobs[n]
        if job.fetch == 0:
            job.fetched = job.pieces
            return
        for _ in range(self._allowed(n) - job.asked):
            job.asked += 1
            heapq.heappush(self.fetches, n)

    def _offer(self, n: int) -> None:
        """Put a job in line for its unit if its next piece can run."""
        job = self.jobs[n]
        if self.queued[n] or job.started == job.pieces or job.fetched <= job.started:
            return
        if job.weights is not None and job.weights.fetched <= job.started:
            return
        if self._allowed(n) > job.started:
            self.queued[n] = True
            heapq.heappush(self.ready[job.unit], (job.off_chain, n))

    def _start(self, unit: str) -> None:
        _, n = heapq.heappop(self.ready[unit])
        self.queued[n] = False
        job = self.jobs[n]
        seconds = job.seconds[job.started]
        job.started += 1
        self.free[unit] = False
        self._note(unit, job, seconds)
        self._at(seconds, lambda: self._left(unit))
        self._at(seconds + job.latency, lambda: self._computed(n))
        self._offer(n)

    def _left(self, unit: str) -> None:
        self.free[unit] = True

    def _note(self, resource: str, job: Job, seconds: float) -> None:
        self.busy[resource] = self.busy.get(resource, 0.0) + seconds
        if seconds > 0:
            self.spans.append(
                Span(resource, job.row, job.layer, job.stream, self.now, self.now + seconds)
            )

    def _computed(self, n: int) -> None:
        job = self.jobs[n]
        job.finished += 1
        self.held -= job.fetch / job.pieces
        if job.weights is not None:
            w = job.weights
            self.held_weights -= w.size / w.pieces / w.sharers
        if job.store > 0:
            job.storing += 1
            self.stores.append(n)
        for follower in self.followers[n]:
            if self.jobs[follower].behind == n:
                self._ask(follower)
                self._offer(follower)
        self._close(n)

    def _close(self, n: int) -> None:
        """A job is done when its last result is where the next job finds it."""
        job = self.jobs[n]
        if job.finished < job.pieces or job.storing:
            return
        for follower in self.followers[n]:
            if self.jobs[follower].behind != n:
                self.waiting[follower] -= 1
                self._ask(follower)
                self._offer(follower)

    def _transfer(self) -> None:
        """Results go out first; then the oldest fetch whose half of the buffer has room."""
        if self.stores:
            n = self.stores.popleft()
            self._move(n, self.jobs[n].store / self.jobs[n].pieces, lambda: self._stored(n))
            return
        n = self._oldest_fetch()
        size = self.jobs[n].fetch / self.jobs[n].pieces if n >= 0 else 0.0
        # One piece of each job always fits: without it a sequence could wait for room that
        # only its own progress would free.
        own = n >= 0 and (
            self.jobs[n].fetched == self.jobs[n].finished or self.held + size <= self.room
        )
        if self.ahead:
            w = self.ahead[0]
            part = w.size / w.pieces
            fits = self.held_weights < 1e-9 * part or self.held_weights + part <= self.room
            if fits and not (own and n < w.order):
                self.held_weights += part
                self._move(w.users[0], part, lambda: self._arrived_weights(w))
                if w.fetched + 1 == w.pieces:  # memory serves one transfer at a time
                    self.ahead.popleft()
                return
        if own:
            self.fetches.remove(n)
            heapq.heapify(self.fetches)
            self.held += size
            self._move(n, size, lambda: self._arrived(n))

    def _oldest_fetch(self) -> int:
        """The oldest job with a fetch that has room; else the oldest at all; -1 without any."""
        if not self.fetches:
            return -1
        first = self.fetches[0]
        size = self.jobs[first].fetch / self.jobs[first].pieces
        if self.held + size <= self.room:
            return first
        bare = [n for n in self.fetches if self.jobs[n].fetched == self.jobs[n].finished]
        return min(bare, default=first)

    def _move(self, n: int, size: float, done: Callable[[], None]) -> None:
        seconds = size / self.bandwidth
        self.memory_free = False
        self._note("memory", self.jobs[n], seconds)

        def finish() -> None:
            self.memory_free = True
            done()

        self._at(seconds, finish)

    def _arrived(self, n: int) -> None:
        self.jobs[n].fetched += 1
        self._offer(n)

    def _arrived_weights(self, w: Weights) -> None:
        w.fetched += 1
        for n in w.users:
            self._offer(n)

    def _stored(self, n: int) -> None:
        self.jobs[n].storing -= 1
        self._close(n)
