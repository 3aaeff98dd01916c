"""What a systolic design must have room for, and whether it may train."""

from __future__ import annotations

import numpy as np

from elector.machines import memories
from elector.machines.contract import Units
from elector.machines.systolic.folds import Arrays
from elector.operations.rows import Operations

Array = np.ndarray
#: Sentence -> (needed, available), each (D,).
Limits = dict[str, tuple[Array, Array]]


def limits(ops: Operations, units: Units, index: Array, arrays: Arrays, peer: Array) -> Limits:
    """What D designs need of their memories, and what they have.

    index : (D,) pair of each. peer : (D,) bool, cycles and stalls are counted as the peer does,
        which has interfaces instead of a main memory.
    """
    memory = ops.memory
    total = memory["weights"] + memory["gradients"] + memory["optimizer"]
    total = total + memory["activations"] + memory["cache"]
    sums = arrays.cols * arrays.count * ops.format.accumulator
    several = peer & (arrays.count > 1)
    return {
        "SCALE-Sim has one array: accelerator.arrays and accelerator.convention decide": (
            several + 0.0,
            np.zeros(several.size),
        ),
        "main memory: needs {needed}, has {available}": (
            total[index],
            units.number("memory_capacity"),
        ),
        **{
            text: (np.where(peer, 0.0, needed), available)
            for text, (needed, available) in memories.limit(units).items()
        },
        "accumulators: one sum under each column needs {needed}, has {available}": (
            np.where(arrays.os, 0.0, sums),
            units.number("accumulators"),
        ),
    }


def trains(ops: Operations, units: Units, wanted: Array) -> Limits:
    """A limit broken where designs that do not train are to; wanted (D,) : bool.

    A datapath that holds no gradient does not train; the user may insist that it does.
    """
    lacks = not ops.format.products.trains
    support = units.equals("training_support", "auto"), units.equals("training_support", "false")
    refuses = (lacks * support[0] | support[1]) * wanted
    text = (
        "the machine does not train: accelerator.training_support and accelerator.datapath decide"
    )
    return {text: (refuses, np.zeros(refuses.size))}
