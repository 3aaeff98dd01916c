"""The event-driven second opinion: one design, one step, as a queue of events.

The closed form of `schedule.py` is checked against this model, which shares none of its
formulas. Every layer of every operation is a job of one sequence; a job is cut into pieces;
a piece waits for its operands, for its unit and for the piece before it. Memory serves
transfers one after another, fetches weights ahead of the computation only as far as the
buffer reaches, and never fetches an activation before it was written.

    fetch ->  [buffer]  -> unit (array | vector) -> write back
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.errors import InputError
from elector.evaluate import Chunk, inspect
from elector.operations.rows import Row
from elector.schedule import STAGES
from elector.table import Column
from elector.technology import Technology
from elector.timeline_engine import Engine, Job, Span, Weights
from elector.timeline_units import UNITS, UnitModel

#: Pieces a job is cut into: finer cuts change the step by less than a percent.
PIECES = 8
MOST_PIECES = 256
#: Jobs after which a run is refused: it would take minutes.
MOST_JOBS = 400_000


@dataclass(frozen=True)
class Timeline:
    """What happened: seconds of the step and of its stages, busy spans, seconds of resources."""

    seconds: float
    stages: dict[str, float]
    spans: list[Span]
    busy: dict[str, float]
    rows: tuple[Row, ...]


def run(columns: Mapping[str, Column], technology: Technology | None = None) -> Timeline:
    """The timeline of one design. Raises InputError for bad settings or too many jobs."""
    return timeline(inspect(columns, technology or Technology.load()))


def timeline(chunk: Chunk) -> Timeline:
    """The timeline of the first design of a chunk."""
    if chunk.machine.name not in UNITS:
        raise InputError("has no event-driven model", field="accelerator",
                         value=chunk.machine.name, allowed=UNITS)
    unit = UNITS[chunk.machine.name](chunk)
    now, spans, stages = 0.0, [], {}
    busy: dict[str, float] = {}
    for stage, phases in STAGES.items():
        jobs = _Writer(chunk, unit).write(phases)
        if not jobs:
            continue
        engine = Engine(jobs, unit.bandwidth, unit.buffer, now)
        end = engine.run()
        stages[stage], now = end - now, end
        spans += engine.spans
        for name, seconds in engine.busy.items():
            busy[name] = busy.get(name, 0.0) + seconds
    return Timeline(now, stages, spans, busy, chunk.ops.rows)


class _Writer:
    """Writes the jobs of a stage in program order."""

    def __init__(self, chunk: Chunk, unit: UnitModel) -> None:
        self.chunk, self.unit, self.i = chunk, unit, int(chunk.index[0])
        self.jobs: list[Job] = []
        self.last: dict[int, int] = {}
        self.weights: dict[tuple[int, int], Weights] = {}

    def write(self, phases: tuple[str, ...]) -> list[Job]:
        """Jobs of the rows of these phases; every sequence is a stream of its own."""
        ops = self.chunk.ops
        rows = [
            r for r, row in enumerate(ops.rows) if row.phase in phases and self._count(r) > 0
        ]
        streams = self.unit.streams(rows)
        for group in self._groups(rows):
            repeat = max(round(self._count(group[0])), 1)
            if len(self.jobs) + repeat * streams * len(group) > MOST_JOBS:
                raise InputError(f"the timeline has more than {MOST_JOBS:,} jobs",
                                 field="model", hint="a smaller batch or fewer layers")
            for layer in range(repeat):
                for stream in range(streams):
                    self._sequence(group, layer, repeat, stream, streams)
        return self.jobs

    def _count(self, row: int) -> float:
        return float(self.chunk.ops.count[row, self.i])

    def _groups(self, rows: list[int]) -> list[list[int]]:
        """Consecutive rows of one layer: they repeat together."""
        found: list[list[int]] = []
        for r in rows:
            row = self.chunk.ops.rows[r]
            before = self.chunk.ops.rows[found[-1][-1]] if found else None
            if before is not None and (before.layer, before.phase) == (row.layer, row.phase):
                found[-1].append(r)
            else:
                found.append([r])
        return found

    def _sequence(
        self, group: list[int], layer: int, repeat: int, stream: int, streams: int
    ) -> None:
        """The jobs of one layer for one sequence, each waiting for the one before."""
        rows = self.chunk.ops.rows
        leader: int | None = None
        for r in group:
            times = self._count(r) / repeat
            if times * (layer + 1) > self._count(r) + 0.5:
                continue
            row, before, here = rows[r], self.last.get(stream), len(self.jobs)
            job = self._job(r, layer, stream, times, streams)
            streamed = row.streamed and self.unit.fuse and leader is not None and before == leader
            # Heads do not wait for one another: a piece is some of them, whatever the operation.
            heads = row.in_attention and before is not None
            if streamed or (heads and rows[self.jobs[before or 0].row].in_attention):
                job.behind = before
            elif before is not None:
                job.waits.append(before)
            self.jobs.append(job)
            if row.off_chain:
                continue
            self.last[stream] = here
            leader = here if row.matmul or (row.streamed and leader is not None) else None

    def _job(self, r: int, layer: int, stream: int, times: float, streams: int) -> Job:
        weights, fetch, store = (size * times for size in self.unit.traffic(r))
        fetch, store = fetch / streams, store / streams
        # A piece's operands take an eighth of the buffer at most, so that fetching runs ahead.
        wanted = np.ceil(8.0 * max(weights, fetch) / self.unit.buffer)
        cut = int(min(max(PIECES, wanted), MOST_PIECES))
        kind, seconds, latency = self.unit.pieces(r, times, streams, cut)
        shared = None
        if weights > 0:
            # Weights are fetched once and stay until the last sequence has used them.
            order = (len(self.jobs), cut, weights, streams)
            shared = self.weights.setdefault((layer, r), Weights(*order))
        off_chain = self.chunk.ops.rows[r].off_chain
        return Job(r, layer, stream, kind, seconds, fetch, store, latency, shared, off_chain)
