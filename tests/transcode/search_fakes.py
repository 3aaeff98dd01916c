"""A small space and a simulator of a few lines, so that the search is tested by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from elector.base.table import Column


@dataclass(frozen=True)
class FakeCost:
    """Costs as `elector.Cost` has them."""

    scalars: dict[str, np.ndarray]
    feasible: np.ndarray
    reasons: tuple[str, ...]
    reason_code: np.ndarray

    def scalar(self, name: str) -> np.ndarray:
        return self.scalars[name]

    def names(self) -> list[str]:
        return list(self.scalars)


def number(columns: Mapping[str, Column], name: str, default: float) -> np.ndarray:
    """(D,) values of a setting, `default` where it is not set."""
    size = len(next(iter(columns.values())))
    if name not in columns:
        return np.full(size, default)
    return columns[name].map(lambda v: default if v is None else float(v), dtype=float)


def fake(columns: Mapping[str, Column], size: int) -> FakeCost:
    """Latency, energy and area that pull in different directions; too little memory fails."""
    assert all(len(column) == size for column in columns.values())
    work = number(columns, "model.layers", 2) * number(columns, "model.hidden", 128) ** 1.5
    if "workload.mode" in columns:
        work = work * columns["workload.mode"].map(lambda v: 3.0 if v == "training" else 1.0)
    rows, sram = number(columns, "accelerator.rows", 16), number(columns, "accelerator.sram", 1e6)
    flow = np.array(
        [
            {"ws": 1.0, "os": 1.1, "is": 0.9}.get(v, 1.0)
            for v in columns["accelerator.dataflow"].values
        ]
    )
    flow = flow[columns["accelerator.dataflow"].codes]
    latency = work / rows / (1.0 + np.log10(sram / 1e6)) * 1e-6 * flow
    energy = work * 1e-9 * (1.0 + sram / 1e7) / flow + rows * 1e-9
    area = rows**1.5 / 10.0 + sram / 1e6
    feasible = ~((number(columns, "model.hidden", 128) >= 512) & (sram < 2e6))
    lost = np.where(feasible, 1.0, np.nan)
    return FakeCost(
        {"latency_s": latency * lost, "energy_j": energy * lost, "area_mm2": area},
        feasible,
        ("main memory: needs {needed}, has {available}",),
        np.where(feasible, -1, 0),
    )


SMALL: dict[str, Any] = {
    "name": "small",
    "model": {
        "base": "encoder",
        "layers": [2, 4, 6, 12],
        "hidden": [128, 256, 512],
        "heads": [2, 4, 12],
        "feed_forward": {"multiple_of": "hidden", "choices": [2, 4]},
    },
    "accelerator": {
        "base": "systolic",
        "rows": [16, 32, 64, 128],
        "dataflow": ["ws", "os", "is"],
        "sram": {"low": "1 MB", "high": "32 MB", "log": True, "steps": 6},
    },
    "workload": {"batch": 1},
    "where": ["model.hidden % model.heads == 0"],
    "objectives": {"latency_s": "min", "energy_j": "min"},
    "constraints": ["area_mm2 <= 120"],
}
