"""No number of a machine makes a design faster for nothing: an optimiser would take it.

A number that does so is priced, limited by what was published, or not for a search to choose
(`fixed` in its schema).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elector.base.table import NEUTRAL, Field
from elector.evaluation.accelerators import load_accelerator
from elector.machines import MACHINES
from laws.drawing import costs

WORKLOADS: tuple[dict[str, Any], ...] = (
    {"model": "bert-base"},
    {"model": "bert-base", "workload.mode": "training", "workload.batch": 4},
    {"model": "gpt2", "workload.generate": 20},
    {"model": "bert-tiny", "workload.batch": 16},
    {"model": "bert-large", "workload.sequence_length": 512, "workload.batch": 2},
)
FACTORS = (1 / 16, 1 / 4, 1 / 2, 2, 4, 16)
RESULTS = ("latency_s", "energy_j", "area_mm2")
#: Numbers whose bound in the schema is the best that was published; nodes cost money.
BOUNDED = {"reram": {"read_pulse", "write_pulse"}}
NODE = "node"


def others(field: Field, value: Any) -> list[Any]:
    """Values around one, within the schema."""
    if field.type not in ("int", "float"):
        return []
    scaled = [(value or field.default or 1.0) * factor for factor in FACTORS]
    if field.low is not None:
        scaled = [max(v, field.low) for v in scaled]
    if field.high is not None:
        scaled = [min(v, field.high) for v in scaled]
    whole = [round(v) if field.type == "int" else v for v in scaled]
    return [v for v in dict.fromkeys(whole) if v != value]


def free(accelerator: str, keys: list[str]) -> set[str]:
    """Keys of which a value is faster somewhere, and nowhere slower, larger or dearer."""
    loaded = load_accelerator(accelerator)
    fields, rows = loaded.machine.fields, [("", None)]
    for key in keys:
        rows += [
            (key, v) for v in others(fields[key], loaded.settings.get(key, fields[key].default))
        ]
    faster, nowhere_worse = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    for workload in WORKLOADS:
        designs = [
            {"accelerator": accelerator, **workload, **({f"accelerator.{k}": v} if k else {})}
            for k, v in rows
        ]
        evaluated = costs(designs)
        for result in RESULTS:
            values = np.where(evaluated.feasible, evaluated.value(result), np.inf)
            ratio = values / values[0] if np.isfinite(values[0]) else np.ones(len(rows))
            nowhere_worse &= ratio <= 1.0 + 1e-9
            if result == "latency_s":
                faster |= ratio < 1.0 - 1e-6
    return {rows[i][0] for i in np.flatnonzero(faster & nowhere_worse)}


@pytest.mark.parametrize(
    "accelerator", ["systolic", "tpu-v4i", "acceltran-edge", "acceltran-server", "reram", "gpu"]
)
def test_nothing_is_faster_for_nothing(accelerator: str) -> None:
    machine = load_accelerator(accelerator).machine
    neutral = [key for key, field in machine.fields.items() if field.accuracy == NEUTRAL]
    asked = [key for key in neutral if key != NODE and not machine.fields[key].fixed]
    assert free(accelerator, asked) <= BOUNDED.get(machine.name, set())


def test_what_is_not_to_be_searched_would_be_a_gain() -> None:
    """The scan sees what the schema forbids: rates and a bandwidth that a board does not have."""
    fixed = [key for key, field in MACHINES["gpu"].fields.items() if field.fixed]
    assert {"bf16_rate", "bandwidth", "boost_clock", "host_speed"} <= free("gpu", fixed)
