"""AccelTran / ELECTOR: lanes that skip zeros, softmax and layer-norm units, three buffers.

A chip is `pe` processing elements of `lanes_per_pe` lanes, `softmax_per_pe` softmax units and
one layer-norm unit. A product is cut into tiles that are dealt to the lanes in waves
(`lanes`); a lane multiplies only where both masks have a one. Weights, activations and masks
have a buffer each (elector.machines.tiling). The loop order decides which tiles find their
operand in the lane's registers, hence how often the buffers are read.
Tuli and Jha 2023 (arXiv 2302.14705); Tuli and Jha 2023, TransCODE (arXiv 2303.14882).

A softmax or layer-norm unit takes tile_x + tile_y cycles for a tile (`unit_cycles: side`,
assumed). Its area and power grow as tile_x tile_y, so it holds a whole tile: one element a
cycle would leave all but one of its cells idle, at 49 pJ an element; a tile a cycle would price
an element at 0.19 pJ, a third of one exponential (0.56 pJ). Passes along both sides take
tile_x + tile_y cycles, 6 pJ an element.

Element-wise work runs on the multipliers of the lanes, roots and divisions on their activation
units; the activation function of the forward pass stands behind the adder tree of each lane.
Sums over the contraction stay in the lanes (assumed): outputs are written once.
"""

from __future__ import annotations

import numpy as np

from elector.machines.acceltran.tables import BLOCK
from elector.machines.acceltran.work import prepare
from elector.machines.contract import (
    Action,
    Case,
    EventModel,
    Machine,
    Part,
    Units,
)
from elector.machines.memories import most, standing_by

Array = np.ndarray

_UNIT = "energy"
ACTIONS = {
    "mac": Action("mac", ("acceltran.lane_{mac_per_lane}_relu", _UNIT), core=True),
    "vector": Action("vector", ("acceltran.lane_{mac_per_lane}_relu", _UNIT), core=True),
    "special": Action(
        "activation function", ("acceltran.activation_{nonlinearity}", _UNIT), core=True
    ),
    "fifo": Action("lane control", ("acceltran.fifo", _UNIT), core=True),
    "dataflow": Action("lane control", ("acceltran.dataflow", _UNIT), core=True),
    "pre-sparsity": Action("sparsity", ("acceltran.pre_sparsity", _UNIT), core=True),
    "post-sparsity": Action("sparsity", ("acceltran.post_sparsity", _UNIT), core=True),
    "stochastic rounding": Action(
        "stochastic rounding", ("acceltran.stochastic_rounding", _UNIT), core=True
    ),
    "softmax": Action("softmax", ("acceltran.softmax_{tile_x}", _UNIT), core=True),
    "layer norm": Action("layer norm", ("acceltran.layer_norm_{tile_x}", _UNIT), core=True),
    "dma": Action("dma", ("acceltran.dma", _UNIT), core=True),
    "activation buffer": Action(
        "activation buffer", ("acceltran_buffer.activation", _UNIT), "activation_buffer"
    ),
    "activation buffer fill": Action(
        "activation buffer", ("acceltran_buffer.activation", _UNIT), "activation_buffer"
    ),
    "weight buffer": Action("weight buffer", ("acceltran_buffer.weight", _UNIT), "weight_buffer"),
    "weight buffer fill": Action(
        "weight buffer", ("acceltran_buffer.weight", _UNIT), "weight_buffer"
    ),
    "mask buffer": Action("mask buffer", ("acceltran_buffer.mask", _UNIT), "mask_buffer"),
    "main memory read": Action("main memory", ("acceltran_memory.{memory}", _UNIT)),
    "main memory write": Action("main memory", ("acceltran_memory.{memory}", "write_energy")),
}


def complete(units: Units) -> Units:
    """The memory's bandwidth where it is not given: channels x the rate of one."""
    given = units.number("bandwidth")
    return units.replace(bandwidth=np.where(given > 0, given, most(units)))


def parts(units: Units) -> dict[str, Part]:
    """Modules, buffers and main memory. Areas are exact: pe x (lanes x ... + ...) + buffers."""
    pe = units.number("pe")
    lane = pe * units.number("lanes_per_pe")
    built = units.equals("training_support", "true") | (
        units.equals("training_support", "auto") & (units.number("training") > 0)
    )

    def module(name: str, amount: Array) -> Part:
        part = f"acceltran.{name}"
        return Part((part, "area"), amount, (part, "leakage"))

    def buffer(name: str) -> Part:
        part = f"acceltran_buffer.{name}"
        return Part((part, "area"), units.number(f"{name}_buffer"), (part, "leakage"))

    return {
        "lanes": module("lane_{mac_per_lane}_{nonlinearity}", lane),
        "fifo": module("fifo", lane),
        "pre-sparsity": module("pre_sparsity", lane),
        "post-sparsity": module("post_sparsity", lane),
        "stochastic rounding": module("stochastic_rounding", lane * built),
        "softmax": module("softmax_{tile_x}", pe * units.number("softmax_per_pe")),
        "layer norm": module("layer_norm_{tile_x}", pe),
        "dataflow": module("dataflow", pe),
        "dma": module("dma", pe),
        "activation buffer": buffer("activation"),
        "weight buffer": buffer("weight"),
        "mask buffer": buffer("mask"),
        "main memory": Part(None, standing_by(units), ("acceltran_memory.{memory}", "standby")),
    }


def events(case: Case) -> EventModel:
    """The event model, which is imported when a timeline is asked for."""
    from elector.machines.acceltran.events import AccelTranUnits

    return AccelTranUnits(case)


ACCELTRAN = Machine(
    name="acceltran",
    schema="acceltran",
    description="lanes that skip zeros, softmax and layer-norm units, three buffers (ELECTOR)",
    actions=ACTIONS,
    prepare=prepare,
    parts=parts,
    complete=complete,
    native="datapath",
    clock="clock",
    traffic={"dma": BLOCK},
    events=events,
    spares_zeros=True,
    compresses=True,
    layerwise=True,
)
