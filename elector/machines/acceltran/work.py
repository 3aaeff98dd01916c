"""Seconds and counts of AccelTran designs, gathered from the tables of their settings."""

from __future__ import annotations

import numpy as np

from elector.base.table import columns
from elector.machines.acceltran.tables import Prepared
from elector.machines.contract import Activity, Count, Units
from elector.machines.tiling import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part`: gathered from the tables."""
    assert isinstance(prepared, Prepared)
    p = prepared
    units, index = p.units.take(part), p.index[part]
    c, s, m = p.lanes_index[part], p.units_index[part], p.memory_index[part]
    r = p.rows
    compute = columns(p.lanes.seconds, c)
    for kind, table in (("softmax", p.softmax), ("norm", p.norm)):
        if compute is p.lanes.seconds:
            compute = compute.copy()
        compute[r[kind]] = columns(table.each, s)
    memory, released = columns(p.memory.seconds, m), units.equals("convention", "released")
    alone = np.maximum(compute, memory)
    if released.any():
        alone = np.where(released, compute + memory, alone)
    alone += columns(p.memory.fill, m)
    busy: dict[str, Array | Count] = {
        "lanes": _sums(p, p.lanes.taken, c),
        "activation units": _sums(p, p.lanes.functions, c),
        "softmax units": _sums(p, p.softmax.seconds, s),
        "layer-norm units": _sums(p, p.norm.seconds, s),
        "memory": Count(p.memory.seconds, m),
    }
    if released.any():
        busy["one after another"] = np.where(released, alone, 0.0)
    clock, lane_count = units.number("clock"), units.number("pe") * units.number("lanes_per_pe")
    return Activity(
        busy=busy,
        alone=alone,
        compute=compute,
        least=_sums(p, p.lanes.wave, c),
        cycles=alone * clock if p.details else np.zeros((0, index.size)),
        # Tiles of several sequences share a wave, so a stream needs no more than one tile.
        shortest=units.number("tile_b") * units.number("tile_x"),
        counts=_counts(p, c, s, m),
        fuse=np.ones(index.size, dtype=bool),
        weights=Count(p.memory.weights, m),
        room=units.number("weight_buffer") * TILE_SHARE / 2.0,
        bandwidth=units.number("bandwidth"),
        start=p.memory.start[m],
        executed=_executed(p.ops)[index],
        peak=lane_count * units.number("mac_per_lane") * clock,
        limits=_limits(p, units, index),
        resources=tuple(busy),
        tiles=_tiles(p, units, index) if p.details else None,
        traffic=_traffic(p, c, m) if p.details else None,
        moved=_moved(p, m) if p.details else None,
        awake=_awake(p, c, s),
        residue=units.number("gating_residue"),
    )


def _sums(p: Prepared, values: Array, index: Array) -> Count:
    """A count that is kept by group of rows."""
    return Count(values, index, group=p.group)


def _executed(ops: Operations) -> Array:
    """(M,) multiply-accumulates that zero-skipping leaves."""
    if not ops.densities:
        return ops.executed
    rows = ops.where(matmul=True)
    total = np.zeros(ops.count.shape[1])
    for r in rows:
        products = ops.count[r] * ops.batch[r] * ops.m[r] * ops.k[r] * ops.n[r]
        for shares in (ops.densities["a"], ops.densities["b"]):
            products = products * shares.values[shares.code[r]]
        total = total + products
    return ops.whole(total)


def _counts(p: Prepared, c: Array, s: Array, m: Array) -> dict[str, Count]:
    lane, memory = p.lanes, p.memory
    return {
        "mac": _sums(p, lane.macs, c),
        "vector": _sums(p, lane.vector, c),
        "special": _sums(p, lane.special, c),
        "fifo": _sums(p, lane.cycles, c),
        "dataflow": _sums(p, lane.dataflow, c),
        "pre-sparsity": _sums(p, lane.sparse, c),
        "post-sparsity": _sums(p, lane.pruned, c),
        "stochastic rounding": _sums(p, lane.rounded, c),
        "softmax": _sums(p, p.softmax.work, s),
        "layer norm": _sums(p, p.norm.work, s),
        "dma": _sums(p, memory.blocks, m),
        "activation buffer": _sums(p, lane.activation, c),
        "activation buffer fill": _sums(p, memory.others, m),
        "weight buffer": _sums(p, lane.weight, c),
        "weight buffer fill": _sums(p, memory.parameters, m),
        "mask buffer": _sums(p, lane.mask, c),
        "main memory read": _sums(p, memory.charged_read, m),
        "main memory write": _sums(p, memory.charged_write, m),
    }


def _awake(p: Prepared, c: Array, s: Array) -> dict[str, Count]:
    """Seconds under power of the modules that are gated; buffers hold data and never are."""
    lane = _sums(p, p.lanes.active, c)
    names = (
        "lanes",
        "fifo",
        "pre-sparsity",
        "post-sparsity",
        "stochastic rounding",
        "dataflow",
        "dma",
    )
    return {
        **dict.fromkeys(names, lane),
        "softmax": _sums(p, p.softmax.seconds, s),
        "layer norm": _sums(p, p.norm.seconds, s),
    }


def _limits(p: Prepared, u: Units, index: Array) -> dict[str, tuple[Array, Array]]:
    ops = p.ops
    x, y, b = u.number("tile_x"), u.number("tile_y"), u.number("tile_b")
    held = np.where(u.flag("double_buffer"), 2.0, 1.0) / TILE_SHARE
    inputs, outputs = b * x * y, b * x * x
    f = ops.format
    # Attention keeps both operands in the activation buffer.
    activation = held * (2.0 * inputs * f.activation + outputs * f.accumulator)
    masks = held * 2.0 * inputs / 8.0 * bool(ops.densities)
    trains = u.number("training") * u.equals("training_support", "false")
    total = sum(ops.memory.values(), np.zeros(1))
    return {
        "the machine does not train: accelerator.training_support is false": (
            trains,
            np.zeros(index.size),
        ),
        "main memory: needs {needed}, has {available}": (total[index], u.number("memory_capacity")),
        "activation buffer: one tile needs {needed}, has {available}": (
            activation,
            u.number("activation_buffer"),
        ),
        "weight buffer: one tile needs {needed}, has {available}": (
            held * inputs * f.weight,
            u.number("weight_buffer"),
        ),
        "mask buffer: the masks of one tile need {needed}, has {available}": (
            masks,
            u.number("mask_buffer"),
        ),
    }


def _tiles(p: Prepared, u: Units, index: Array) -> tuple[Array, Array, Array]:
    """(R, D) sides of the tiles of the lanes; 0 for vector work."""
    matmul = np.array([row.matmul for row in p.ops.rows])[:, None]
    x, y = u.number("tile_x"), u.number("tile_y")
    rows = np.where(p.ops.batch[:, index] <= 1.0, u.number("tile_b") * x, x)
    return matmul * rows, matmul * y, matmul * x


def _traffic(p: Prepared, c: Array, m: Array) -> tuple[Array, Array]:
    moved = (p.memory.read + p.memory.written)[:, m]
    chip = (p.lanes.activation + p.lanes.weight + p.lanes.mask)[:, c]
    return chip + moved, moved


def _moved(p: Prepared, m: Array) -> tuple[Array, Array, Array]:
    """(R, D) bytes of weights, of everything else read, and written, over all runs."""
    weights = p.memory.weights[:, m]
    return weights, p.memory.read[:, m] - weights, p.memory.written[:, m]
