"""Designs computed together: all that their results are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from elector.cost.pricing import Prices
from elector.cost.schedule import Timing
from elector.describe.workload import Workload
from elector.machines.contract import Activity, Machine, Note, Units
from elector.operations import Operations

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Chunk:
    """Designs computed together, with all that their costs are made of.

    index : (D,) pair of each design. owner : (R,) names of what runs each operation.
    notes : what follows from the settings asked for; the activity has those of the machine.
    """

    ops: Operations
    index: Array
    activity: Activity
    prices: Prices
    machine: Machine
    workload: Workload
    timing: Timing
    units: Units
    owner: tuple[str, ...]
    notes: dict[str, Note] = field(default_factory=dict)
