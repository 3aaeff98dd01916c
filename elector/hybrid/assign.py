"""Which unit of a hybrid runs which operation, and what has to cross links for it.

Rules are tried in order; the first whose patterns all match decides. The optimizer updates a
weight where it lies: on the unit that runs the product with it, whatever the rules say, so
that no machine is spared the writes of its own cells.

A tensor crosses a link once for each unit that needs it and has neither made nor got it. Where
it was made is what the graph of the operations says (elector.operations.graph). Gradients of
norms and biases are not followed: they are small.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.describe.numbers import formats
from elector.machines.contract import AssignmentRule, Hybrid, sum_rows, total
from elector.machines.counts import largest
from elector.operations.collect import TABLES
from elector.operations.graph import Operand, RoleWeights, Source, Value, Way
from elector.operations.roles import Role, RowPart, layer_words, vocabulary
from elector.operations.rows import Operations, Row

Array = np.ndarray

TRANSFER = "transfer"
#: Numbers of a transfer that are not 0.
BLANK = dict.fromkeys(("batch", "k", "n", "a_width", "b_width", "out_width"), 1.0)
#: What a rule may look at: of the operation, and of the workload.
ATTRIBUTES = ("name", "layer", "phase", "kind", "class")
ASKED = ("mode", "trainable")


@dataclass(frozen=True, eq=False)
class Assigned:
    """Operations with their transfers.

    ops : R rows. owner : (R,) unit of each, -1 for a transfer. link : (R,) link of a transfer,
    -1 elsewhere. moved : (R, M) bytes of one transfer.
    """

    ops: Operations
    owner: Array
    link: Array
    moved: Array

    def named(self, hybrid: Hybrid) -> tuple[str, ...]:
        """(R,) names of what runs each row: a unit, or `link` and its name."""
        return tuple(
            hybrid.members[u].name if u >= 0 else f"link {hybrid.links[k].name}"
            for u, k in zip(self.owner, self.link, strict=True)
        )


@dataclass(frozen=True, eq=False)
class _Move:
    """`size` bytes, `count` times, both (M,), from the result of row `source` to row `row`.

    ways : in which runs: see `Source`. beside : other rows of that unit that make a part of it, or
    all of it in other models.
    """

    row: int
    source: int
    operand: str
    size: Array
    count: Array
    tensor: Operand
    ways: tuple[Way, ...] = ()
    beside: tuple[int, ...] = ()


def assign(hybrid: Hybrid, ops: Operations) -> Assigned:
    """The unit of every operation; transfers are put before the operations that wait for them.

    Raises InputError for an operation no rule takes, or units without a link.
    """
    owner = _owners(hybrid, ops)
    links = {frozenset(link.between): i for i, link in enumerate(hybrid.links)}
    moves = [] if len(hybrid.members) == 1 else list(_moves(ops, owner))
    plain = np.full(owner.size, -1)
    if not moves:
        return Assigned(ops, owner, plain, np.zeros_like(ops.count))
    names = [member.name for member in hybrid.members]
    rows, place, link = [], [], []
    for r in range(len(ops.rows)):
        for move in (m for m in moves if m.row == r):
            ends = names[owner[move.source]], names[owner[r]]
            link.append(_link(links, ends, ops.rows[r]))
            rows.append(_transfer(ops.rows[r], move.operand, ends))
            place.append(-1 - moves.index(move))
        rows.append(ops.rows[r])
        place.append(r)
        link.append(-1)
    index = np.array(place)
    inserted = _inserted(ops, tuple(rows), index, moves)
    moved = np.zeros_like(inserted.count)
    moved[index < 0] = [m.size for m in (moves[-1 - i] for i in index[index < 0])]
    return Assigned(inserted, np.where(index < 0, -1, owner[index]), np.array(link), moved)


def _owners(hybrid: Hybrid, ops: Operations) -> Array:
    names = [member.name for member in hybrid.members]
    owners = np.zeros(len(ops.rows), dtype=np.intp)
    asked = {name: str(getattr(ops.workload, name)) for name in ASKED}
    _require_words(hybrid, ops)
    for r, row in enumerate(ops.rows):
        unit = next((rule.unit for rule in hybrid.rules if _matches(rule, row, asked)), None)
        if unit is None:
            raise InputError(
                f"no rule gives a unit to {row.name} ({row.phase}, {row.kind})",
                field="assignment",
                value=row.name,
                allowed=names,
                hint="end the list with a rule without match",
            )
        owners[r] = names.index(unit)
    homes = _homes(ops)
    for r, row in enumerate(ops.rows):
        home = _updated(homes, ops, r) if row.kind == "optimizer" else None
        if home is not None:
            owners[r] = owners[home]
    return owners


def _updated(homes: dict[RoleWeights, int], ops: Operations, r: int) -> int | None:
    """The row of the product whose weight (or its bias) row `r` updates; None without one.

    A model may hold a tensor that none of its products reads, while others beside it do.
    """
    row = ops.rows[r]
    if row.part is not RowPart.BIAS_UPDATE and not ops.graph.sources(r, "a"):
        return None
    for cross in (False, True):
        home = homes.get(RoleWeights(row.role, row.place, cross, row.index, row.variant))
        if home is not None:
            return home
    return None


def _require_words(hybrid: Hybrid, ops: Operations) -> None:
    """Raise InputError for a pattern of names or layers that no operation can ever match."""
    for i, rule in enumerate(hybrid.rules):
        for key, patterns in rule.match:
            if key not in ("name", "layer"):
                continue
            for pattern in patterns:
                if _means(key, pattern):
                    continue
                own = {row.word if key == "name" else row.layer_word for row in ops.rows}
                if not any(fnmatchcase(word, pattern) for word in own):
                    raise InputError(
                        "names no operation" if key == "name" else "names no layer",
                        field=f"assignment[{i}].match.{key}",
                        value=pattern,
                        allowed=sorted(own),
                    )


@functools.lru_cache(maxsize=1024)
def _means(key: str, pattern: str) -> bool:
    """Whether a described model may have operations, or layers, of that pattern."""
    words = vocabulary() if key == "name" else layer_words()
    return pattern in words or any(fnmatchcase(word, pattern) for word in words)


def _matches(rule: AssignmentRule, row: Row, asked: dict[str, str]) -> bool:
    values = {
        "name": row.word,
        "layer": row.layer_word,
        "phase": row.phase,
        "kind": row.kind,
        "class": row.b if row.matmul else "none",
    } | asked
    return all(any(fnmatchcase(values[key], p) for p in wanted) for key, wanted in rule.match)


def _moves(ops: Operations, owner: Array) -> Iterator[_Move]:
    """Every tensor that was made on another unit than the one that takes it."""
    sent: dict[tuple[Operand, tuple[Way, ...], int, int], Array] = {}
    homes = _homes(ops)
    for r in range(len(ops.rows)):
        for move in _operands(ops, owner, homes, r):
            key = (move.tensor, move.ways, int(owner[move.source]), int(owner[r]))
            # The first operation that takes it pays, in each pair the first that there is.
            before = sent.get(key, np.zeros(move.count.shape))
            count = np.maximum(move.count - before, 0.0)
            if (move.size * count > 0).any():
                sent[key] = np.where(move.size > 0, np.maximum(before, move.count), before)
                yield replace(move, count=count)


def _homes(ops: Operations) -> dict[RoleWeights, int]:
    """Parameters -> the first row of a forward pass that reads them."""
    homes: dict[RoleWeights, int] = {}
    for r, row in enumerate(ops.rows):
        operand = ops.graph.operand(r, "b")
        if isinstance(operand, RoleWeights) and row.phase != "backward":
            homes.setdefault(operand, r)
    return homes


def _operands(
    ops: Operations, owner: Array, homes: dict[RoleWeights, int], r: int
) -> Iterator[_Move]:
    """What row `r` reads of other units."""
    row, graph = ops.rows[r], ops.graph
    if row.phase == "update":
        yield from _gradients(ops, owner, r)
        return
    for name in ("a", "b"):
        kind, operand = getattr(row, name), graph.operand(r, name)
        if isinstance(operand, Value) and kind in ("activation", "saved"):
            yield from _parts(ops, owner, r, name, operand)
        elif isinstance(operand, RoleWeights) and kind == "reuse" and row.phase == "backward":
            home = homes[operand]
            # Weights that never change were put on both units once.
            if ops.workload.trainable == "all" and owner[home] != owner[r]:
                yield _Move(r, home, name, ops.b_bytes[r], ops.count[r], operand)


def _gradients(ops: Operations, owner: Array, r: int) -> Iterator[_Move]:
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
            yield _Move(r, first, "b", size, count, tensor, (), tuple(others))


def _parts(ops: Operations, owner: Array, r: int, name: str, tensor: Value) -> Iterator[_Move]:
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
        yield _Move(r, first, name, size, count, tensor.origin(), ways, tuple(others))


def _link(links: dict[frozenset[str], int], ends: tuple[str, str], row: Row) -> int:
    joining = links.get(frozenset(ends))
    if joining is None:
        raise InputError(
            f"no link between {ends[0]} and {ends[1]}, which {row.name} ({row.phase}) needs",
            field="links",
            value="-".join(ends),
            allowed=["-".join(sorted(link)) for link in links] or None,
            hint=f"links: - {{between: [{ends[0]}, {ends[1]}], bandwidth: 100 GB/s}}",
        )
    return joining


def _transfer(row: Row, operand: str, ends: tuple[str, str]) -> Row:
    which = "" if operand == "a" else " second operand"
    return Row(
        Role.TRANSFER,
        row.place,
        row.phase,
        TRANSFER,
        False,
        a="none",
        out="none",
        part=row.part,
        variant=f"{row.word}{which} from {ends[0]}",
        off_chain=row.off_chain,
    )


def _inserted(
    ops: Operations, rows: tuple[Row, ...], index: Array, moves: list[_Move]
) -> Operations:
    """The table with a row for each move; index (R,) is an old row, or -1 - the move's place."""
    new = index < 0
    chosen = [moves[-1 - i] for i in index[new]]

    def table(name: str) -> Array:
        values: Array = getattr(ops, name)[index]
        values[new] = BLANK.get(name, 0.0)
        return values

    tables: dict[str, Any] = {
        name: table(name) for name in (*TABLES, "a_width", "b_width", "out_width")
    }
    tables["count"][new] = [move.count for move in chosen]
    tables["m"][new] = [move.size for move in chosen]
    places = np.empty(len(ops.rows), dtype=np.intp)
    places[index[~new]] = np.flatnonzero(~new)
    carried = [
        (int(place), move.tensor) for place, move in zip(np.flatnonzero(new), chosen, strict=True)
    ]
    own = ops.rewritten.copy()
    for move in moves:  # another unit has what runs behind
        own[[move.source, *move.beside]] = False
    return replace(
        ops,
        rows=rows,
        **tables,
        graph=ops.graph.spread(places, carried),
        rewritten=np.where(new, False, own[index]),
        densities={
            name: replace(shares, code=np.where(new, 0, shares.code[index]))
            for name, shares in ops.densities.items()
        },
    )


def of_unit(assigned: Assigned, unit: int, compute: str) -> Operations:
    """The operations of one unit: all rows, those of other units never run there.

    Main memory is shared out as `memory_of` says.
    """
    ops, mine = assigned.ops, assigned.owner == unit
    own = replace(ops.format, products=formats()[compute])
    if mine.all():
        return replace(ops, format=own)
    count = np.where(mine[:, None], ops.count, 0.0)
    matmul = np.array([row.matmul for row in ops.rows])[:, None]
    runs, (k, n) = np.where(matmul, count * ops.batch * ops.m, 0.0), ops.whole_sides()
    return replace(
        ops,
        count=count,
        format=own,
        memory=memory_of(ops, mine, unit),
        macs=np.add.accumulate(runs * k * n, axis=0)[-1],
        executed=np.add.accumulate(runs * ops.k * ops.n, axis=0)[-1],
    )


def _kept(ops: Operations, mine: Array) -> Array:
    """(M,) bytes of activations that the rows `mine` (R,) bool keep for gradients.

    Those of one micro-batch; of what is recomputed, those of the largest layer. A share of what
    all units keep would leave room on one unit for what grows on another.
    """
    rows, seen = ops.rows, ops.count > 0
    kept = mine & np.array([row.out == "saved" for row in rows])
    again = np.array([row.phase == "recompute" for row in rows])
    lasting = sum_rows(np.where((kept & ~again)[:, None], ops.out_bytes * ops.count, 0.0))
    largest = np.zeros(lasting.size)
    for place in {row.place.index for row, passes in zip(rows, again, strict=True) if passes}:
        here = kept & again & np.array([row.place.index == place for row in rows])
        size = sum_rows(np.where(here[:, None] & seen, ops.out_bytes, 0.0))
        largest = np.maximum(largest, size)
    if ops.fold is not None:
        largest = ops.fold.spread(ops.fold.most(largest))
    return ops.whole(lasting) / ops.workload.gradient_accumulation + largest


def memory_of(ops: Operations, mine: Array, unit: int) -> dict[str, Array]:
    """Name -> (M,) bytes of main memory of a unit that runs the rows `mine` (R,) bool.

    It is shared out by what the unit's operations use of it; activations of training lie where
    they are made, see `_kept`.
    """
    rows, training = ops.rows, ops.workload.training
    uses = {
        "weights": (np.array([r.b == "weight" and r.matmul for r in rows]), ops.b_bytes),
        "gradients": (np.array([r.kind == "optimizer" for r in rows]), ops.m),
        "optimizer": (np.array([r.kind == "optimizer" for r in rows]), ops.m),
        "activations": (np.array([r.kind != TRANSFER for r in rows]), ops.out_bytes),
        "cache": (np.array([r.in_attention for r in rows]), ops.b_bytes),
    }
    bytes_of = {}
    for name, size_of in ops.memory.items():
        if name == "activations" and training:
            bytes_of[name] = np.minimum(size_of, _kept(ops, mine))
            continue
        which, size = uses[name]
        used = np.where(which[:, None], size * ops.count, 0.0)
        whole = ops.whole(np.add.accumulate(used, axis=0)[-1])
        part = ops.whole(np.add.accumulate(np.where(mine[:, None], used, 0.0), axis=0)[-1])
        share = np.where(whole > 0, part / np.maximum(whole, 1e-300), float(unit == 0))
        bytes_of[name] = size_of * share
    return bytes_of
