"""A memory in front of arrays and lanes: what it takes from the on-chip memory, and gives back.

A TPUv4i feeds its arrays from a vector memory, beside which lies a common memory of eight times
its size (jouppi2021, section 4): what the arrays read again and again is read from the small one.
Main memory fills it directly; the large one is no cache that all has to pass (what XLA does is told
in jax-ml/jax discussion 36155), but holds what is read again when the small one has no room. All
that goes into the small one and out of it passes its port, beside loads of main memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elector.base.table import columns
from elector.machines.buffering import of_tiles
from elector.machines.contract import Count, Units
from elector.machines.systolic.tables import planned
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray

#: Sentence -> (needed, available), each (D,).
Limits = dict[str, tuple[Array, Array]]


@dataclass(frozen=True, eq=False, repr=False)
class Near:
    """Traffic of the memories in front of the arrays, over all runs.

    read, written, moved (both) : (R, 2 Q) bytes into them and out of them, with tiles in half of
    each memory, and behind them in all of it. least : (Q,) bytes of the smallest tile. place : (D,)
    column of each design in the first half.
    """

    read: Array
    written: Array
    moved: Array
    least: Array
    place: Array

    def crossing(self, part: slice | Array, double: Array, turns: Array) -> tuple[Array, Array]:
        """(R, D) bytes into the memories of some designs, and out of them.

        Their tiles are as large a share of them as those of the on-chip memory are of it.

        double : (D,) bool, half of a memory may hold a tile. turns : (R, D) bool, all of it does.
        """
        places = self._places(part)
        read, written = (of_tiles(x, places, double, turns) for x in (self.read, self.written))
        return read, written

    def doubles(self, part: slice | Array, units: Units) -> Array:
        """(D,) bool, half of the memory of some designs has room for a tile; of those with one.

        units : of these designs.
        """
        room = self.least[self.place[part]] * 2.0 / TILE_SHARE <= units.number("vector_memory")
        return np.asarray(room | ~has(units))

    def seconds(self, part: slice | Array, units: Units) -> tuple[Array, Array]:
        """(R, D) seconds in which all that goes into the memories of some designs, and out of
        them, passes their port, with tiles in half of each memory, and in all of it.

        What comes from main memory passes it, too: how much of it does so again, because the
        memory behind has more room, makes no difference.

        units : of these designs.
        """
        there, port = has(units), units.number("vector_memory_bandwidth")
        half, whole = (
            np.where(there, columns(self.moved, place) / port, 0.0) for place in self._places(part)
        )
        return half, whole

    def _places(self, part: slice | Array) -> tuple[Array, Array]:
        half = self.place[part]
        return half, half + self.read.shape[1] // 2


def has(units: Units) -> Array:
    """(D,) bool, designs with a memory in front of their arrays."""
    return np.asarray((units.number("vector_memory") > 0) & ~units.equals("convention", "scalesim"))


def slowest(units: Units) -> Array:
    """(D,) bytes a second at which what comes from main memory reaches the arrays at most: a port
    that is slower than main memory is what parameters fetched ahead save."""
    memory = units.number("bandwidth")
    port = np.where(has(units), units.number("vector_memory_bandwidth"), np.inf)
    return np.minimum(memory, port)


def near(ops: Operations, index: Array, units: Units) -> Near | None:
    """What passes between the two memories, planned as main memory's traffic is; None: no design
    has one. index : (D,) pair of each."""
    there = has(units)
    if not there.any():
        return None
    sizes = np.where(there, units.number("vector_memory"), units.number("sram"))
    plan, pair, place = planned(ops, index, sizes, units.number("fuse"), False)
    times = np.concatenate((ops.count[:, pair],) * 2, axis=1)
    moved = (plan.read + plan.written) * times
    return Near(plan.read * times, plan.written * times, moved, plan.needed, place)


def room(near: Near | None, units: Units, part: slice | Array) -> Limits:
    """A memory in front of the arrays is a part of the on-chip memory, and has room for a tile.

    part : places of the designs among those of `near`.
    """
    if near is None:
        return {}
    there, size = has(units), units.number("vector_memory")
    tile = near.least[near.place[part]] / TILE_SHARE
    return {
        "vector memory: asks for {needed}, the on-chip memory is {available}": (
            np.where(there, size, 0.0),
            units.number("sram"),
        ),
        "vector memory: room for the smallest tile is {needed}, it has {available}": (
            np.where(there, tile, 0.0),
            size,
        ),
    }


def on_chip(
    units: Units,
    inside: tuple[Array, Array],
    main: tuple[Array, Array],
    crossing: tuple[Array, Array] | None,
) -> dict[str, Count]:
    """Bytes read from and written to both memories on chip, by action.

    inside : (R, D) bytes that arrays and lanes read, and write. main : (R, D) bytes that come from
    main memory, and go there. crossing : (R, D) bytes into the memory in front, and out of it;
    None: no design has one.
    """
    if crossing is None:
        return _alone(inside, main)
    return _split(has(units), inside, main, crossing)


def _split(
    there: Array,
    inside: tuple[Array, Array],
    main: tuple[Array, Array],
    crossing: tuple[Array, Array],
) -> dict[str, Count]:
    """Bytes read from and written to both memories, by action.

    there : (D,) bool, designs with a memory in front. inside, main : as in `on_chip`. crossing :
    (R, D) bytes into the memory in front, and out of it: all that passes main memory, and more,
    which is of the on-chip memory, into which what is read again has come once.
    """
    (reads, writes), (come, go), (into, out) = inside, main, crossing
    again, kept = np.maximum(into - come, 0.0), np.maximum(out - go, 0.0)
    every = np.arange(there.size)
    bytes_ = {
        "vector memory read": np.where(there, reads + go + kept, 0.0),
        "vector memory write": np.where(there, writes + come + again, 0.0),
        "sram read": np.where(there, again, reads + go),
        "sram write": np.where(there, kept + np.minimum(again, come), writes + come),
    }
    return {name: Count(values, every) for name, values in bytes_.items()}


def _alone(inside: tuple[Array, Array], main: tuple[Array, Array]) -> dict[str, Count]:
    """The same where no design has a memory in front: all passes the on-chip memory.

    inside, main : as in `on_chip`.
    """
    (reads, writes), (come, go) = inside, main
    rows, designs = reads.shape
    every, none = np.arange(designs), Count(np.zeros((rows, 1)), np.zeros(designs, dtype=np.intp))
    return {
        "vector memory read": none,
        "vector memory write": none,
        "sram read": Count(reads + go, every),
        "sram write": Count(writes + come, every),
    }
