"""The event-driven second opinion: one design, one step, as a queue of events.

The closed form of `schedule.py` is checked against this model, which shares none of its
formulas. What it takes over are decisions: how many streams the batch is split into, the bytes
that the tiles of an operation move, and whether its loads and computing take turns.

Every layer of every operation is a job of one stream; a job is cut into pieces;
a piece waits for its operands, for its unit and for the piece before it. A memory serves
transfers one after another, fetches weights ahead of the computation only as far as the
buffer reaches, and never fetches an activation before it was written.

    fetch ->  [buffer]  -> unit (array | vector | ...) -> write back

A GPU's jobs are kernels, launched by a host and worked off in order. In a hybrid every unit
has resources and a memory of its own, and a transfer is a job of its link.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.schedule import STAGES
from elector.describe.workload import PROMPTS
from elector.evaluation.path import Chunk, inspect, members
from elector.events.engine import EventEngine, Job, Span, Weights
from elector.hybrid.assign import TRANSFER, carries_weights
from elector.machines import MACHINES
from elector.machines.contract import Hybrid
from elector.machines.pieces import PIECES, Case, EventModel, LayerRun, RowWork, cut
from elector.operations.roles import RowPart
from elector.operations.rows import PARAMETERS, Row
from elector.technology import Technology

MOST_PIECES = 256
#: Pieces of all jobs of a stage, at least, as long as none has more than so many: nothing overlaps
#: the first piece of a step and its last, and of a few large products an eighth takes long.
FINE, FINE_PIECES = 2_048, 64
#: Pieces of all jobs after which a run is refused: it would take minutes.
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
    units = {name: _model(own) for name, own in members(chunk).items()}
    memories = {f"{name}memory": (u.bandwidth, u.buffer) for name, u in units.items()}
    now, spans, stages = 0.0, [], {}
    busy: dict[str, float] = {}
    for stage, phases in STAGES.items():
        streams = chunk.timing.streams.get(stage, np.ones(1))
        jobs = _Writer(chunk, units).write(phases, int(streams[0]))
        if not jobs:
            continue
        engine = EventEngine(jobs, memories, now)
        end = engine.run()
        stages[stage], now = end - now, end
        spans += engine.spans
        for name, seconds in engine.busy.items():
            busy[name] = busy.get(name, 0.0) + seconds
    return Timeline(now, stages, spans, busy, chunk.ops.rows)


def _model(chunk: Chunk) -> EventModel:
    """The event model of a machine that is no hybrid. Raises InputError if it has none."""
    machine = chunk.machine
    if machine.events is None:
        raise InputError(
            "the machine has no event model, so there is no timeline of it",
            field="accelerator",
            value=machine.name,
            allowed=[name for name, other in MACHINES.items() if other.events is not None],
        )
    joules = {name: float(rate.value[0]) for name, rate in chunk.prices.actions.items()}
    return machine.events(Case(chunk.ops, int(chunk.index[0]), chunk.units, chunk.activity, joules))


class _Writer:
    """Writes the jobs of a stage in program order; `units` by the start of their names."""

    def __init__(self, chunk: Chunk, units: Mapping[str, EventModel]) -> None:
        self.chunk, self.units, self.i = chunk, units, int(chunk.index[0])
        self.hybrid: Hybrid | None = chunk.machine.hybrid
        in_order = chunk.activity.overlap.in_order
        self.in_order = bool(np.broadcast_to(in_order, chunk.index.shape)[0])
        self.jobs: list[Job] = []
        self.pieces, self.fine = 0, 0.0
        self.last: dict[int, int] = {}
        self.kernels: dict[str, list[int]] = {}
        self.launched: dict[str, int] = {}  # the last launch of a host
        self.weights: dict[tuple[int, int, int], Weights] = {}
        self.sent: dict[tuple[int, int, int], int] = {}  # weights on a link: their job
        self.unpacked: dict[tuple[int, int, int], int] = {}  # weights in another format: their job
        self.placed: dict[tuple[int, int, int], int] = {}  # weights written into cells: their job

    def write(self, phases: tuple[str, ...], streams: int) -> list[Job]:
        """Jobs of the rows of these phases, the batch being split into so many streams."""
        ops = self.chunk.ops
        rows = [r for r, row in enumerate(ops.rows) if row.phase in phases and self._count(r) > 0]
        runs = sum(self._count(r) for r in rows) * streams
        self.fine = min(FINE / max(runs, 1.0), FINE_PIECES)
        for groups in self._passes(self._groups(rows)):
            turns = self._turns(groups)
            repeats = [self._repeat(group) // turns for group in groups]
            layers = sum(n * len(group) for n, group in zip(repeats, groups, strict=True))
            self._require(len(self.jobs) + turns * layers * streams)
            for turn in range(turns):
                for group, repeat in zip(groups, repeats, strict=True):
                    for layer, stream in itertools.product(range(repeat), range(streams)):
                        one = LayerRun(-1, turn, layer, repeat, 0.0, stream, streams, 0)
                        self._sequence(group, turns, one)
        return self.jobs

    def _passes(self, groups: list[list[int]]) -> list[list[list[int]]]:
        """Groups that are gone through together: a pass starts anew where a place comes again."""
        passes: list[list[list[int]]] = []
        seen: set[object] = set()
        for group in groups:
            row = self.chunk.ops.rows[group[0]]
            if not passes or (self._in_turns(row.phase) and row.place in seen):
                passes.append([])
                seen = set()
            seen.add(row.place)
            passes[-1].append(group)
        return passes

    def _in_turns(self, phase: str) -> bool:
        """Whether a phase may go through the layers in several passes: of tokens, or of pieces of
        a prompt."""
        return phase == "decode" or (self.chunk.workload.chunked and phase != "update")

    def _turns(self, groups: list[list[int]]) -> int:
        """Times that the layers of a pass are gone through: tokens, prompts, or micro-batches.

        A token depends on the last one, and the tensors of a micro-batch or a prompt go before
        the next.
        """
        repeats = [self._repeat(group) for group in groups]
        workload, phase = self.chunk.workload, self.chunk.ops.rows[groups[0][0]].phase
        turns = 1
        if self._in_turns(phase):
            turns = math.gcd(*repeats)
        elif workload.training and phase != "update":
            turns = round(float(workload.gradient_accumulation[self.i]))
        elif phase in PROMPTS:
            turns = round(float(workload.passes(phase)[self.i]))
        return turns if all(n % turns == 0 for n in repeats) else 1

    def _count(self, row: int) -> float:
        return float(self.chunk.ops.count[row, self.i])

    def _start(self, row: int) -> str:
        """Start of the names of the resources of the unit that runs a row; a link's is its name."""
        return "" if self.hybrid is None else f"{self.chunk.owner[row]}."

    def _groups(self, rows: list[int]) -> list[list[int]]:
        """Consecutive rows of one layer: they repeat together."""
        groups: list[list[int]] = []
        for r in rows:
            row = self.chunk.ops.rows[r]
            before = self.chunk.ops.rows[groups[-1][-1]] if groups else None
            if before is not None and (before.place, before.phase) == (row.place, row.phase):
                groups[-1].append(r)
            else:
                groups.append([r])
        return groups

    def _repeat(self, group: list[int]) -> int:
        """Layers of a group: the count that most of its operations have."""
        rows = [r for r in group if self.chunk.ops.rows[r].kind != TRANSFER] or group
        return max(round(Counter(self._count(r) for r in rows).most_common(1)[0][0]), 1)

    def _sequence(self, group: list[int], turns: int, one: LayerRun) -> None:
        """The jobs of one layer for one sequence, each waiting for the one before."""
        leader: int | None = None
        stream, operand = one.stream, None  # an operand whose product is still to come
        for r in group:
            row, before = self.chunk.ops.rows[r], self.last.get(stream)
            run = replace(one, row=r, times=self._count(r) / turns / one.repeat)
            if row.part is RowPart.UNPACKED and not self._queues(r):
                operand = run
                continue
            jobs = self._jobs(run)
            if not jobs:
                continue
            self._after(jobs[0], before, leader)
            if operand is not None and self.chunk.ops.rows[operand.row].unpacks_for(row):
                self._unpack(operand, self.jobs[jobs[0]], jobs[0])
                operand = None
            if row.off_chain and not self.in_order:
                continue
            self.last[stream] = jobs[-1]
            leads = row.matmul or (row.streamed and leader is not None)
            leader = jobs[-1] if leads else None

    def _after(self, n: int, before: int | None, leader: int | None) -> None:
        """Lets a job follow the one before it in its sequence."""
        job = self.jobs[n]
        if before is not None and self._follows(job.row, before, leader):
            job.behind.append(before)
        elif before is not None and not self._waits_for_nothing(job.row):
            job.waits.append(before)

    def _waits_for_nothing(self, r: int) -> bool:
        """Whether a row is of an update, whose tensors do not wait for others."""
        return self.chunk.ops.rows[r].phase == "update" and not self.in_order

    def _queues(self, r: int) -> bool:
        """Whether the unit of a row works off its jobs in their order."""
        unit = self.units.get(self._start(r))
        return unit is not None and unit.ahead > 0

    def _unpack(self, run: LayerRun, product: Job, place: int) -> None:
        """An operand is unpacked ahead of its product, at `place`, which follows piece by piece.

        A weight is unpacked once for all sequences, as soon as it is there and the one before it
        is done; a cache by each sequence, as soon as its product could begin.
        """
        shared = self.chunk.ops.rows[product.row].b in PARAMETERS
        key = run.turn, run.layer, run.row
        if shared and key in self.unpacked:
            product.behind.append(self.unpacked[key])
            return
        jobs = self._jobs(replace(run, streams=1) if shared else run)
        if not jobs:  # the product itself has the work
            return
        first = jobs[0]
        job = self.jobs[first]
        job.off_chain, job.unpacks = False, place
        if not shared:
            job.waits, job.behind = list(product.waits), list(product.behind)
        elif self.unpacked:
            job.waits.append(next(reversed(self.unpacked.values())))
        if product.weights is not None and not product.turns:
            job.weights, product.weights.sharers = product.weights, product.weights.sharers + 1
            job.seconds = cut(sum(job.seconds), product.pieces)
        elif job.pieces > product.pieces:  # what is ahead by one piece has no more of them
            job.seconds = cut(sum(job.seconds), product.pieces)
        if shared:
            self.unpacked[key] = first
        product.behind.append(first)

    def _follows(self, r: int, before: int, leader: int | None) -> bool:
        """Whether pieces of row `r` follow those of the job before one by one."""
        row, last = self.chunk.ops.rows[r], self.jobs[before].row
        unit = self.units.get(self._start(r))
        if unit is None or unit.ahead or self._start(last) != self._start(r):
            return False
        if row.streamed and unit.fuse and before == leader:
            return True
        # Heads do not wait for one another: a piece is some of them, whatever the operation.
        return not self.in_order and unit.heads(r) and unit.heads(last)

    def _jobs(self, run: LayerRun) -> list[int]:
        """The jobs of a row, one after another; their places."""
        start = self._start(run.row)
        unit = self.units.get(start)
        if unit is None:
            return [self._transfer(run)]
        weights, fetch, store = (size * run.times for size in unit.traffic(run.row))
        sizes = weights, fetch / run.streams, store / run.streams
        # A piece's operands take an eighth of the buffer, or half of its half at most, so that
        # fetching runs ahead.
        share = max(sizes[0], sizes[1]) / unit.buffer
        wanted = max(min(8.0 * share, MOST_PIECES), 4.0 * share)
        most = int(max(unit.least, np.ceil(max(wanted, self.fine))))
        self._require((self.pieces + most) / PIECES)
        places: list[int] = []
        for work in unit.work(replace(run, most=most)):
            job = self._job(run, work, sizes, start)
            if places:
                job.waits.append(places[-1])
            if unit.ahead:
                self._queue(job, work, start, unit.ahead)
            places.append(self._add(job))
            key = run.turn, run.layer, run.row
            if work.places:
                self.placed[key] = places[-1]
            elif key in self.placed and self.placed[key] not in job.waits:
                job.waits.append(self.placed[key])
        if unit.ahead:
            self.kernels.setdefault(start, []).extend(places)
        return places

    def _job(
        self, run: LayerRun, work: RowWork, sizes: tuple[float, float, float], start: str
    ) -> Job:
        weights, fetch, store = sizes
        # What moves nothing waits for no transfer, and none waits for it.
        shared, turns = None, self.units[start].turns(run.row) and sum(sizes) > 0
        key = run.turn, run.layer, run.row
        if weights > 0 and key not in self.placed:
            # Weights are fetched once and stay until the last sequence has used them.
            users = 1 if work.places else run.streams
            order = (len(self.jobs), len(work.seconds), weights, users)
            shared = self.weights.setdefault(key, Weights(*order))
        return Job(
            run.row,
            run.layer,
            run.stream,
            start + work.unit,
            work.seconds,
            fetch * work.share,
            store * work.share,
            work.latency,
            shared,
            self.chunk.ops.rows[run.row].off_chain and not self.in_order,
            f"{start}memory",
            work.amount,
            None if work.also is None else (start + work.also[0], work.also[1]),
            turns=turns,
            registers=work.registers,
            turn=run.turn,
        )

    def _queue(self, job: Job, work: RowWork, start: str, ahead: int) -> None:
        """A kernel waits for the one before it, and for the host that launches it.

        The host runs ahead of the device, but must hear of what another unit has to deliver.
        """
        job.off_chain = False  # a queue keeps its order
        kernels = self.kernels.setdefault(start, [])
        if kernels:
            job.waits.append(kernels[-1])
        if not work.launch:
            return
        launch = Job(
            job.row,
            job.layer,
            job.stream,
            f"{start}host",
            [work.launch],
            0.0,
            0.0,
            0.0,
            None,
            False,
            job.memory,
            turn=job.turn,
        )
        if len(kernels) >= ahead:
            launch.waits.append(kernels[-ahead])
        before = self.last.get(job.stream)
        if before is not None and self._start(self.jobs[before].row) != start:
            launch.waits.append(before)
        place = self._add(launch)
        if not work.early:
            job.waits.append(place)
        elif start in self.launched:
            job.waits.append(self.launched[start])
        self.launched[start] = place

    def _transfer(self, run: LayerRun) -> int:
        """A transfer takes its link for its bytes, and arrives a latency later.

        Weights cross once: sequences behind the first wait for its transfer.
        """
        name, units, i = self.chunk.owner[run.row], self.chunk.units, self.i
        link = name.removeprefix("link ")
        rate, wait = (
            float(units.number(f"links.{link}.{key}")[0]) for key in ("bandwidth", "latency")
        )
        ops = self.chunk.ops
        shared = carries_weights(ops, run.row)
        sent = self.sent.get((run.turn, run.layer, run.row)) if shared else None
        seconds = float(ops.m[run.row, i]) * run.times / (1 if shared else run.streams) / rate
        memory = f"{next(iter(self.units))}memory"
        job = Job(
            run.row,
            run.layer,
            run.stream,
            name,
            [0.0 if sent is not None else seconds],
            0.0,
            0.0,
            0.0 if sent is not None else wait * run.times,
            None,
            ops.rows[run.row].off_chain and not self.in_order,
            memory,
            turn=run.turn,
        )
        if sent is not None:
            job.waits.append(sent)
        place = self._add(job)
        if shared:
            self.sent.setdefault((run.turn, run.layer, run.row), place)
        return place

    def _add(self, job: Job) -> int:
        self.pieces += job.pieces
        self._require(self.pieces / PIECES)
        self.jobs.append(job)
        return len(self.jobs) - 1

    def _require(self, jobs: float) -> None:
        if jobs > MOST_JOBS:
            raise InputError(
                f"the timeline has more than {MOST_JOBS:,} jobs",
                field="model",
                hint="a smaller batch or fewer layers",
            )
