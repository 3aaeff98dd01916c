"""Which unit of a hybrid runs which operation, and what has to cross links for it.

Rules are tried in order; the first whose patterns all match decides. The optimizer updates a
weight where it lies: on the unit that runs the product with it, whatever the rules say, so
that no machine is spared the writes of its own cells.

An operand crosses a link once for each unit that needs it. Where it was made follows from the
words of the operations (`SOURCES`); what is not named there comes from the operation before.
Gradients of norms and biases have no product of their own and are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from elector.base.errors import InputError
from elector.describe.numbers import formats
from elector.machines.contract import Hybrid, Rule
from elector.operations.roles import Place, Role
from elector.operations.rows import Operations, Row

Array = np.ndarray

TRANSFER = "transfer"
#: What a rule may look at: of the operation, and of the workload.
ATTRIBUTES = ("name", "layer", "phase", "kind", "class")
ASKED = ("mode", "trainable")
#: Operation -> operand -> operations whose results it takes, where that is not the one before.
SOURCES: dict[str, dict[str, tuple[str, ...]]] = {
    "scores": {"a": ("query", "query low-rank B"), "b": ("key, value",)},
    "context": {"b": ("key, value", "value low-rank B")},
    "feed-forward residual": {"b": ("attention norm",)},
    "value gradient": {"b": ("output input gradient",)},
    "probabilities gradient": {"a": ("output input gradient",)},
    "key gradient": {"a": ("softmax gradient",)},
    "key, value input gradient": {"a": ("key gradient",)},
    "query input gradient": {"a": ("query gradient",)},
    "query low-rank B input gradient": {"a": ("query gradient",)},
    "value low-rank B input gradient": {"a": ("value gradient",)},
}
#: Where projections have biases, their results are those of the operation that adds them.
PROJECTIONS, BIASES = ("query", "key, value"), "query, key, value bias"
#: Operations that read what the first projection of their layer reads.
BRANCHES = ("key, value", "query low-rank A", "value low-rank A")
#: Gradient -> operation of the forward pass whose operands were kept for it.
KEPT = {
    "query gradient": "scores",
    "key gradient": "scores",
    "scores again": "scores",
    "value gradient": "context",
    "probabilities gradient": "context",
}


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


@dataclass(frozen=True, eq=False)
class _Move:
    """`size` bytes, `count` times, both (M,), from the result of row `source` to row `row`."""

    row: int
    source: int
    operand: str
    size: Array
    count: Array


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
    found = _inserted(ops, tuple(rows), index, moves)
    moved = np.zeros_like(found.count)
    moved[index < 0] = [m.size for m in (moves[-1 - i] for i in index[index < 0])]
    return Assigned(found, np.where(index < 0, -1, owner[index]), np.array(link), moved)


def _owners(hybrid: Hybrid, ops: Operations) -> Array:
    names = [member.name for member in hybrid.members]
    found = np.zeros(len(ops.rows), dtype=np.intp)
    asked = {name: str(getattr(ops.workload, name)) for name in ASKED}
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
        found[r] = names.index(unit)
    products = {
        row.word: found[r]
        for r, row in reversed(list(enumerate(ops.rows)))
        if row.b in ("weight", "reuse") and row.phase != "backward"
    }
    for r, row in enumerate(ops.rows):
        if row.kind == "optimizer":
            tensor = row.word.removesuffix(" update").removesuffix(" bias")
            found[r] = products.get(tensor, found[r])
    return found


def _matches(rule: Rule, row: Row, asked: dict[str, str]) -> bool:
    values = {
        "name": row.word,
        "layer": row.layer_word,
        "phase": row.phase,
        "kind": row.kind,
        "class": row.b if row.matmul else "none",
    } | asked
    return all(any(fnmatchcase(values[key], p) for p in wanted) for key, wanted in rule.match)


def _moves(ops: Operations, owner: Array) -> Iterator[_Move]:
    """Every operand that was made on another unit than the one that takes it."""
    seen: dict[tuple[int, int, str], Array] = {}
    for r in range(len(ops.rows)):
        for operand, source, size, count, tensor in _operands(ops, r):
            if owner[source] == owner[r]:
                continue
            key = (source, int(owner[r]), tensor)
            # The first operation that takes it pays, in each pair the first that there is.
            paid = seen.get(key, np.zeros(count.shape, dtype=bool))
            count = np.where(paid, 0.0, count)
            if (size * count > 0).any():
                seen[key] = paid | (size * count > 0)
                yield _Move(r, source, operand, size, count)


Operand = tuple[str, int, Array, Array, str]


def _operands(ops: Operations, r: int) -> Iterator[Operand]:
    """Operand, row it comes from, bytes, count, and which tensor of that row it is."""
    row, count = ops.rows[r], ops.count[r]
    if row.phase == "update":
        gradient = _find(ops, row.word.removesuffix(" update") + " weight gradient", "backward")
        if gradient is not None:
            yield "b", gradient, ops.m[r] * ops.format.weight_gradient, count, "gradient"
        return
    for operand in ("a", "b"):
        kind, size = getattr(row, operand), getattr(ops, f"{operand}_bytes")[r]
        if kind == "saved":
            home = _kept(ops, row)
            if home is not None:
                yield operand, home, size, count, f"{operand} of {row.word}"
        elif kind == "activation":
            for source, times in _sources(ops, r, operand):
                named = operand in SOURCES.get(row.word, {}) and row.word in ("scores", "context")
                yield operand, source, size, times, row.word if named else row.layer_word
        elif kind == "reuse" and ops.workload.trainable == "all" and row.phase == "backward":
            home = _kept(ops, row)
            if home is not None:
                yield operand, home, size, count, "weight"


def _sources(ops: Operations, r: int, operand: str) -> list[tuple[int, Array]]:
    """Rows whose results the operand is, and how often."""
    row = ops.rows[r]
    named = SOURCES.get(row.word, {}).get(operand)
    if row.word.endswith(" weight gradient") and operand == "b":
        twin = row.word.replace(" weight gradient", " input gradient")
        named = SOURCES.get(twin, {}).get("a")
        at = _find(ops, twin, row.phase, row.place)
        if named is None and at is not None:
            return _sources(ops, at, "a")
    if named is not None:
        biased = _find(ops, BIASES, row.phase, row.place)
        found = [
            biased
            if biased is not None and name in PROJECTIONS
            else _find(ops, name, row.phase, row.place)
            for name in named
        ]
        return [(i, ops.count[r]) for i in found if i is not None]
    first = _find(ops, "query", row.phase, row.place)
    entry = row.word in BRANCHES or (row.word == "attention residual" and operand == "b")
    if entry and first is not None and first != r:
        return _sources(ops, first, "a")
    return _before(ops, r)


def _before(ops: Operations, r: int) -> list[tuple[int, Array]]:
    """The operation before; of a layer that repeats, its own last one as well."""
    rows, row = ops.rows, ops.rows[r]
    earlier = [i for i in range(r) if not rows[i].off_chain and rows[i].phase != "update"]
    if not earlier:
        return []
    last = earlier[-1]
    if rows[last].place == row.place and rows[last].phase == row.phase:
        return [(last, ops.count[r])]
    again = [
        i
        for i in range(r, len(rows))
        if rows[i].place == row.place and rows[i].phase == row.phase and not rows[i].off_chain
    ]
    once = np.minimum(ops.count[last], ops.count[r])
    if not again or again[-1] == r:
        return [(last, once)]
    return [(last, once), (again[-1], ops.count[r] - once)]


def _kept(ops: Operations, row: Row) -> int | None:
    """The forward operation whose operands a gradient reads again."""
    wanted = KEPT.get(row.word)
    found, length = None, 0
    for i, other in enumerate(ops.rows):
        if other.phase not in ("forward", "recompute") or other.place != row.place:
            continue
        fits = other.word == wanted if wanted else row.word.startswith(other.word)
        if fits and len(other.word) > length:
            found, length = i, len(other.word)
    return found


def _find(ops: Operations, name: str, phase: str, place: Place | None = None) -> int | None:
    """The row of that name."""
    for i, row in enumerate(ops.rows):
        if row.word == name and row.phase == phase and place in (None, row.place):
            return i
    return None


def _link(links: dict[frozenset[str], int], ends: tuple[str, str], row: Row) -> int:
    found = links.get(frozenset(ends))
    if found is None:
        raise InputError(
            f"no link between {ends[0]} and {ends[1]}, which {row.name} ({row.phase}) needs",
            field="links",
            value="-".join(ends),
            allowed=["-".join(sorted(link)) for link in links] or None,
            hint=f"links: - {{between: [{ends[0]}, {ends[1]}], bandwidth: 100 GB/s}}",
        )
    return found


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

    def table(name: str, blank: float) -> Array:
        values: Array = getattr(ops, name)[index]
        values[new] = blank
        return values

    count, sizes = table("count", 0.0), table("m", 0.0)
    count[new] = [move.count for move in chosen]
    sizes[new] = [move.size for move in chosen]
    places = np.empty(len(ops.rows), dtype=np.intp)
    places[index[~new]] = np.flatnonzero(~new)
    return replace(
        ops,
        rows=rows,
        graph=ops.graph.spread(places, [(int(p), None) for p in np.flatnonzero(new)]),
        count=count,
        m=sizes,
        span=table("span", 0.0),
        batch=table("batch", 1.0),
        k=table("k", 1.0),
        n=table("n", 1.0),
        a_bytes=table("a_bytes", 0.0),
        b_bytes=table("b_bytes", 0.0),
        out_bytes=table("out_bytes", 0.0),
        a_width=table("a_width", 1.0),
        b_width=table("b_width", 1.0),
        out_width=table("out_width", 1.0),
        densities={
            name: replace(shares, code=np.where(new, 0, shares.code[index]))
            for name, shares in ops.densities.items()
        },
    )


def of_unit(assigned: Assigned, unit: int, compute: str) -> Operations:
    """The operations of one unit: all rows, those of other units never run there.

    Main memory is shared out by what the unit's operations use of it.
    """
    ops, mine = assigned.ops, assigned.owner == unit
    own = replace(ops.format, products=formats()[compute])
    if mine.all():
        return replace(ops, format=own)
    count = np.where(mine[:, None], ops.count, 0.0)
    matmul = np.array([row.matmul for row in ops.rows])[:, None]
    macs = np.where(matmul, count * ops.batch * ops.m * ops.k * ops.n, 0.0)
    return replace(
        ops,
        count=count,
        format=own,
        memory=_memory(ops, mine, unit),
        macs=np.add.accumulate(macs, axis=0)[-1],
    )


def _memory(ops: Operations, mine: Array, unit: int) -> dict[str, Array]:
    rows = ops.rows
    uses = {
        "weights": (np.array([r.b == "weight" and r.matmul for r in rows]), ops.b_bytes),
        "gradients": (np.array([r.kind == "optimizer" for r in rows]), ops.m),
        "optimizer": (np.array([r.kind == "optimizer" for r in rows]), ops.m),
        "activations": (np.array([r.kind != TRANSFER for r in rows]), ops.out_bytes),
        "cache": (np.array([r.in_attention for r in rows]), ops.b_bytes),
    }
    found = {}
    for name, total in ops.memory.items():
        which, size = uses[name]
        used = np.where(which[:, None], size * ops.count, 0.0)
        whole = np.add.accumulate(used, axis=0)[-1]
        part = np.add.accumulate(np.where(mine[:, None], used, 0.0), axis=0)[-1]
        share = np.where(whole > 0, part / np.maximum(whole, 1e-300), float(unit == 0))
        found[name] = total * share
    return found
