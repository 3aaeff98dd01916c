"""What crosses the links of a hybrid, and which unit keeps it for the backward pass.

A tensor crosses a link once for each unit that needs it and has neither made nor got it. Where it
was made is what the graph of the operations says (elector.operations.graph). What a unit got in
the forward pass and reads again for gradients it keeps, as a framework does that saves what an
operation was given on the device that ran it: it is written there, takes room there, and does not
cross again. The unit that made it keeps it only for itself, or for a unit that asks for it in
the backward pass alone; it crosses then.

Gradients of norms and biases are not followed: they are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from elector.machines.contract import total
from elector.machines.counts import largest
from elector.operations.graph import Operand, RoleWeights, Source, Value, Way
from elector.operations.rows import Operations, Row

Array = np.ndarray

#: Passes of a step that follow the forward one: what an earlier one leaves stays in between.
PASSES = {"recompute": 1, "backward": 2, "update": 3}


@dataclass(frozen=True, eq=False, repr=False)
class Move:
    """`size` bytes, `count` times, both (M,), from the result of row `source` to row `row`.

    operand : of that row, a or b. tensor : what is moved.
    ways : in which runs: see `Source`. beside : other rows of that unit that make a part of it, or
    all of it in other models. kept : (M,) how often it stays for a later pass.
    """

    row: int
    source: int
    operand: str
    size: Array
    count: Array
    tensor: Operand
    ways: tuple[Way, ...] = ()
    beside: tuple[int, ...] = ()
    kept: Array | None = None


def moves_of(ops: Operations, owner: Array) -> list[Move]:
    """Every tensor that was made on another unit than the one that takes it.

    owner : (R,) unit of each row.
    """
    sent: dict[tuple[Operand, tuple[Way, ...], int, int], Array] = {}
    places: dict[tuple[Operand, tuple[Way, ...], int, int], list[int]] = {}
    moves: list[Move] = []
    homes = homes_of(ops)
    weights = homes, _changing(ops, homes)
    for r in range(len(ops.rows)):
        for move in _operands(ops, owner, weights, r):
            key = (move.tensor, move.ways, int(owner[move.source]), int(owner[r]))
            passing = isinstance(move.tensor, Value) and _passing(ops, move.tensor)
            wholes = list(_wholes(move.tensor)) if passing else []
            # The first operation that takes it pays, in each pair the first that there is.
            before = sent.get(key, np.zeros(move.count.shape))
            for whole in wholes:
                before = np.maximum(before, sent.get((whole, *key[1:]), 0.0))
            # Where there is nothing to carry, no message waits for the link either.
            count = np.where(move.size > 0, np.maximum(move.count - before, 0.0), 0.0)
            for i in places.setdefault(key, []):
                if _again(ops.rows[r], move.operand) and _pass(ops, r) > _pass(ops, moves[i].row):
                    stays = np.minimum(moves[i].count, move.count)
                    known = moves[i].kept
                    stays = stays if known is None else np.maximum(known, stays)
                    moves[i] = replace(moves[i], kept=stays)
            if (count > 0).any():
                sent[key] = np.where(move.size > 0, np.maximum(before, move.count), before)
                for part in _parts_in(move.tensor) if passing else ():
                    sent[(part, *key[1:])] = sent[key]
                for whole in wholes:
                    of_whole = (whole, *key[1:])
                    there = np.where(_is_all(move.tensor, whole), sent[key], 0.0)
                    sent[of_whole] = np.maximum(sent.get(of_whole, 0.0), there)
                places[key].append(len(moves))
                moves.append(replace(move, count=count))
    return moves


def _passing(ops: Operations, tensor: Value) -> bool:
    """Whether no later pass reads a tensor: then whoever has it has its parts, and what is
    gathered of it. (What stays for a later pass is followed tensor by tensor.)"""
    sources = ops.graph.sources_of(tensor)
    return not ops.workload.training or all(ops.rows[s.row].phase == "backward" for s in sources)


def _wholes(tensor: Operand) -> Iterator[Value]:
    """Tensors that a tensor is some of, such as rows that are gathered, or what is new in it."""
    while isinstance(tensor, Value) and len(tensor.sources) == 1:
        item, _, way = tensor.sources[0]
        if way is not None or not isinstance(item, Value):
            return
        yield item.origin()
        tensor = item


def _is_all(tensor: Operand, whole: Value) -> Array:
    """(M,) bool, pairs in which a tensor is all of the one that it is some of in others."""
    assert isinstance(tensor, Value)
    return np.equal(tensor.elements, whole.elements)


def _parts_in(tensor: Operand) -> list[Value]:
    """The tensors that stand side by side in one."""
    if not isinstance(tensor, Value):
        return []
    parts = [item for item, times, _ in tensor.sources if isinstance(item, Value) and times is None]
    if not parts or len(parts) < len(tensor.sources):
        return []
    apart = np.array_equal(total([part.elements for part in parts]), tensor.elements)
    return [part.origin() for part in parts] if apart and len(parts) > 1 else []


def homes_of(ops: Operations) -> dict[RoleWeights, int]:
    """Parameters -> the first row of a forward pass that reads them."""
    homes: dict[RoleWeights, int] = {}
    for r, row in enumerate(ops.rows):
        operand = ops.graph.operand(r, "b")
        if isinstance(operand, RoleWeights) and row.phase != "backward":
            homes.setdefault(operand, r)
    return homes


def _pass(ops: Operations, r: int) -> int:
    return PASSES.get(ops.rows[r].phase, 0)


def _again(row: Row, operand: str) -> bool:
    """Whether a row may read a tensor of an earlier pass: for gradients, or to compute anew."""
    return getattr(row, operand) == "saved" or row.phase == "recompute"


def _changing(ops: Operations, homes: dict[RoleWeights, int]) -> set[RoleWeights]:
    """Parameters that a step updates."""
    if ops.workload.trainable == "all":
        return set(homes)
    updated = {
        RoleWeights(row.role, row.place, cross, row.index, row.variant)
        for row in ops.rows
        if row.kind == "optimizer"
        for cross in (False, True)
    }
    return updated & set(homes)


def _operands(
    ops: Operations, owner: Array, known: tuple[dict[RoleWeights, int], set[RoleWeights]], r: int
) -> Iterator[Move]:
    """What row `r` reads of other units.

    known : where parameters lie, and which of them change in a step.
    """
    row, graph, (homes, changing) = ops.rows[r], ops.graph, known
    if row.phase == "update":
        yield from _gradients(ops, owner, r)
        return
    for name, tensor in graph.read(r):
        if getattr(row, name) in ("activation", "saved"):
            yield from _parts(ops, owner, r, name, tensor)
    weights = graph.operand(r, "b")
    again = row.b == "reuse" and row.phase in ("recompute", "backward")
    if isinstance(weights, RoleWeights) and again:
        home = homes[weights]
        # Weights that never change were put on both units once.
        if owner[home] != owner[r] and weights in changing:
            yield Move(r, home, "b", ops.b_bytes[r], ops.count[r], weights)


def _gradients(ops: Operations, owner: Array, r: int) -> Iterator[Move]:
    """The sums of all gradients of a tensor go to where the tensor lies: row `r` updates it.

    Of tensors that one row updates, each unit sends those whose gradients it makes.
    """
    made: dict[int, list[int]] = {}
    for source in ops.graph.sources(r, "a"):
        made.setdefault(int(owner[source.row]), []).append(source.row)
    runs = {unit: total([ops.count[row] for row in rows]) for unit, rows in made.items()}
    whole = np.maximum(total(list(runs.values())), 1e-300) if runs else 1.0
    size, tensor = ops.m[r] * ops.format.weight_gradient, ops.graph.operand(r, "a")
    for unit, (first, *others) in made.items():
        if unit != owner[r]:
            count = ops.count[r] * (runs[unit] / whole)
            yield Move(r, first, "b", size, count, tensor, (), tuple(others))


def _parts(ops: Operations, owner: Array, r: int, name: str, tensor: Value) -> Iterator[Move]:
    """The parts of a tensor that other units made: each sends one, however many rows made it."""
    width = float(getattr(ops, f"{name}_width")[r])
    runs = ops.count[r] / ops.rows[r].copies
    parts: dict[tuple[int, tuple[Way, ...]], list[Source]] = {}
    for source in ops.graph.sources_of(tensor):
        parts.setdefault((int(owner[source.row]), source.ways), []).append(source)
    for (unit, ways), sources in parts.items():
        if unit == owner[r]:
            continue
        # A model may lack some of the rows that make a tensor in others beside it.
        elements = total([source.elements for source in sources])
        size = np.minimum(elements, tensor.elements) * width
        count = np.minimum(largest([source.times for source in sources]), runs)
        first, *others = (source.row for source in sources)
        yield Move(r, first, name, size, count, tensor.origin(), ways, tuple(others))


# ---- what does not stay where it was made ----


@dataclass(frozen=True, eq=False)
class Places:
    """Where tensors lie that stay for a later pass.

    left : (R, M) bool, results that stay, but not on the unit that made them. taken : rows that
    work in place on a tensor which came over a link: it stays with what they make of it.
    """

    left: Array
    taken: frozenset[int]


def places_of(ops: Operations, owner: Array, moves: list[Move]) -> Places:
    """Which results stay on other units than those that made them.

    owner : (R,) unit of each row.
    """
    left, stays = (np.zeros(ops.count.shape, dtype=bool) for _ in range(2))
    taken: set[int] = set()
    carried: dict[Operand, list[Move]] = {}
    for move in moves:
        if move.kept is not None:
            carried.setdefault(move.tensor, []).append(move)
    for r, row in enumerate(ops.rows):
        for name, tensor in ops.graph.read(r) if row.phase in PASSES else ():
            if not _again(row, name):
                continue
            for source, home, others in _homes(ops, owner, tensor):
                if _pass(ops, home) >= _pass(ops, r):
                    continue
                reads = (ops.count[r] > 0) & (source.times > 0)
                if others:
                    taken.add(home)
                    left[list(others)] |= reads
                received = _received(ops, owner, carried.get(tensor.origin(), []), (source.row, r))
                left[home] |= reads & received
                stays[home] |= reads & ~received
    return Places(left & ~stays, frozenset(taken))


def _homes(
    ops: Operations, owner: Array, tensor: Value
) -> Iterator[tuple[Source, int, tuple[int, ...]]]:
    """What makes a tensor, the row in whose result it then lies, and rows of other units it left.

    What works in place on another unit than the one that made its input has a copy.
    """
    rows, stored = ops.rows, ops.graph.stored(tensor)
    for source in ops.graph.sources_of(tensor):
        near = [s for s in stored if owner[s] == owner[source.row]]
        if source.row in stored or not stored:
            homes: list[int] = [source.row]
        else:
            homes = near or [source.row]
        far = () if near or not stored else stored
        for home in homes:
            if rows[home].out == "saved" or far:
                yield source, home, tuple(s for s in far if rows[s].out == "saved")


def _received(ops: Operations, owner: Array, moves: list[Move], read: tuple[int, int]) -> Array:
    """(M,) bool, whether a row's unit received what another row makes in an earlier pass.

    moves : of the tensor. read : the row that makes it, and the row that reads it.
    """
    made, r = read
    received = np.zeros(ops.count.shape[1], dtype=bool)
    for move in moves:
        ends = made in (move.source, *move.beside) and owner[move.row] == owner[r]
        if move.kept is not None and ends and _pass(ops, move.row) < _pass(ops, r):
            received |= move.kept > 0
    return received
