"""Which unit of a hybrid runs which operation, and what has to cross links for it.

Rules are tried in order; the first whose patterns all match decides. The optimizer updates a
weight where it lies: on the unit that runs the product with it, whatever the rules say, so
that no machine is spared the writes of its own cells.

What has to cross links for it, and what then stays where, is found by elector.hybrid.moves.
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
from elector.describe.workload import PROMPTS
from elector.hybrid.moves import Move, homes_of, moves_of, places_of
from elector.machines.contract import AssignmentRule, Hybrid, sum_rows
from elector.operations.collect import TABLES
from elector.operations.graph import Operand, RoleWeights
from elector.operations.roles import ModelSection, Role, RowPart, layer_words, vocabulary
from elector.operations.rows import Operations, Row, unpacked

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

    @functools.cached_property
    def shared(self) -> Array:
        """(R,) bool, transfers of weights: all sequences wait for one message."""
        rows = range(self.link.size)
        return np.array([self.link[r] >= 0 and carries_weights(self.ops, r) for r in rows])

    def named(self, hybrid: Hybrid) -> tuple[str, ...]:
        """(R,) names of what runs each row: a unit, or `link` and its name."""
        return tuple(
            hybrid.members[u].name if u >= 0 else f"link {hybrid.links[k].name}"
            for u, k in zip(self.owner, self.link, strict=True)
        )


def carries_weights(ops: Operations, row: int) -> bool:
    """Whether a row that is a transfer carries parameters, not what is made of a sequence.

    row : its place.
    """
    return isinstance(ops.graph.operand(row, "a"), RoleWeights)


@dataclass(frozen=True, eq=False, repr=False)
class _Added:
    """A row between those of the model: `bytes` cross a link, or stay where they arrived.

    owner, link : see `Assigned`. count, size : (M,) how often, and bytes.
    """

    row: Row
    owner: int
    link: int
    count: Array
    size: Array
    tensor: Operand


def assign(hybrid: Hybrid, ops: Operations) -> Assigned:
    """The unit of every operation; transfers are put before the operations that wait for them.

    Raises InputError for an operation no rule takes, or units without a link.
    """
    owner = _owners(hybrid, ops)
    moves = [] if len(hybrid.members) == 1 else moves_of(ops, owner)
    if not moves:
        return Assigned(ops, owner, np.full(owner.size, -1), np.zeros_like(ops.count))
    ops = _placed(ops, owner, moves)
    added = [each for move in moves for each in _added(hybrid, ops, owner, move)]
    before: dict[int, list[int]] = {}
    for i, (row, _) in enumerate(added):
        before.setdefault(row, []).append(-1 - i)
    index = np.array([i for r in range(len(ops.rows)) for i in (*before.get(r, ()), r)])
    inserted = _inserted(ops, index, [each for _, each in added])
    new = index < 0
    chosen = [added[-1 - i][1] for i in index[new]]
    owners, link = np.where(new, -1, owner[index]), np.full(index.size, -1)
    owners[new], link[new] = [x.owner for x in chosen], [x.link for x in chosen]
    moved = np.zeros_like(inserted.count)
    moved[new] = [x.size for x in chosen]
    return Assigned(inserted, owners, link, np.where(link[:, None] >= 0, moved, 0.0))


def _placed(ops: Operations, owner: Array, moves: list[Move]) -> Operations:
    """The operations, told which results other units keep and write."""
    own = ops.rewritten.copy()
    for move in moves:  # another unit has what runs behind
        own[[move.source, *move.beside]] = False
    places = places_of(ops, owner, moves)
    rows = tuple(
        replace(row, out="saved") if r in places.taken and row.out == "activation" else row
        for r, row in enumerate(ops.rows)
    )
    return replace(ops, rows=rows, rewritten=own, left=places.left)


def _added(
    hybrid: Hybrid, ops: Operations, owner: Array, move: Move
) -> Iterator[tuple[int, _Added]]:
    """Before which row the transfer of a tensor stands, and what is kept of it there."""
    names = [member.name for member in hybrid.members]
    links = {frozenset(link.between): i for i, link in enumerate(hybrid.links)}
    ends, row = (names[owner[move.source]], names[owner[move.row]]), ops.rows[move.row]
    link = _link(links, ends, row)
    carried = _transfer(row, move.operand, ends)
    yield move.row, _Added(carried, -1, link, move.count, move.size, move.tensor)
    if move.kept is not None and (move.kept * move.size > 0).any():
        kept = _arrival(carried)
        yield move.row, _Added(kept, int(owner[move.row]), -1, move.kept, move.size, move.tensor)


def _owners(hybrid: Hybrid, ops: Operations) -> Array:
    names = [member.name for member in hybrid.members]
    owners = np.zeros(len(ops.rows), dtype=np.intp)
    asked = {name: str(getattr(ops.workload, name)) for name in ASKED}
    if all(row.place.section is ModelSection.LIST for row in ops.rows):
        asked["trainable"] = "all"  # a list has no heads or projections that could train alone
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
    for r, product in unpacked(ops.rows):  # beside what multiplies it, whose memory holds it
        owners[r] = owners[product]
    homes = homes_of(ops)
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
        "phase": PROMPTS[0] if row.phase in PROMPTS else row.phase,
        "kind": row.kind,
        "class": row.b if row.matmul else "none",
    } | asked
    return all(any(fnmatchcase(values[key], p) for p in wanted) for key, wanted in rule.match)


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


def _arrival(transfer: Row) -> Row:
    """What a unit writes of a transfer, to have it in a later pass: nothing waits for it."""
    return Row(
        Role.ARRIVAL,
        transfer.place,
        transfer.phase,
        "elementwise",
        False,
        a="none",
        out="saved",
        variant=transfer.variant,
        off_chain=True,
    )


def _inserted(ops: Operations, index: Array, added: list[_Added]) -> Operations:
    """The table with the added rows; index (R,) : an old row, or -1 - the place of an added one."""
    new = index < 0
    chosen = [added[-1 - i] for i in index[new]]

    def table(name: str) -> Array:
        values: Array = getattr(ops, name)[index]
        values[new] = BLANK.get(name, 0.0)
        return values

    tables: dict[str, Any] = {
        name: table(name) for name in (*TABLES, "a_width", "b_width", "out_width")
    }
    tables["count"][new] = [x.count for x in chosen]
    tables["m"][new] = [x.size for x in chosen]
    # What crosses a link is counted by the link, what stays by the unit that writes it.
    tables["out_bytes"][new] = [x.size * (x.link < 0) for x in chosen]
    places = np.empty(len(ops.rows), dtype=np.intp)
    places[index[~new]] = np.flatnonzero(~new)
    carried = [(int(place), x.tensor) for place, x in zip(np.flatnonzero(new), chosen, strict=True)]
    rows = tuple(ops.rows[i] if i >= 0 else added[-1 - i].row for i in index)
    assert ops.left is not None
    return replace(
        ops,
        rows=rows,
        **tables,
        graph=ops.graph.spread(places, carried),
        rewritten=np.where(new, False, ops.rewritten[index]),
        left=np.where(new[:, None], False, ops.left[index]),
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
    kept = (mine & np.array([row.out == "saved" for row in rows]))[:, None]
    if ops.left is not None:
        kept = kept & ~ops.left
    again = np.array([row.phase == "recompute" for row in rows])
    lasting = sum_rows(np.where(kept & ~again[:, None], ops.out_bytes * ops.count, 0.0))
    largest = np.zeros(lasting.size)
    for place in {row.place.index for row, passes in zip(rows, again, strict=True) if passes}:
        here = again & np.array([row.place.index == place for row in rows])
        size = sum_rows(np.where(kept & here[:, None] & seen, ops.out_bytes, 0.0))
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
