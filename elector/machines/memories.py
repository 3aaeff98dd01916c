"""What main memories can deliver, and the devices that hold a capacity (data/memories.csv).

Bandwidth is channels times the rate of one; no chip was published with more channels of a type
than the table says. Devices stand by whether they were added for their bandwidth or for what they
hold, so that capacity has a price, too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from elector.base import units as si
from elector.base.table import DATA, read_rows
from elector.machines.activity import BANDWIDTH
from elector.machines.contract import Units

Array = np.ndarray


@dataclass(frozen=True)
class MemoryType:
    """A type of main memory.

    rate : bytes a second of one channel. channels : most there are; 0: the setting's name ends
    with their number. spread : bytes held for each byte a second of a device; 0: it holds data
    without power.
    """

    rate: float
    channels: float
    spread: float

    def most(self, setting: str) -> float:
        """Bytes a second of all channels of a memory that is called so."""
        return self.rate * (self.channels or float(setting.rpartition("_")[2]))


@functools.cache
def known() -> dict[str, MemoryType]:
    """Name -> memory."""
    types = {}
    for row in read_rows(DATA / "memories.csv"):
        rate, held, device = (
            si.parse(row[key], unit)
            for key, unit in (
                ("channel_rate", "byte/s"),
                ("device_capacity", "byte"),
                ("device_rate", "byte/s"),
            )
        )
        types[row["memory"]] = MemoryType(
            rate, float(row["channels"]), held / device if device else 0.0
        )
    return types


def _of(setting: str) -> MemoryType:
    """The memory of a setting: its name, or its name with banks, ranks and channels."""
    return known().get(setting) or known()[setting.partition("_")[0]]


def most(units: Units) -> Array:
    """(D,) bytes a second that the main memory of each design can deliver."""
    names, codes = units.names["memory"]
    return np.array([_of(name).most(name) for name in names])[codes]


def standing_by(units: Units) -> Array:
    """(D,) bytes a second of the devices there are: for the bandwidth, or to hold the capacity."""
    names, codes = units.names["memory"]
    spread = np.array([_of(name).spread or np.inf for name in names])[codes]
    return np.maximum(units.number("bandwidth"), units.number("memory_capacity") / spread)


def limit(units: Units) -> dict[str, tuple[Array, Array]]:
    """The limit of a machine's bandwidth (elector.machines.contract.Activity)."""
    return {BANDWIDTH: (units.number("bandwidth"), most(units))}
