"""Seconds and counts of AccelTran designs, gathered from the tables of their settings."""

from __future__ import annotations

import numpy as np

from elector.design import Activity, Count, Units
from elector.machines.acceltran.tables import Prepared
from elector.memory import TILE_SHARE
from elector.operations.rows import Operations

Array = np.ndarray


def activity(prepared: object, part: slice) -> Activity:
    """Seconds and counts of the designs in `part`: gathered from the tables."""
    assert isinstance(prepared, Prepared)
    p = prepared
    units, index = p.units.take(part), p.index[part]
    c, s, m = p.lanes_index[part], p.units_index[part], p.memory_index[part]
    r = p.rows
    compute = np.empty((len(p.ops.rows), index.size))
    in_lanes = np.concatenate((r["products"], r["vector"]))
    compute[in_lanes] = p.lanes.seconds[in_lanes][:, c]
    compute[r["functions"]] = p.lanes.functions[r["functions"]][:, c]
    compute[r["softmax"]] = p.softmax[0][r["softmax"]][:, s]
    compute[r["norm"]] = p.norm[0][r["norm"]][:, s]
    memory = p.memory.seconds[:, m]
    released = units.equals("convention", "released")
    alone = np.where(released, compute + memory, np.maximum(compute, memory))
    alone = alone + p.memory.fill[:, m]
    busy: dict[str, Array | Count] = {
        "lanes": Count(p.lanes.taken, c),
        "activation units": Count(p.lanes.functions, c),
        "softmax units": Count(p.softmax[0], s),
        "layer-norm units": Count(p.norm[0], s),
        "memory": Count(p.memory.seconds, m),
    }
    if released.any():
        busy["one after another"] = np.where(released, alone, 0.0)
    clock, lane_count = units.number("clock"), units.number("pe") * units.number("lanes_per_pe")
    return Activity(
        busy=busy,
        alone=alone,
        compute=compute,
        least=Count(p.lanes.wave, c),
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


def _executed(ops: Operations) -> Array:
    """(M,) multiply-accumulates that zero-skipping leaves."""
    if not ops.densities:
        return ops.macs
    rows = ops.where(matmul=True)
    done = ops.count * ops.batch * ops.m * ops.k * ops.n * ops.density("a") * ops.density("b")
    return ops.whole(np.add.accumulate(done[rows], axis=0)[-1])


def _counts(p: Prepared, c: Array, s: Array, m: Array) -> dict[str, Count]:
    lane, memory = p.lanes, p.memory
    return {
        "mac": Count(lane.macs, c),
        "vector": Count(lane.vector, c),
        "special": Count(lane.special, c),
        "fifo": Count(lane.cycles, c),
        "dataflow": Count(lane.dataflow, c),
        "pre-sparsity": Count(lane.sparse, c),
        "post-sparsity": Count(lane.pruned, c),
        "stochastic rounding": Count(lane.rounded, c),
        "softmax": Count(p.softmax[1], s),
        "layer norm": Count(p.norm[1], s),
        "dma": Count(memory.blocks, m),
        "activation buffer": Count(lane.activation, c),
        "activation buffer fill": Count(memory.others, m),
        "weight buffer": Count(lane.weight, c),
        "weight buffer fill": Count(memory.weights, m),
        "mask buffer": Count(lane.mask, c),
        "main memory read": Count(memory.charged_read, m),
        "main memory write": Count(memory.charged_write, m),
    }


def _awake(p: Prepared, c: Array, s: Array) -> dict[str, Count]:
    """Seconds under power of the modules that are gated; buffers hold data and never are."""
    lane = Count(p.lanes.active, c)
    names = ("lanes", "fifo", "pre-sparsity", "post-sparsity", "stochastic rounding", "dataflow",
             "dma")
    return {
        **dict.fromkeys(names, lane),
        "softmax": Count(p.softmax[0], s),
        "layer norm": Count(p.norm[0], s),
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
            trains, np.zeros(index.size)
        ),
        "main memory: needs {needed}, has {available}": (
            total[index], u.number("memory_capacity")
        ),
        "activation buffer: one tile needs {needed}, has {available}": (
            activation, u.number("activation_buffer")
        ),
        "weight buffer: one tile needs {needed}, has {available}": (
            held * inputs * f.weight, u.number("weight_buffer")
        ),
        "mask buffer: the masks of one tile need {needed}, has {available}": (
            masks, u.number("mask_buffer")
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
