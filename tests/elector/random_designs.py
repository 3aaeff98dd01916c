"""Random tables of designs for any machine, from its schema alone."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from elector.base.table import Field, schema
from elector.evaluation.accelerators import load_accelerator
from elector.machines import MACHINES, memories
from elector.technology import Technology

Table = dict[str, list[Any]]

#: Settings whose values a random table must not mix: they need company of their own.
APART = ("convention",)
MODELS = ("encoder", "bert-tiny", "gpt2", "t5-base", "vit-base")


def fields_of(machine: str) -> dict[str, Field]:
    """Settings of a machine, or of the units and links of a hybrid."""
    return schema(machine) if machine in MACHINES else load_accelerator(machine).machine.fields


def formats_of(machine: str) -> tuple[str, ...]:
    """Settings that name a number format, and with it the structure of a design."""
    return ("datapath",) if machine in MACHINES else load_accelerator(machine).machine.natives


def around(field: Field, random: np.random.Generator, spread: float = 8.0) -> Any:
    """A value near the default: a choice, or a number within a factor of `spread` of it."""
    if field.choices:
        chosen = str(random.choice(field.choices))
        return int(chosen) if field.type == "int" else chosen
    if field.type == "bool":
        return bool(random.integers(2))
    if field.default is None or field.type == "text":
        return None
    low = -math.inf if field.low is None else field.low
    high = math.inf if field.high is None else field.high
    center = float(field.default)
    value = center * math.exp(random.uniform(-1, 1) * math.log(spread))
    value = min(max(value, low), high)
    if field.type == "int":
        return int(min(max(round(value), low), high))
    if field.unit == "1" and high <= 1.0 and center == 0.0:
        return float(random.uniform(low, high))
    return value


def hardware(machine: str, random: np.random.Generator, fixed: dict[str, Any]) -> dict[str, Any]:
    """Settings of one random design."""
    drawn = {}
    for key, field in fields_of(machine).items():
        if key.rpartition(".")[2] in APART or field.type == "text":
            continue
        drawn[f"accelerator.{key}"] = around(field, random)
    return drawn | fixed | limited(drawn | fixed)


def limited(settings: dict[str, Any]) -> dict[str, Any]:
    """Bandwidths and clocks of settings brought within what their memories and nodes reach."""
    capped = {}
    for key, value in settings.items():
        start, _, name = key.rpartition(".")
        if name == "bandwidth" and f"{start}.memory" in settings:
            most = memory_rate(settings[f"{start}.memory"])
            capped[key] = min(value, most)
        if name == "clock" and f"{start}.node" in settings:
            capped[key] = min(value, highest_clock(settings[f"{start}.node"]))
    return capped


def memory_rate(setting: str) -> float:
    """Bytes a second that a type of main memory delivers at most."""
    kinds = memories.known()
    kind = kinds.get(setting) or kinds[setting.partition("_")[0]]
    return kind.most(setting)


@cache
def highest_clock(node: float) -> float:
    """Clock of the fastest published silicon of a node [Hz]."""
    return Technology.load().price("logic", "clock", node).value


def designs(machine: str, size: int, seed: int, **fixed: Any) -> Table:
    """`size` rows: several models and modes on random hardware with room for all of them.

    Some twenty structures (what cannot be one array: model, mode, attention, number format)
    share the rows, so that a table is evaluated in as many pieces.
    """
    random = np.random.default_rng(seed)
    keys = {
        f"accelerator.{k.replace('accelerator__', '')}": v
        for k, v in fixed.items()
        if k.startswith("accelerator__")
    }
    rest = {k.replace("__", "."): v for k, v in fixed.items() if not k.startswith("accelerator__")}
    kinds = [_structure(machine, i, random) for i in range(20)]
    capacities = [k for k in fields_of(machine) if k.rpartition(".")[2] == "memory_capacity"]
    rows = []
    for _ in range(size):
        kind = kinds[random.integers(len(kinds))]
        room = {f"accelerator.{key}": 1e15 for key in capacities}
        row = (
            hardware(machine, random, room | keys)
            | kind
            | {
                "model.layers": int(random.choice([1, 2, 3, 12]))
                if kind["model"] == "encoder"
                else None,
                "workload.batch": int(random.choice([1, 2, 5, 16])),
                "workload.sequence_length": int(random.choice([1, 16, 100, 128, 384])),
                "workload.gradient_accumulation": int(random.choice([1, 1, 3])),
            }
        )
        if row["workload.generate"]:
            row["workload.generate"] = int(random.choice([1, 2, 9]))
        rows.append(row | rest)
    return {key: [row[key] for row in rows] for key in rows[0]}


def _structure(machine: str, number: int, random: np.random.Generator) -> dict[str, Any]:
    model, training = MODELS[number % len(MODELS)], bool(random.integers(2))
    generates = model in ("gpt2", "t5-base") and not training and random.integers(2)
    return {
        "model": model,
        "accelerator": machine,
        "workload.mode": "training" if training else "inference",
        "workload.attention": str(random.choice(["unfused", "fused", "flash"])),
        "workload.activations": str(random.choice(["store", "recompute", "selective"])),
        "workload.generate": 1 if generates else 0,
        **{
            f"accelerator.{key}": around(fields_of(machine)[key], random)
            for key in formats_of(machine)
        },
    }
