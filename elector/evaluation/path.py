"""The one path: columns of settings -> costs, for one design or for millions.

A table is split into groups of one structure, a group into blocks, a block into chunks that
fit a processor's cache. Blocks run on threads (numpy releases the interpreter lock); every
number of a design comes from its own row alone, so neither the batch nor the number of
threads changes a bit of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from elector.base.errors import InfeasibleError, InputError
from elector.base.segments import Fold
from elector.base.table import Column, distinct
from elector.cost import pricing
from elector.cost.notes import Said, said
from elector.cost.pricing import Cost, Prices
from elector.cost.results import registry
from elector.cost.schedule import schedule
from elector.describe.model import Models
from elector.describe.numbers import formats
from elector.describe.workload import Workload
from elector.evaluation import formulas, hints, notes
from elector.evaluation.chunk import Chunk as Chunk  # where others look for it
from elector.evaluation.formulas import Figures
from elector.evaluation.idle import of_units
from elector.evaluation.resolve import StructureGroup, resolve
from elector.hybrid.combine import BlockDesigns, compute_in, work
from elector.machines.contract import Count, Machine, Note
from elector.operations import build
from elector.operations.rows import Operations
from elector.technology import Technology

Array = np.ndarray

#: Designs of a block share operations and traffic plans; those of a chunk share the cache. A chunk
#: has so many numbers of a kind, or columns of designs or of their layers: fewer leave Python
#: more to do than numpy.
BLOCK = 32768
CHUNK_NUMBERS, CHUNK_COLUMNS = 200_000, 1024
#: The same where a column stands for a layer: designs of a chunk are then few.
LAYER_NUMBERS = 800_000
#: About as many operations as a block of layers has, and numbers of the operations of a block.
ROWS, BLOCK_NUMBERS = 25, 150_000
#: Settings that a block is sorted by: enough for the few dozen chunks that it has.
SORTED = 4

LEVELS = ("scalars", "groups", "operations")


def evaluate(
    columns: Mapping[str, Column],
    size: int,
    *,
    technology: Technology | None = None,
    jobs: int = 0,
    level: str = "scalars",
) -> Cost:
    """Costs of `size` designs.

    Parameters
    ----------
    columns : model, accelerator and dotted settings, each a Column of `size` rows.
    technology : prices; the shipped tables by default. With S draws of its constants
        (`Technology.drawn`) the costs are those of S x size designs, draw by draw.
    jobs : threads; 0 uses every processor this process may run on.
    level : scalars | groups (energy by part and phase, memory, provenance too) |
        operations (one design: its rows too).

    Raises InputError for a setting that has no meaning; an infeasible design is a result.
    """
    if level not in LEVELS:
        raise InputError("unknown level", field="level", value=level, allowed=LEVELS)
    technology = technology or Technology.load()
    result = Cost.empty(size * max(technology.draws, 1))
    threads = jobs or len(os.sched_getaffinity(0))
    tasks = [
        _Block(group, rows, technology, level, asked, size)
        for group in (_drawn(g) for g in resolve(columns, size))
        for asked in [{} if level == "scalars" or technology.draws else notes.of_group(group)]
        for rows in _blocks(group, threads)
    ]
    if len(tasks) == 1 or threads == 1:
        for task in tasks:
            _collect(result, _run_block(task))
    else:
        from concurrent.futures import ThreadPoolExecutor  # a tenth of the start of a command

        with ThreadPoolExecutor(threads) as pool:
            for outputs in pool.map(_run_block, tasks):
                _collect(result, outputs)
    # whether a design fits is no matter of prices: nobody reads that of each draw
    if level != "scalars" and not technology.draws and not result.feasible.all():
        result.hints = hints.attention(
            result, columns, lambda c, d: evaluate(c, d, technology=technology, level="groups")
        )
    return _blank(result)


def _drawn(group: StructureGroup) -> StructureGroup:
    """The group, its units told that the first draw of the constants prices them, if any."""
    return replace(group, units=group.units.replace(**{pricing.DRAW: np.zeros(group.rows.size)}))


@dataclass(frozen=True, eq=False, repr=False)
class _Block:
    """Designs of one group that are computed together, of a table of `size`."""

    group: StructureGroup
    rows: Array  # places inside the group
    technology: Technology
    level: str
    notes: dict[str, Note]
    size: int


@dataclass(frozen=True, eq=False, repr=False)
class _Output:
    """Results of the designs at `rows` of the table."""

    rows: Array
    scalars: dict[str, Array]
    groups: dict[str, dict[str, Array]]
    limits: dict[str, tuple[Array, Array]]
    largest: Array | None
    operations: list[dict[str, object]] | None
    notes: list[Said]
    stages: dict[str, tuple[Array, Array]] = field(default_factory=dict)


def _blocks(group: StructureGroup, threads: int) -> list[Array]:
    """Designs sorted by pair, so that a block holds few pairs; at least one block a thread.

    Those of a block are sorted by the first settings that differ, so that a chunk holds few
    combinations: what a machine works out for one it works out once for all designs that have it.
    """
    order = np.argsort(group.pair, kind="stable")
    pieces = max(-(-order.size // BLOCK), min(threads, -(-order.size // 1024)))
    # Pairs that differ cost a column of every operation each.
    numbers = group.models.size * ROWS * max(len(group.models.template.blocks), 1)
    pieces = min(max(pieces, -(-numbers // BLOCK_NUMBERS)), order.size)
    units = group.units
    keys = [*units.numbers.values(), *(codes for _, codes in units.names.values())]
    differ = [values for values in keys if (values != values[0]).any()][:SORTED]
    if not differ:
        return np.array_split(order, pieces)
    place = np.empty(order.size, dtype=np.intp)
    place[np.lexsort(differ[::-1])] = np.arange(order.size)
    return [part[np.argsort(place[part])] for part in np.array_split(order, pieces)]


def _run_block(block: _Block) -> list[_Output]:
    rows = block.group.rows[block.rows]
    if not block.technology.draws:
        return [_output(chunk, rows[part], block.level) for part, chunk in _chunks(block)]
    from elector.evaluation import under_draws as drawn  # only intervals need it
    from elector.evaluation.stages import stages_of

    outputs: list[_Output] = []
    for part, chunk in _chunks(block):
        places = drawn.places(rows[part], block.size, block.technology.draws)
        if drawn.apart(chunk, block.technology):
            each = [(slice(None), drawn.under_draws(chunk, block.technology))]
        else:
            group = drawn.repeated(block.group, block.rows[part], block.technology.draws)
            each = list(_chunks(replace(block, group=group, rows=group.rows)))
        outputs += [
            replace(_output(own, places[where], block.level), stages=stages_of(own))
            for where, own in each
        ]
    return outputs


def _chunks(block: _Block) -> Iterable[tuple[slice, Chunk]]:
    """The chunks of a block with their places in it."""
    machine = block.group.machine
    workload, models, index, fold = _pairs(block)
    ops = _operations_of(machine, models, workload)
    units = block.group.units.take(block.rows)
    details = block.level == "operations"
    try:
        solved = work(machine, BlockDesigns(ops, index, units, block.technology, details, fold))
    except InputError as error:  # of a hybrid's rules and links, as the operations show
        raise error.at(file=block.group.file) from None
    columns = units.size if fold is None else fold.of.size
    numbers = CHUNK_NUMBERS if fold is None else LAYER_NUMBERS
    most = max(numbers // max(len(solved.ops.rows), 1), CHUNK_COLUMNS)
    step = max(most * units.size // columns, 1)
    for start in range(0, units.size, step):
        part = slice(start, min(start + step, units.size))
        activity, priced = solved.at(part)
        places = index[part if fold is None else fold.part(part)[0]]
        timing = schedule(solved.ops, places, activity)
        said_of = _notes_at(block.notes, block.rows[part])
        if block.level != "scalars":
            said_of |= of_units(block.group, block.rows[part], activity)
        pair = places if activity.fold is None else activity.fold.first(places)
        yield (
            part,
            Chunk(
                solved.ops,
                pair,
                activity,
                priced,
                machine,
                workload,
                timing,
                units.take(part),
                solved.owner,
                said_of,
            ),
        )


def _pairs(block: _Block) -> tuple[Workload, Models, Array, Fold | None]:
    """Workloads and models of the distinct pairs of a block, and the pair of each design.

    Where a machine does the same with every layer, a column stands for a layer, and a fold says
    which are those of a design.
    """
    group, machine = block.group, block.group.machine
    pairs, _, index = distinct(group.pair[block.rows])
    workload, models, fold = group.workload.take(pairs), group.models.take(pairs), None
    if machine.layerwise and block.level != "operations" and models.alike:
        from elector.operations.sparsity import (
            same_for_layers,  # only models of many layers need it
        )

        if same_for_layers(workload.sparsity):
            models = models.by_layer
            assert models.fold is not None
            workload = workload.take(models.fold.of)
            index, fold = models.fold.chosen(index)
    return workload, models, index, fold


def _operations_of(machine: Machine, models: Models, workload: Workload) -> Operations:
    """The operations of all pairs, pruned where the workload says so."""
    ops = build(models, workload)
    if workload.sparsity != "dense":
        from elector.operations.sparsity import compressed, prune  # only pruning needs it

        ops = prune(ops, workload)
        if machine.compresses:
            ops = compressed(ops)
    return ops


def _notes_at(asked: Mapping[str, Note], rows: Array) -> dict[str, Note]:
    """The notes of the designs at `rows` of their group."""
    return {sentence: note.map(lambda values: values[rows]) for sentence, note in asked.items()}


def inspect(columns: Mapping[str, Column], technology: Technology) -> Chunk:
    """Everything behind the costs of one design."""
    group = next(iter(resolve(columns, 1)))
    block = _Block(group, np.zeros(1, np.intp), technology, "operations", notes.of_group(group), 1)
    return next(iter(_chunks(block)))[1]


def require_feasible(chunk: Chunk) -> None:
    """Raise InfeasibleError with the reason if the first design cannot run."""
    cost = Cost.empty(1)
    limits, largest = chunk.activity.limits, chunk.activity.told.largest
    _reasons(cost, _Output(np.zeros(1, np.intp), {}, {}, limits, largest, None, []))
    if not cost.feasible[0]:
        raise InfeasibleError(f"the design is infeasible: {cost.reason(0)}")


def members(chunk: Chunk) -> dict[str, Chunk]:
    """Start of the names of a unit's resources and parts -> the unit as if it were alone."""
    hybrid = chunk.machine.hybrid
    if hybrid is None:
        return {"": chunk}
    from elector.hybrid.assign import memory_of  # only a hybrid needs it

    chunks = {}
    assert chunk.activity.members is not None
    activities = chunk.activity.members.activities
    for i, (member, activity) in enumerate(zip(hybrid.members, activities, strict=True)):
        start, units = f"{member.name}.", member.units(chunk.units)
        compute = compute_in(member, units, chunk.ops.format.compute)
        mine = np.array([owner == member.name for owner in chunk.owner])
        ops = replace(
            chunk.ops,
            format=replace(chunk.ops.format, products=formats()[compute]),
            count=np.where(mine[:, None], chunk.ops.count, 0.0),
            memory=memory_of(chunk.ops, mine, i),
        )
        table = chunk.prices
        prices = Prices(
            _under(table.actions, start), _under(table.area, start), _under(table.leakage, start)
        )
        chunks[start] = replace(
            chunk, machine=member.machine, units=units, ops=ops, activity=activity, prices=prices
        )
    return chunks


def _under(table: Mapping[str, Any], start: str) -> dict[str, Any]:
    """The entries whose names begin so, without that beginning."""
    return {k.removeprefix(start): v for k, v in table.items() if k.startswith(start)}


def _output(chunk: Chunk, rows: Array, level: str) -> _Output:
    figures = Figures.of(chunk)
    return _Output(
        rows,
        formulas.scalars(figures),
        formulas.groups(figures) if level != "scalars" else {},
        chunk.activity.limits,
        chunk.activity.told.largest,
        _operations(chunk) if level == "operations" else None,
        [] if level == "scalars" else said(chunk.notes | chunk.activity.told.notes, rows),
    )


def _operations(chunk: Chunk) -> list[dict[str, object]]:
    """A dictionary for each operation of the first design of the chunk."""
    ops, activity, i = chunk.ops, chunk.activity, int(chunk.index[0])
    joules = pricing.by_row(activity, chunk.prices)[:, 0]
    seconds = activity.alone[:, 0]
    bound = bounds(chunk)
    details = activity.details
    assert details is not None
    listed: list[dict[str, object]] = []
    for r, row in enumerate(ops.rows):
        if ops.count[r, i] == 0:
            continue
        listed.append(
            {
                "name": row.name,
                "layer": row.layer,
                "phase": row.phase,
                "kind": row.kind,
                "batch": _plain(ops.batch[r, i]),
                "m": _plain(ops.m[r, i]),
                "k": _plain(ops.k[r, i]),
                "n": _plain(ops.n[r, i]),
                "count": _plain(ops.count[r, i]),
                "cycles": _plain(activity.cycles[r, 0]),
                "seconds": float(seconds[r]),
                "joules": float(joules[r]),
                "bound": bound[r],
                "tile_m": _plain(details.tiles[0][r, 0]),
                "tile_k": _plain(details.tiles[1][r, 0]),
                "tile_n": _plain(details.tiles[2][r, 0]),
                "sram_bytes": _plain(details.traffic[0][r, 0]),
                "dram_bytes": _plain(details.traffic[1][r, 0]),
                "unit": chunk.owner[r],
                **{name: _plain(values[r, 0]) for name, values in details.accesses.items()},
            }
        )
    return listed


def bounds(chunk: Chunk) -> list[str]:
    """The busiest resource of each operation of the first design.

    chunk : designs computed together. Returns a name for each of the R rows: of a row of a hybrid
    that keeps nothing busy, the name of its unit.
    """
    activity = chunk.activity
    busy = np.stack([_column(values) for values in activity.busy.values()])
    names = list(activity.busy)
    bound = [names[j] for j in busy.argmax(axis=0)]
    if activity.members is None:
        return bound
    # Stages of a pipeline that wait for its slowest one are not busy.
    idle = busy.max(axis=0) == 0
    return [u if no else b for b, u, no in zip(bound, chunk.owner, idle, strict=True)]


def _column(seconds: Array | Count) -> Array:
    """(R,) busy seconds of the first design."""
    if isinstance(seconds, Count):
        return seconds.values[:, seconds.index[0]]
    return seconds[:, 0]


def _plain(value: float) -> float | int:
    number = float(value)
    return int(number) if number.is_integer() else number


def _collect(result: Cost, outputs: list[_Output]) -> None:
    for out in outputs:
        _reasons(result, out)
        lost = ~result.feasible[out.rows]
        for name, values in out.scalars.items():
            stays = registry().get(name).exists == "always"
            shown = values if stays else np.where(lost, np.nan, values)
            result.put(out.rows, name, shown)
        for group, parts in out.groups.items():
            for name, values in parts.items():
                result.put(out.rows, name, values, group)
        for stage, known in out.stages.items():
            result.stages.setdefault(stage, np.zeros((2, result.size)))[:, out.rows] = known
        result.said += out.notes
        if out.operations is not None:
            result.operations = out.operations


def _blank(result: Cost) -> Cost:
    """Costs of infeasible designs are NaN, of parts that only other designs have, too."""
    for group, parts in result.groups.items():
        if registry().get(group).exists != "always":
            for values in parts.values():
                values[~result.feasible] = np.nan
    return result


def _reasons(result: Cost, out: _Output) -> None:
    """The first limit a design breaks is its reason."""
    for text, (needed, available) in out.limits.items():
        broken = needed > available
        if not broken.any():
            continue
        if text not in result.reasons:
            result.reasons.append(text)
        where = out.rows[broken & result.feasible[out.rows]]
        place = np.nonzero(broken & result.feasible[out.rows])[0]
        result.feasible[where] = False
        result.reason_code[where] = result.reasons.index(text)
        result.reason_needed[where] = needed[place]
        result.reason_available[where] = np.broadcast_to(available, needed.shape)[place]
        if out.largest is not None:
            result.reason_largest[where] = out.largest[place]
