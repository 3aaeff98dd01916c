"""Questions to the designs a run has recorded: another front, or whether some design will do.

Only the columns a question needs are read, part by part, so that ten million designs answer in
seconds and never lie in memory at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from elector.base import paths
from elector.base.errors import ElectorError, EvaluationError, InputError
from elector.base.table import Column
from transcode import pareto
from transcode.runs import manifest, parts
from transcode.runs.parts import Stretch
from transcode.space import Objective, Space, decisive, grammar, quantities, registry, settings

#: Threads that read ahead: decompressing is half of the work, and needs no interpreter.
_THREADS = 2
#: Designs that are compared with a front at once, at least.
_ENOUGH = 32_768
#: How often a question is asked that a running search disturbs; it does so every half minute.
TRIES = 4
_NOT_RESULTS = ("id", "reason", "feasible")


@dataclass(frozen=True)
class Recorded:
    """The designs of a run folder, not read yet.

    space : as the manifest has it. results : names of the figures kept for each design.
    """

    folder: Path
    manifest: Mapping[str, Any]
    space: Space
    results: tuple[str, ...]
    parts: tuple[int, ...]

    @cached_property
    def designs(self) -> int:
        """How many there are."""
        return sum(s.size for s in stretches(self))

    @property
    def quantities(self) -> dict[str, grammar.NamedQuantity]:
        """What may be asked about: results and parameters, and the number of a design."""
        return {**quantities(self.space, self.results), "id": grammar.NamedQuantity()}

    def expression(self, text: str, field: str, extra: Sequence[str] = ()) -> grammar.Expression:
        """A condition on recorded designs; `extra` are further names without a unit.

        text : the condition.
        """
        known = self.quantities | {name: grammar.NamedQuantity("1", 0.0) for name in extra}
        written = grammar.parse(text, field=field)
        if not extra:
            grammar.require_names(written, field=field)
        return decisive.require(grammar.bind(written, known, field=field), known, field=field)


def opened(folder: Path) -> Recorded:
    """The recorded designs of a run folder, whether or not a search is writing there.

    Raises EvaluationError where nothing has been committed yet.
    """
    read = manifest.existing(folder)
    batches = parts.distinct_numbers(folder / "designs")
    if not batches and read.get(manifest.DESIGNS):
        raise InputError("has no recorded designs any more", file=folder / "designs")
    if not batches:
        raise EvaluationError(f"{folder}: {manifest.NOTHING}")
    space = manifest.space_of(folder, read)
    results = _results(parts.path_of(folder / "designs", batches[0]))
    kept = tuple(n for n in results if n not in _NOT_RESULTS)
    return Recorded(folder, read, space, kept, tuple(batches))


def _results(path: Path) -> list[str]:
    """Columns of a part behind those of the design itself."""
    try:
        names = parts.column_names(path)
        return names[names.index("reason") + 1 :]
    except parts.UNREADABLE as error:
        raise broken(path, error) from error


def _conditions(recorded: Recorded, where: Sequence[str]) -> list[grammar.Expression]:
    """Conditions as `--where` has them, bound to what is recorded."""
    written = [recorded.expression(text, "--where") for text in where]
    return [grammar.require_finite(condition, field="--where") for condition in written]


class PartFileMoved(InputError):
    """A part file is gone that was there a moment ago: a search has united it with others."""


def broken(path: Path, error: Exception | None = None) -> ElectorError:
    """What is said of a part file that is missing, cut or damaged, or may not be read.

    error : what reading it ended in.
    """
    if error is not None and (refusal := parts.denied(error, path)):
        return refusal
    absent = not paths.exists(path)
    kind = PartFileMoved if absent else InputError
    return kind(
        "is missing" if absent else "is not whole",
        file=path,
        hint="the search that wrote it goes on from before it",
    )


_Answer = TypeVar("_Answer")


def settled(run: Path, ask: Callable[[Recorded], _Answer]) -> _Answer:
    """What `ask` answers of the recorded designs of a run folder.

    It is asked again where a running search unites part files while they are read.
    """
    for _ in range(TRIES):
        try:
            return ask(opened(run))
        except PartFileMoved as error:
            moved = error
    raise moved


@dataclass(frozen=True)
class PartColumns:
    """The asked columns of the feasible designs of a stretch of one part file.

    number : of the file. rows : (D,) places in it. ids : (D,). columns, results : name -> (D,).
    """

    space: Space
    number: int
    rows: np.ndarray
    ids: np.ndarray
    columns: Mapping[str, Column]
    results: Mapping[str, np.ndarray]

    def values(self, name: str) -> np.ndarray:
        """(D,) numbers or texts, as conditions compare them."""
        if name == "id":
            return self.ids
        if name in self.results:
            return self.results[name]
        return settings.numbers_of_all(self.space, name, self.columns)

    def take(self, index: np.ndarray) -> PartColumns:
        """The designs at `index`.

        index : (N,) places.
        """
        return PartColumns(
            self.space,
            self.number,
            self.rows[index],
            self.ids[index],
            {n: c.take(index) for n, c in self.columns.items()},
            {n: v[index] for n, v in self.results.items()},
        )


def scan(
    recorded: Recorded,
    names: Sequence[str],
    pick: Callable[[PartColumns], PartColumns] | None = None,
) -> Iterator[PartColumns]:
    """The feasible designs, stretch by stretch, with the columns of those names.

    pick : what is wanted of a stretch; runs on several threads while earlier ones are looked at.
    """
    space = recorded.space
    results = [n for n in names if n in recorded.results]
    asked = [n for n in names if n in space.names and n not in results]
    partly = settings.partly_written(space, asked)
    needed = space.names if partly else asked  # what a setting resolves to hangs on all others
    varied = [n for n in needed if n in space.varied or n in ("model", "accelerator")]
    fixed = {p.name: p.values[0] for p in space.parameters if p.name in needed}
    fixed = {n: v for n, v in fixed.items() if n not in varied}

    def read(stretch: parts.Stretch) -> PartColumns:
        table = stretch.read([*results, *varied, "id", "feasible"])
        feasible = table["feasible"].to_numpy()
        whole = bool(feasible.all())
        rows = np.arange(len(feasible)) if whole else np.flatnonzero(feasible)

        def kept(values: np.ndarray) -> np.ndarray:
            return values if whole else values[rows]

        columns = {n: parts.column(table[n]).take(rows) for n in varied}
        columns |= {n: Column.constant(v, len(rows)) for n, v in fixed.items()}
        part = PartColumns(
            space,
            stretch.number,
            stretch.start + rows,
            kept(table["id"].to_numpy()),
            columns,
            {n: kept(table[n].to_numpy()) for n in results},
        )
        return part if pick is None else pick(part)

    yield from _ahead(read, stretches(recorded))


def stretches(recorded: Recorded) -> Iterator[Stretch]:
    """The row groups of all part files, in order."""
    for number in recorded.parts:
        path = parts.path_of(recorded.folder / "designs", number)
        try:
            groups = parts.stretches(path)
        except parts.UNREADABLE as error:
            raise broken(path, error) from error
        yield from groups


def _ahead(
    read: Callable[[parts.Stretch], PartColumns], stretches: Iterable[parts.Stretch]
) -> Iterator[PartColumns]:
    """`read` of each stretch, in order, some of them ahead on other threads."""
    waiting: deque[tuple[parts.Stretch, Future[PartColumns]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for stretch in stretches:
            waiting.append((stretch, pool.submit(read, stretch)))
            if len(waiting) > 2 * _THREADS:
                yield _answer(*waiting.popleft())
        while waiting:
            yield _answer(*waiting.popleft())


def _answer(stretch: parts.Stretch, future: Future[PartColumns]) -> PartColumns:
    try:
        return future.result()
    except parts.UNREADABLE as error:
        raise broken(stretch.path, error) from error


def require(recorded: Recorded, name: str, field: str) -> None:
    """Refuses a result that the run has not recorded.

    name : of the result.
    """
    if name not in recorded.results:
        raise InputError(
            "not recorded in this run",
            field=field,
            value=name,
            allowed=recorded.results,
            hint="`record: [...]` in a space keeps more results",
        )


def objectives_of(recorded: Recorded, text: str | None) -> tuple[Objective, ...]:
    """Objectives written as `latency_s, area_mm2:min, accuracy:max`; those of the run if None.

    Without a direction a result keeps that of the run, or is made what is better for it: most
    are made small.

    text : as `--objectives` has it.
    """
    if text is None:
        return recorded.space.objectives
    own = {o.name: o for o in recorded.space.objectives}
    chosen: dict[str, Objective] = {}
    if not text.strip():
        raise InputError("is empty", field="--objectives", allowed=recorded.results)
    for item in text.split(","):
        name, colon, direction = (part.strip() for part in item.partition(":"))
        require(recorded, name, "--objectives")
        if name in chosen:
            raise InputError("named twice", field="--objectives", value=name)
        if colon and direction not in ("min", "max"):
            raise InputError("must be min or max", field="--objectives", value=item.strip())
        known = own.get(name, Objective(name, registry().get(name).better == "up"))
        chosen[name] = Objective(name, direction == "max") if colon else known
    return tuple(chosen.values())


def satisfying(recorded: Recorded, where: Sequence[str]) -> tuple[int, list[int]]:
    """Feasible recorded designs, and how many of them satisfy each condition by itself.

    where : the conditions.
    """
    conditions = _conditions(recorded, where)
    names = list(dict.fromkeys(n for e in conditions for n in e.names))
    total, counts = 0, [0] * len(conditions)
    for part in scan(recorded, names):
        total += len(part.rows)
        for place, condition in enumerate(conditions):
            counts[place] += int(np.sum(grammar.holds(condition, part.values)))
    return total, counts


@dataclass(frozen=True)
class Front:
    """The designs that nothing beats among those asked for.

    looked_at : feasible designs that satisfy the conditions.
    """

    space: Space
    archive: pareto.Archive
    looked_at: int


def front(recorded: Recorded, where: Sequence[str], objectives: str | None) -> Front:
    """The front of the recorded feasible designs for which every condition holds.

    where : the conditions. objectives : as `--objectives` has them, None for those of the run.
    """
    conditions = _conditions(recorded, where)
    wanted = objectives_of(recorded, objectives)
    signs = np.array([-1.0 if o.maximise else 1.0 for o in wanted])
    names = [o.name for o in wanted] + [n for e in conditions for n in e.names]
    sieve = _Sieve(conditions, tuple(o.name for o in wanted), signs)
    best = _Best(np.zeros((0, len(wanted))), np.zeros((0, 2), dtype=np.int64))
    for turn, part in enumerate(scan(recorded, list(dict.fromkeys(names)), sieve.pick)):
        best.add(sieve.points(part), part)
        if (turn + 1) & turn == 0:  # 0, 1, 3, 7, ...: judges age slower and slower
            best.settle()
            sieve.judging = pareto.judges(sieve.points(part), best.points)
    best.settle()
    points, places = best.points, best.places
    looked_at = sieve.looked_at
    space = replace(recorded.space, objectives=wanted)
    return Front(space, _archive(recorded, space, points, places).sorted(), looked_at)


@dataclass
class _Best:
    """The front so far, and what may join it.

    points : (F, O). places : (F, 2) part and row of each.
    """

    points: np.ndarray
    places: np.ndarray
    waiting: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def add(self, points: np.ndarray, part: PartColumns) -> None:
        """Takes (D, O) points of a part; they are compared when there are enough of them."""
        places = np.stack([np.full(len(points), part.number), part.rows], axis=1)
        self.waiting.append((points, places))
        if sum(len(points) for points, _ in self.waiting) >= max(_ENOUGH, len(self.points)):
            self.settle()

    def settle(self) -> None:
        """Compares what waits with the front."""
        if not self.waiting:
            return
        points, places = (np.concatenate(pieces) for pieces in zip(*self.waiting, strict=True))
        self.waiting = []
        stays, joins = pareto.merge(self.points, points)
        self.points = np.concatenate([self.points[stays], points[joins]])
        self.places = np.concatenate([self.places[stays], places[joins]])


@dataclass
class _Sieve:
    """Keeps what satisfies the conditions and is not beaten by a few strong points.

    judging : (J, O); which ones they are changes how much is kept, never the front.
    """

    conditions: Sequence[grammar.Expression]
    objectives: tuple[str, ...]
    signs: np.ndarray
    judging: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    counts: deque[int] = field(default_factory=deque)

    @property
    def looked_at(self) -> int:
        """Designs that satisfied the conditions."""
        return sum(self.counts)

    def pick(self, part: PartColumns) -> PartColumns:
        """The hopeful designs of a part; runs on several threads."""
        keep = np.ones(len(part.rows), dtype=bool)
        for condition in self.conditions:
            keep &= grammar.holds(condition, part.values)
        for name in self.objectives:
            keep &= np.isfinite(part.results[name])
        if not keep.all():
            part = part.take(np.flatnonzero(keep))
        self.counts.append(len(part.rows))
        columns = [part.results[n] * s for n, s in zip(self.objectives, self.signs, strict=True)]
        return part.take(pareto.unbeaten(columns, self.judging))

    def points(self, part: PartColumns) -> np.ndarray:
        """(D, O) objectives, to be minimised."""
        return np.stack([part.results[n] for n in self.objectives], axis=1) * self.signs


def _archive(
    recorded: Recorded, space: Space, points: np.ndarray, places: np.ndarray
) -> pareto.Archive:
    """Everything about the designs at (part, row) places."""

    def archive_of(stretch: parts.Stretch, rows: np.ndarray) -> pareto.Archive:
        try:
            table = stretch.take(rows - stretch.start)
            codes = space.pack(space.encode(parts.settings(table)))
            results = {n: table[n].to_numpy() for n in recorded.results}
        except parts.UNREADABLE as error:  # in a column that no condition asked for
            raise broken(stretch.path, error) from error
        return pareto.Archive(table["id"].to_numpy(), codes, np.zeros((len(rows), 0)), results)

    order = np.lexsort((places[:, 1], places[:, 0]))
    places, points = places[order], points[order]
    wanted: list[tuple[parts.Stretch, np.ndarray]] = []
    for number in np.unique(places[:, 0]).tolist():
        rows = places[places[:, 0] == number, 1]
        for stretch in stretches(replace(recorded, parts=(number,))):
            inside = rows[(rows >= stretch.start) & (rows < stretch.start + stretch.size)]
            if len(inside):
                wanted.append((stretch, inside))
    with ThreadPoolExecutor(_THREADS) as pool:
        archives = list(pool.map(lambda pair: archive_of(*pair), wanted))
    empty = pareto.Archive.empty(
        len(space.parameters), points.shape[1], recorded.results, space.code_type
    )
    archives = [empty, *archives]
    return pareto.Archive(
        np.concatenate([a.ids for a in archives]),
        np.concatenate([a.codes for a in archives]),
        points,
        {n: np.concatenate([a.results[n] for a in archives]) for n in recorded.results},
    )
