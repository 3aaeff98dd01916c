"""Questions to the designs a run has recorded: another front, or whether some design will do.

Only the columns a question needs are read, part by part, so that ten million designs answer in
seconds and never lie in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.errors import InputError
from elector.table import Column
from transcode import pareto
from transcode.runs import manifest, parts
from transcode.space import Objective, Space, grammar, numbers, restore, unit_of

#: Designs of a front that judge the rest of a part first, and points they are chosen by.
_JUDGES, _SAMPLE = 12, 2000
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

    @property
    def quantities(self) -> dict[str, grammar.Quantity]:
        """What may be asked about: results and parameters."""
        found = {name: unit_of(name) for name in self.results}
        return found | {p.name: grammar.Quantity(p.unit) for p in self.space.parameters}

    def expression(self, text: str, field: str, extra: Sequence[str] = ()) -> grammar.Expression:
        """A condition on recorded designs; `extra` are further names without a unit."""
        known = self.quantities | {name: grammar.Quantity() for name in extra}
        return grammar.bind(grammar.parse(text, field=field), known, field=field)


def opened(run: Path) -> Recorded:
    """The recorded designs of a run folder."""
    folder = manifest.existing(run)
    read: Mapping[str, Any] = manifest.read(folder) or {}
    found = parts.numbers(folder / "designs")
    if not found:
        raise InputError("has no recorded designs", file=folder / "designs")
    names = _names(parts.path_of(folder / "designs", found[0]))
    results = names[names.index("reason") + 1 :]
    kept = tuple(n for n in results if n not in _NOT_RESULTS)
    return Recorded(folder, read, restore(read["space"]), kept, tuple(found))


def _names(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise _broken(path) from error


def _broken(path: Path) -> InputError:
    return InputError(
        "is not whole", file=path, hint="the search that wrote it goes on from before it"
    )


@dataclass(frozen=True)
class Part:
    """The asked columns of the feasible designs of one batch.

    rows : (D,) places in the part. ids : (D,). columns : name -> (D,).
    """

    number: int
    rows: np.ndarray
    ids: np.ndarray
    columns: Mapping[str, Column]
    results: Mapping[str, np.ndarray]

    def values(self, name: str) -> np.ndarray:
        """(D,) numbers or texts, as conditions compare them."""
        return self.results[name] if name in self.results else numbers(self.columns[name])


def scan(recorded: Recorded, names: Sequence[str]) -> Iterator[Part]:
    """The feasible designs, part by part, with the columns of those names."""
    import pyarrow.parquet as pq

    space = recorded.space
    results = [n for n in names if n in recorded.results]
    settings = [n for n in names if n in space.names and n not in results]
    varied = [n for n in settings if n in space.varied or n in ("model", "accelerator")]
    fixed = {p.name: p.values[0] for p in space.parameters if p.name in settings}
    asked = [*results, *varied, "id", "feasible"]
    for number in recorded.parts:
        path = parts.path_of(recorded.folder / "designs", number)
        try:
            table = pq.ParquetFile(path).read(columns=asked, use_threads=False)
        except (OSError, ValueError) as error:
            raise _broken(path) from error
        rows = np.flatnonzero(table["feasible"].to_numpy())
        columns = {n: parts.column(table[n]).take(rows) for n in varied}
        columns |= {
            n: Column.constant(v, len(rows)) for n, v in fixed.items() if n not in columns
        }
        yield Part(
            number, rows, table["id"].to_numpy()[rows], columns,
            {n: table[n].to_numpy()[rows] for n in results},
        )  # fmt: skip


def objectives_of(recorded: Recorded, text: str | None) -> tuple[Objective, ...]:
    """Objectives written as `latency_s, area_mm2:min, accuracy:max`; those of the run if None.

    Without a direction a result keeps that of the run, or is made small.
    """
    if text is None:
        return recorded.space.objectives
    own = {o.name: o for o in recorded.space.objectives}
    found: dict[str, Objective] = {}
    for item in text.split(","):
        name, colon, direction = (part.strip() for part in item.partition(":"))
        if name not in recorded.results:
            raise InputError(
                "not recorded in this run", field="--objectives", value=name,
                allowed=recorded.results, hint="`record: [...]` in a space keeps more results",
            )  # fmt: skip
        if colon and direction not in ("min", "max"):
            raise InputError("must be min or max", field="--objectives", value=item.strip())
        known = own.get(name, Objective(name, False))
        found[name] = Objective(name, direction == "max") if colon else known
    return tuple(found.values())


@dataclass(frozen=True)
class Front:
    """The designs that nothing beats among those asked for.

    looked_at : feasible designs that satisfy the conditions.
    """

    space: Space
    archive: pareto.Archive
    looked_at: int


def front(recorded: Recorded, where: Sequence[str], objectives: str | None) -> Front:
    """The front of the recorded feasible designs for which every condition holds."""
    conditions = [recorded.expression(text, "--where") for text in where]
    wanted = objectives_of(recorded, objectives)
    signs = np.array([-1.0 if o.maximise else 1.0 for o in wanted])
    names = [o.name for o in wanted] + [n for e in conditions for n in e.names]
    points, places = np.zeros((0, len(wanted))), np.zeros((0, 2), dtype=np.int64)
    judges, again = points, {1 << n for n in range(40)}  # judges age slower and slower
    looked_at = 0
    for part in scan(recorded, list(dict.fromkeys(names))):
        keep = np.ones(len(part.rows), dtype=bool)
        for condition in conditions:
            keep &= grammar.holds(condition, part.values)
        new = np.stack([part.results[o.name][keep] for o in wanted], axis=1) * signs
        new_places = np.stack(
            [np.full(len(new), part.number), part.rows[keep]], axis=1
        ).reshape(-1, 2)
        good = np.isfinite(new).all(axis=1)
        new, new_places = new[good], new_places[good]
        looked_at += len(new)
        if part.number in again or len(judges) == 0:
            judges = _judges(new, points)
        hopeful = _not_below(new, judges)
        new, new_places = new[hopeful], new_places[hopeful]
        stays, joins = pareto.merge(points, new)
        points = np.concatenate([points[stays], new[joins]])
        places = np.concatenate([places[stays], new_places[joins]])
    space = replace(recorded.space, objectives=wanted)
    return Front(space, _archive(recorded, space, points, places).sorted(), looked_at)


def _judges(points: np.ndarray, front: np.ndarray) -> np.ndarray:
    """(J, O) a few designs of the front that together beat most of a sample of points.

    Picked greedily from designs spread over the front: each beats most of what is left.
    """
    left = points[:: max(1, len(points) // _SAMPLE)]
    candidates = front[pareto.spread(front, 64)] if len(front) < 20_000 else front[::400]
    chosen: list[np.ndarray] = []
    while len(chosen) < _JUDGES and len(left) and len(candidates):
        beaten = np.ones((len(candidates), len(left)), dtype=bool)
        for axis in range(front.shape[1]):
            beaten &= left[None, :, axis] >= candidates[:, axis, None]
        best = int(beaten.sum(axis=1).argmax())
        chosen.append(candidates[best])
        left = left[~beaten[best]]
    return np.array(chosen).reshape(-1, front.shape[1])


def _not_below(points: np.ndarray, judges: np.ndarray) -> np.ndarray:
    """Indices of the points that no judge beats: most of a part goes cheaply.

    The columns are looked at one after another, each only where those before it say so.
    """
    keep = np.ones(len(points), dtype=bool)
    columns = np.ascontiguousarray(points.T)
    for judge in judges:
        below = np.flatnonzero(keep & (columns[0] >= judge[0]))
        for axis in range(1, len(columns)):
            below = below[columns[axis][below] >= judge[axis]]
        keep[below] = (points[below] == judge).all(axis=1)  # its equals stay
    return np.flatnonzero(keep)


def _archive(
    recorded: Recorded, space: Space, points: np.ndarray, places: np.ndarray
) -> pareto.Archive:
    """Everything about the designs at (part, row) places."""
    archive = pareto.Archive.empty(len(space.parameters), points.shape[1], recorded.results)
    found = [archive]
    for number in np.unique(places[:, 0]).tolist():
        here = places[:, 0] == number
        batch = parts.read(recorded.folder / "designs", number)
        rows = places[here, 1]
        codes = space.encode({n: c.take(rows) for n, c in batch.columns.items()})
        results = {n: batch.results[n][rows] for n in recorded.results}
        found.append(pareto.Archive(batch.first_id + rows, codes, points[here], results))
    return pareto.Archive(
        np.concatenate([a.ids for a in found]),
        np.concatenate([a.codes for a in found]),
        np.concatenate([a.objectives for a in found]),
        {n: np.concatenate([a.results[n] for a in found]) for n in recorded.results},
    )
