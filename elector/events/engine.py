"""The queue of events: jobs, units, and memories that serve one transfer at a time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: Share of a unit that is none: what sums of shares may round to.
ROUNDING = 1e-9


@dataclass
class Memory:
    """A memory and the buffer its fetches fill: half for weights ahead, half for the rest."""

    bandwidth: float
    room: float
    free: bool = True
    held_weights: float = 0.0
    held: float = 0.0
    stores: deque[int] = field(default_factory=deque)
    fetches: list[int] = field(default_factory=list)
    ahead: deque[Weights] = field(default_factory=deque)


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
    """One layer of one operation for one sequence, in one turn of the step (pieces.Run).

    seconds : of each piece on its unit. fetch, store : bytes of its own operands and results.
    latency : seconds after which a piece's result is there once its unit is free again.
    weights : parameters it needs, or None. off_chain : nothing in its sequence waits for it.
    memory : where its bytes lie.
    waits : jobs that must be done before; behind : jobs whose pieces it follows one by one.
    unpacks : job whose operand it unpacks: of a product, one piece while the one before is
        multiplied; or None.
    amount, also : see elector.machines.pieces.Work.
    turns : a piece is loaded, computed and stored before the next is loaded, and nothing else
        uses its unit or its memory meanwhile.
    registers : its operands leave the buffer with its unit's turn, not with its result.
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
    memory: str = "memory"
    amount: float = 1.0
    also: tuple[str, float] | None = None
    waits: list[int] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    unpacks: int | None = None
    turns: bool = False
    registers: bool = False
    turn: int = 0
    asked: int = 0
    fetched: int = 0
    started: int = 0
    running: bool = False
    finished: int = 0
    released: int = 0
    storing: int = 0

    @property
    def pieces(self) -> int:
        """Pieces the job is cut into."""
        return len(self.seconds)


@dataclass(frozen=True)
class Span:
    """A resource busy with a piece of a row, which takes `amount` of it."""

    resource: str
    row: int
    layer: int
    stream: int
    start: float
    end: float
    amount: float = 1.0
    turn: int = 0


class EventEngine:
    """Runs jobs through the resources.

    memories : name -> (bytes a second, bytes of the buffer it fills). A unit takes the oldest
    job that can go on, and further ones while they fit beside it; gradients of weights only
    fill gaps. Memory writes results first, then
    fetches in program order. Half of the buffer holds weights that were fetched ahead, half
    activations, so that neither can lock out the other.

    start : time of the first event [s].
    """

    def __init__(
        self, jobs: list[Job], memories: dict[str, tuple[float, float]], start: float
    ) -> None:
        self.jobs, self.now = jobs, start
        self.memories = {
            name: Memory(bandwidth, buffer / 2.0) for name, (bandwidth, buffer) in memories.items()
        }
        self.spans: list[Span] = []
        self.busy: dict[str, float] = {}
        self.free = {job.unit: 1.0 for job in jobs}
        self.free |= {job.also[0]: 1.0 for job in jobs if job.also is not None}
        self.blocked: dict[str, dict[str, None]] = {}
        self.ready: dict[str, list[tuple[bool, int]]] = {job.unit: [] for job in jobs}
        self.queued = [False] * len(jobs)
        self.awake: dict[str, None] = {}
        self.hurried: dict[str, None] = {}  # those that got work as another began its own
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = 0
        self.waiting = [len(job.waits) for job in jobs]
        self.followers: list[list[int]] = [[] for _ in jobs]
        self.unpacking: dict[int, int] = {}
        ahead: dict[int, Weights] = {}
        for n, job in enumerate(jobs):
            for w in (*job.waits, *job.behind):
                self.followers[w].append(n)
            if job.unpacks is not None:
                self.unpacking[job.unpacks] = n
            if job.weights is not None:
                job.weights.users.append(n)
                if not job.turns:
                    ahead[id(job.weights)] = job.weights
        for own in sorted(ahead.values(), key=lambda own: own.order):
            self.memories[jobs[own.users[0]].memory].ahead.append(own)
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
        awake, self.awake = self.awake, {}
        while awake:
            for unit in awake:
                while self.ready.get(unit) and self._fits(unit):
                    self._start(unit)
            awake, self.hurried = self.hurried, {}
        for name, memory in self.memories.items():
            if memory.free:
                self._transfer(name, memory)

    def _allowed(self, n: int) -> int:
        """Pieces whose inputs exist already."""
        job = self.jobs[n]
        if self.waiting[n]:
            return 0
        producers = [self.jobs[before] for before in job.behind]
        pieces = [producer.finished * job.pieces // producer.pieces for producer in producers]
        if job.unpacks is not None:
            pieces.append(self.jobs[job.unpacks].started + 1)
        return min(pieces, default=job.pieces)

    def _ask(self, n: int) -> None:
        """Queue the fetches of activations that exist by now."""
        job = self.jobs[n]
        if job.fetch == 0 or job.turns:
            job.fetched = job.pieces
            return
        for _ in range(self._allowed(n) - job.asked):
            job.asked += 1
            heapq.heappush(self.memories[job.memory].fetches, n)

    def _offer(self, n: int) -> None:
        """Put a job in line for its unit if its next piece can run."""
        job = self.jobs[n]
        if self.queued[n] or job.running or job.started == job.pieces:
            return
        if job.fetched <= job.started:
            return
        if job.weights is not None and not job.turns and job.weights.fetched <= job.started:
            return
        if self._allowed(n) > job.started:
            self.queued[n] = True
            heapq.heappush(self.ready[job.unit], (job.off_chain, n))
            self.awake[job.unit] = None

    def _fits(self, unit: str) -> bool:
        """Whether the oldest job finds all that its next piece takes."""
        job = self.jobs[self.ready[unit][0][1]]
        if job.turns and not self.memories[job.memory].free:
            self.awake[unit] = None  # it is first in line, and waits for the memory
            return False
        for name, amount in self._taken(job):
            if amount > self.free[name] + ROUNDING:
                if name != unit:
                    self.blocked.setdefault(name, {})[unit] = None
                return False
        return True

    def _taken(self, job: Job) -> list[tuple[str, float]]:
        """Units that the next piece takes, and the share of each."""
        own = [(job.unit, job.amount)]
        return own if job.also is None else [*own, job.also]

    def _start(self, unit: str) -> None:
        n = self.ready[unit][0][1]
        job, taken = self.jobs[n], self._taken(self.jobs[n])
        heapq.heappop(self.ready[unit])
        self.queued[n] = False
        if job.turns:
            self._turn(n, taken)
            return
        seconds = job.seconds[job.started]
        job.started += 1
        for name, amount in taken:
            self.free[name] -= amount
            self._note(name, job, seconds, amount)
        job.running = True
        self._hurry(n)
        self._at(seconds, lambda: self._left(n, taken))
        self._at(seconds + job.latency, lambda: self._computed(n))

    def _hurry(self, n: int) -> None:
        """Of a job that began a piece the next piece of its operand may be unpacked."""
        if n in self.unpacking:
            self._offer(self.unpacking[n])
            self.hurried[self.jobs[self.unpacking[n]].unit] = None

    def _left(self, n: int, taken: list[tuple[str, float]]) -> None:
        job = self.jobs[n]
        job.running = False
        if job.registers:
            self._released(job)
        self._offer(n)
        for name, amount in taken:
            self.free[name] += amount
            self.awake[name] = None
            self.awake |= self.blocked.pop(name, {})

    def _turn(self, n: int, taken: list[tuple[str, float]]) -> None:
        """Load, compute and store a piece; its unit and its memory are taken all the while."""
        job = self.jobs[n]
        memory, piece = self.memories[job.memory], job.started
        load, store = job.fetch / job.pieces, job.store / job.pieces
        if job.weights is not None and job.weights.fetched <= piece:
            load += job.weights.size / job.weights.pieces
            job.weights.fetched += 1
        before, after = load / memory.bandwidth, store / memory.bandwidth
        seconds = job.seconds[piece]
        job.started += 1
        # Pieces follow each other through the unit; what the last one leaves there is waited for.
        wait = job.latency if job.started == job.pieces else 0.0
        end = before + seconds + wait + after
        job.running, memory.free = True, False
        self._hurry(n)
        self._note(job.memory, job, before)
        for name, amount in taken:
            self.free[name] -= amount
            self._note(name, job, seconds, amount, before)
        self._note(job.memory, job, after, 1.0, end - after)

        def finish() -> None:
            memory.free = True
            self._left(n, taken)

        self._at(end, finish)
        self._at(end + job.latency - wait, lambda: self._computed(n))

    def _note(
        self, resource: str, job: Job, seconds: float, amount: float = 1.0, later: float = 0.0
    ) -> None:
        self.busy[resource] = self.busy.get(resource, 0.0) + seconds * amount
        if seconds > 0:
            start = self.now + later
            self.spans.append(
                Span(
                    resource,
                    job.row,
                    job.layer,
                    job.stream,
                    start,
                    start + seconds,
                    amount,
                    job.turn,
                )
            )

    def _computed(self, n: int) -> None:
        job = self.jobs[n]
        job.finished += 1
        memory = self.memories[job.memory]
        if not job.registers:
            self._released(job)
        if job.store > 0 and not job.turns:
            job.storing += 1
            memory.stores.append(n)
        for follower in self.followers[n]:
            if n in self.jobs[follower].behind:
                self._ask(follower)
                self._offer(follower)
        self._close(n)

    def _released(self, job: Job) -> None:
        """What a piece was computed from leaves the buffer, weights when the last job used them."""
        memory = self.memories[job.memory]
        job.released += 1
        if not job.turns:
            memory.held -= job.fetch / job.pieces
        if job.weights is not None and not job.turns:
            w = job.weights
            memory.held_weights -= w.size / w.pieces / w.sharers

    def _close(self, n: int) -> None:
        """A job is done when its last result is where the next job finds it."""
        job = self.jobs[n]
        if job.finished < job.pieces or job.storing:
            return
        for follower in self.followers[n]:
            if n not in self.jobs[follower].behind:
                self.waiting[follower] -= 1
                self._ask(follower)
                self._offer(follower)

    def _transfer(self, name: str, memory: Memory) -> None:
        """Results go out first; then the oldest fetch whose half of the buffer has room."""
        if memory.stores:
            n = memory.stores.popleft()
            self._move(name, n, self.jobs[n].store / self.jobs[n].pieces, lambda: self._stored(n))
            return
        n = self._oldest_fetch(memory)
        size = self.jobs[n].fetch / self.jobs[n].pieces if n >= 0 else 0.0
        # One piece of each job always fits: without it a sequence could wait for room that
        # only its own progress would free.
        own = n >= 0 and (
            self.jobs[n].fetched == self.jobs[n].released or memory.held + size <= memory.room
        )
        if memory.ahead:
            w = memory.ahead[0]
            part = w.size / w.pieces
            fits = memory.held_weights < 1e-9 * part or memory.held_weights + part <= memory.room
            if fits and not (own and self._sooner(n, w)):
                memory.held_weights += part
                self._move(name, w.users[0], part, lambda: self._arrived_weights(w))
                if w.fetched + 1 == w.pieces:  # memory serves one transfer at a time
                    memory.ahead.popleft()
                return
        if own:
            memory.fetches.remove(n)
            heapq.heapify(memory.fetches)
            memory.held += size
            self._move(name, n, size, lambda: self._arrived(n))

    def _sooner(self, n: int, w: Weights) -> bool:
        """Whether a job needs its next piece sooner than the next piece of some weights is needed:
        it is older, or has the piece of them already that goes with it."""
        job = self.jobs[n]
        return n < w.order or (job.weights is w and job.fetched < w.fetched)

    def _oldest_fetch(self, memory: Memory) -> int:
        """The oldest job with a fetch that has room; else the oldest at all; -1 without any."""
        if not memory.fetches:
            return -1
        first = memory.fetches[0]
        size = self.jobs[first].fetch / self.jobs[first].pieces
        if memory.held + size <= memory.room:
            return first
        bare = [n for n in memory.fetches if self.jobs[n].fetched == self.jobs[n].released]
        return min(bare, default=first)

    def _move(self, name: str, n: int, size: float, done: Callable[[], None]) -> None:
        memory = self.memories[name]
        seconds = size / memory.bandwidth
        memory.free = False
        self._note(name, self.jobs[n], seconds)

        def finish() -> None:
            memory.free = True
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
