"""Random designs over the whole schema of a machine, its models and its workloads.

What cannot be one array (model, mode, number format ...) is a *structure*; designs are drawn
from a few structures at a time, so that a thousand of them are evaluated in a fraction of a
second. Numbers are drawn near their default, anywhere in the schema, or left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from random_designs import highest_clock, memory_rate

from elector.base.errors import InputError
from elector.base.table import Column, Field, schema
from elector.cost.pricing import Cost
from elector.describe.formats import load_model
from elector.describe.numbers import native
from elector.evaluation.applies import kinds_of
from elector.evaluation.path import evaluate
from elector.studies.screening import unreadable
from laws.subjects import Subject

Row = dict[str, Any]
Random = np.random.Generator

#: Models whose sizes are drawn, and those that are taken as they are.
GENERIC = ("encoder", "decoder")
PRESETS = ("bert-tiny", "bert-base", "gpt2", "llama-2-7b", "t5-base", "vit-base")
#: Settings that are never drawn at random: they count in another way.
APART = ("convention",)
#: A memory that holds every design, so that more than half of them are feasible.
ROOM = 1e15
#: Machines whose bandwidth and clock are limited by memory type and node.
LIMITED = ("systolic", "acceltran")
#: Longest sequence of a model with learned positions.
POSITIONS = 512
MOST_DRAWN = {"layers": 48, "hidden": 16384, "heads": 64, "head_size": 256, "feed_forward": 65536}


@dataclass(frozen=True)
class Evaluated:
    """Costs of designs; refused : (D,) designs that are no design at all (an InputError)."""

    cost: Cost
    refused: np.ndarray

    @property
    def feasible(self) -> np.ndarray:
        """(D,) designs that have costs."""
        return np.asarray(self.cost.feasible & ~self.refused)

    def value(self, name: str) -> np.ndarray:
        """(D,) a result; NaN where there is none."""
        if name not in self.cost.names():
            return np.full(self.refused.size, np.nan)
        return np.where(self.refused, np.nan, self.cost.scalar(name))

    def part(self, rows: slice) -> Evaluated:
        """Some of the designs."""
        cost, refused = self.cost, self.refused[rows]
        some = replace(
            cost,
            size=refused.size,
            scalars={name: values[rows] for name, values in cost.scalars.items()},
            groups={
                group: {name: values[rows] for name, values in parts.items()}
                for group, parts in cost.groups.items()
            },
            feasible=cost.feasible[rows],
            reason_code=cost.reason_code[rows],
        )
        return Evaluated(some, refused)


def costs(rows: Sequence[Row], level: str = "scalars") -> Evaluated:
    """Costs of the rows, in one evaluation; those that are refused cost what another one does."""
    columns, refused = table(rows), np.zeros(len(rows), dtype=bool)
    try:
        return Evaluated(evaluate(columns, len(rows), level=level, jobs=1), refused)
    except InputError:
        refused[list(unreadable(columns, len(rows)))] = True
    if refused.all():
        return Evaluated(Cost.empty(len(rows)), refused)
    shown = np.where(refused, np.flatnonzero(~refused)[0], np.arange(len(rows)))
    columns = {key: column.take(shown).compact() for key, column in columns.items()}
    return Evaluated(evaluate(columns, len(rows), level=level, jobs=1), refused)


def table(rows: Sequence[Row]) -> dict[str, Column]:
    """Rows as columns; what a row does not name is not set."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return {key: Column.of([row.get(key) for row in rows]) for key in keys}


# ---- values ----


def number(field: Field, random: Random, center: float | None = None, spread: float = 8.0) -> Any:
    """A number near `center` (the default), or anywhere in the schema one time in four."""
    low = field.low if field.low is not None else 0.0
    high = field.high if field.high is not None else 1e18
    middle = center if center else float(field.default or 0.0)
    if middle > 0 and random.random() < 0.75:
        value = middle * math.exp(random.uniform(-1, 1) * math.log(spread))
    elif random.random() < 0.1:
        value = float(random.choice([low, high]))
    else:
        least = max(low, high * 1e-9, 1.0 if field.type == "int" else 0.0)
        value = math.exp(random.uniform(math.log(least), math.log(high)))
    return bounded(field, value)


def bounded(field: Field, value: float) -> Any:
    """The nearest value that the schema allows."""
    if field.low is not None:
        value = max(value, field.low)
    if field.high is not None:
        value = min(value, field.high)
    return round(value) if field.type == "int" else float(value)


def setting(field: Field, random: Random, center: float | None = None) -> Any:
    """A value of any setting; None for a text."""
    if field.choices:
        chosen = str(random.choice(field.choices))
        return int(chosen) if field.type == "int" else chosen
    if field.type == "bool":
        return bool(random.integers(2))
    return None if field.type == "text" else number(field, random, center)


# ---- structures ----


def structure(subject: Subject, random: Random) -> Row:
    """One structure that the machine does not refuse."""
    for _ in range(100):
        row = _structure(subject, random)
        if not costs([row | sizes(row, random) | _room(subject)]).refused[0]:
            return row
    raise AssertionError(f"no structure of {subject.name} is accepted")


def _structure(subject: Subject, random: Random) -> Row:
    model = str(random.choice((*GENERIC, *GENERIC, *PRESETS)))
    training = bool(random.random() < 0.4)
    generates = _causal(model) and not training and bool(random.random() < 0.4)
    row: Row = {
        "model": model,
        "accelerator": str(random.choice(subject.presets)),
        "workload.mode": "training" if training else "inference",
        "workload.attention": str(random.choice(["unfused", "fused", "flash"])),
    }
    if generates:
        row["workload.generate"] = 2
    if not training and _reads_in_pieces(subject, model) and random.random() < 0.4:
        row["workload.prefill_chunk"] = 1
    if training:
        row["workload.activations"] = str(random.choice(["store", "recompute", "selective"]))
        row["workload.optimizer"] = str(random.choice(["adamw", "sgd", "lamb"]))
        row["workload.trainable"] = str(random.choice(["all", "all", "lora:8"]))
    if random.random() < 0.2:
        row["workload.sparsity"] = "acceltran"
    stacks = subject.machine.implementations
    if training:
        stacks = tuple(s for s in stacks if s not in subject.machine.serving_only)
    if len(stacks) > 1 and random.random() < 0.5:
        row["workload.implementation"] = str(random.choice(stacks))
    if random.random() < 0.4:
        for key in subject.formats:
            row[f"accelerator.{key}"] = setting(subject.fields[key], random)
    return row


def _causal(model: str) -> bool:
    return load_model(model).family in ("decoder", "encoder-decoder")


def _reads_in_pieces(subject: Subject, model: str) -> bool:
    """Whether a prompt may be read in pieces: a decoder's, where a unit is a GPU."""
    return load_model(model).family == "decoder" and "gpu" in kinds_of(subject.machine)


def _room(subject: Subject) -> Row:
    keys = [key for key in subject.fields if key.rpartition(".")[2] == "memory_capacity"]
    return {f"accelerator.{key}": ROOM for key in keys}


# ---- sizes ----


def sizes(structure: Mapping[str, Any], random: Random) -> Row:
    """Sizes of a workload and, for a generic model, of the model."""
    model, row = str(structure["model"]), {}
    family = load_model(model).family
    row["workload.batch"] = _around(random, (1, 2, 3, 4, 8, 32), 256)
    if family != "vision":
        row["workload.sequence_length"] = _around(random, (1, 16, 64, 128, 384), POSITIONS // 2)
    if family == "encoder-decoder":
        row["workload.target_length"] = _around(random, (1, 16, 64, 128), POSITIONS // 2)
    if structure.get("workload.generate"):
        row["workload.generate"] = _around(random, (1, 2, 9, 64), POSITIONS // 2)
    if structure.get("workload.prefill_chunk"):
        row["workload.prefill_chunk"] = _around(random, (16, 64, 128), POSITIONS // 2)
    if structure["workload.mode"] == "training":
        row["workload.gradient_accumulation"] = int(random.choice([1, 1, 2, 3, 7]))
    return row | (_model_sizes(random) if model in GENERIC else {})


def _around(random: Random, usual: tuple[int, ...], most: int) -> int:
    """A usual size, one beside it, or any."""
    kind = random.integers(3)
    if kind == 2:
        return int(math.exp(random.uniform(0, math.log(most + 0.5))))
    value = int(random.choice(usual)) + (int(random.integers(-1, 2)) if kind else 0)
    return min(max(value, 1), most)


def _model_sizes(random: Random) -> Row:
    heads = _around(random, (1, 2, 4, 8, 12, 16), MOST_DRAWN["heads"])
    size = _around(random, (16, 32, 64, 128), MOST_DRAWN["head_size"])
    row: Row = {
        "model.layers": _around(random, (1, 2, 3, 6, 12), MOST_DRAWN["layers"]),
        "model.heads": heads,
        "model.hidden": heads * size,
        "model.feed_forward": _around(random, (128, 512, 2048, 3072), MOST_DRAWN["feed_forward"]),
        "model.vocabulary": _around(random, (1, 1024, 30522, 50257), 65536),
    }
    if random.random() < 0.4:  # heads that do not fill the width
        row["model.head_size"] = size
        row["model.hidden"] = _around(random, (128, 256, 512, 768, 1024), MOST_DRAWN["hidden"])
        divisors = [d for d in range(1, heads + 1) if heads % d == 0]
        row["model.kv_heads"] = int(random.choice(divisors))
    return row


# ---- designs ----


def hardware(subject: Subject, structure: Mapping[str, Any], random: Random) -> Row:
    """Settings of the machine: none, some or all of them changed."""
    share, drawn = float(random.choice([0.0, 0.15, 0.4, 1.0])), {}
    for key, field in subject.fields.items():
        name = f"accelerator.{key}"
        fixed = name in structure or key in subject.formats or field.type == "text"
        if fixed or key.rpartition(".")[2] in APART or random.random() >= share:
            continue
        drawn[name] = setting(field, random, given(str(structure["accelerator"]), key))
    if random.random() < 0.8:
        drawn |= _room(subject)
    row = structure | drawn
    return drawn | {key: min(value, most(subject, row, key)) for key, value in _limited(drawn)}


def _limited(row: Row) -> list[tuple[str, float]]:
    """Settings that silicon limits, or what they are a part of, and their values."""
    ends = ("bandwidth", "clock", "vector_memory")
    return [(key, value) for key, value in row.items() if key.rpartition(".")[2] in ends]


def most(subject: Subject, row: Mapping[str, Any], key: str) -> float:
    """What the memory of a row delivers, what the silicon of its node reaches, or the memory that
    one is a part of; else no limit."""
    start, _, name = key.rpartition(".")
    short = key.partition(".")[2]
    names = {"bandwidth": "memory", "clock": "node", "vector_memory": "sram"}
    beside = f"{start}.{names[name]}" if name in names else ""
    other = beside.partition(".")[2]
    machine = subject.owner(short)[0]
    if other not in subject.fields or machine not in LIMITED:
        return math.inf
    value = row.get(beside) or _preset(str(row["accelerator"])).get(other)
    value = value or subject.fields[other].default
    if name == "vector_memory":
        return float(value)
    return memory_rate(str(value)) if name == "bandwidth" else highest_clock(float(value))


@cache
def _preset(name: str) -> dict[str, object]:
    from elector.evaluation.accelerators import load_accelerator

    return dict(load_accelerator(name).settings)


def given(accelerator: str, key: str) -> float | None:
    """A preset's own value of a number."""
    value = _preset(accelerator).get(key)
    return float(value) if isinstance(value, int | float) else None


def design(subject: Subject, structure: Row, random: Random) -> Row:
    """One random design of a structure."""
    return structure | hardware(subject, structure, random) | sizes(structure, random)


def designs(subject: Subject, size: int, random: Random, kinds: int = 16) -> list[Row]:
    """`size` random designs of `kinds` structures."""
    structures = [structure(subject, random) for _ in range(kinds)]
    return [design(subject, structures[random.integers(kinds)], random) for _ in range(size)]


def redrawn(subject: Subject, row: Row, key: str, random: Random) -> Any:
    """Another value of one setting of a row."""
    space, _, short = key.partition(".")
    if space == "accelerator":
        return setting(subject.fields[short], random, given(str(row["accelerator"]), short))
    return {**sizes(row, random)}.get(key, row.get(key))


#: Bytes of an element by what it is.
WIDTHS = (
    "weight",
    "activation",
    "key_value",
    "accumulator",
)
#: Further ones of a step that trains.
TRAINED = ("gradient", "state", "master", "weight_gradient")


def narrower(fmt: str, other: str, mode: str, kernels: bool) -> bool:
    """Whether nothing in `other` takes more bytes than in `fmt`, and something fewer.

    Of machines built for these formats, in a mode. kernels : where scaling numbers takes a
    kernel of its own, a format that needs scales does not count as narrower.
    """
    one, two = native(fmt, mode), native(other, mode)
    names = (*WIDTHS, *TRAINED) if mode == "training" else WIDTHS
    pairs = [(getattr(one, n), getattr(two, n)) for n in names]
    scales = kernels and two.quantises and not one.quantises
    if mode == "training" and not two.products.trains:
        return False
    return all(b <= a for a, b in pairs) and any(b < a for a, b in pairs) and not scales


def field_of(key: str, subject: Subject) -> Field:
    """The schema's field of a dotted key."""
    space, _, short = key.partition(".")
    return subject.fields[short] if space == "accelerator" else schema(space)[short]
