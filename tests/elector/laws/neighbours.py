"""Neighbours: a design, and one that has more of one thing and is otherwise the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elector.describe.formats import load_model
from elector.describe.numbers import formats, native
from elector.machines.gpu.kernels import constants
from elector.machines.gpu.stacks import stacks
from laws.bounds import granule
from laws.drawing import (
    GENERIC,
    POSITIONS,
    Random,
    Row,
    bounded,
    field_of,
    given,
    most,
    narrower,
    number,
)
from laws.subjects import Subject

#: More of these is more work.
WORK = (
    "workload.batch",
    "workload.sequence_length",
    "workload.target_length",
    "workload.generate",
    "workload.gradient_accumulation",
    "model.layers",
    "model.hidden",
    "model.heads",
    "model.kv_heads",
    "model.head_size",
    "model.feed_forward",
    "model.vocabulary",
)


#: Sizes that are the length of a row of some operand.
VECTORS = (
    "workload.sequence_length",
    "workload.target_length",
    "workload.generate",
    "model.hidden",
    "model.head_size",
    "model.feed_forward",
    "model.vocabulary",
)


@dataclass(frozen=True)
class Pair:
    """A design, its neighbour, and the setting in which they differ."""

    axis: str
    before: Row
    after: Row


def steps(value: float, whole: bool, every: float, random: Random) -> float:
    """A larger value: the next one, one a few further, or a factor; a multiple of a granule."""
    if whole:
        kind = random.integers(4)
        near = value + (1 if kind < 2 else int(random.integers(1, 65)))
        more = math.ceil(value * random.choice([1.25, 2, 4])) if kind == 3 else near
        return math.ceil(max(more, value + 1) / every) * every
    return value * float(random.choice([1.0001, 1.02, 1.3, 2.0, 16.0]))


def more_work(subject: Subject, row: Row, axis: str, random: Random) -> Pair | None:
    """A neighbour with more work; None where the axis means nothing for the row."""
    value = row.get(axis)
    if not value:  # not set, or left to the machine (0)
        return None
    if (
        axis in ("model.heads", "model.head_size", "model.kv_heads")
        and "model.head_size" not in row
    ):
        return None
    field = field_of(axis, subject)
    every = granule(subject, axis)
    if axis == "model.hidden" and "model.head_size" not in row:
        every = math.lcm(int(every), int(row["model.heads"]))
    more = steps(float(value), True, every, random)
    after = row | {axis: bounded(field, more)}
    if axis == "model.heads":  # whole groups of queries
        groups = int(row.get("model.kv_heads", 1))
        after[axis] = math.ceil(more / groups) * groups
    if axis == "model.kv_heads":
        larger = [k for k in range(int(value) + 1, row["model.heads"] + 1)]
        fitting = [k for k in larger if row["model.heads"] % k == 0]
        if not fitting:
            return None
        after[axis] = int(random.choice(fitting))
    return Pair(axis, row, after) if _fits(after) and after[axis] > value else None


def _fits(row: Row) -> bool:
    """Whether a learned position table is long enough."""
    model = load_model(str(row["model"]))
    if model.position_kind != "learned" or model.family == "vision":
        return True
    return row.get("workload.sequence_length", 1) + row.get("workload.generate", 0) <= POSITIONS


def work_axes(subject: Subject) -> tuple[str, ...]:
    """Axes of more work: the same for every machine."""
    return WORK


def hardware_axes(subject: Subject) -> tuple[str, ...]:
    """Settings of which more, or less, is never slower."""
    return tuple(f"accelerator.{k}" for k in _settings(subject, ("more", "less")))


def order_axes(subject: Subject) -> tuple[str, ...]:
    """Settings whose choices stand in an order."""
    return tuple(f"accelerator.{k}" for k in _settings(subject, ("order",)))


def format_axes(subject: Subject) -> tuple[str, ...]:
    """Settings that name a number format."""
    return tuple(f"accelerator.{k}" for k in _settings(subject, ("format",)))


def size_axes(subject: Subject) -> tuple[str, ...]:
    """Settings of which more takes more area."""
    keys = _settings(subject, ("more", "size", "side"))
    return tuple(f"accelerator.{k}" for k in keys)


def _settings(subject: Subject, wanted: Iterable[str]) -> list[str]:
    return [key for key in subject.fields if subject.role(key).role in wanted]


def larger(subject: Subject, row: Row, axis: str, random: Random) -> Pair | None:
    """A neighbour with a larger number of one setting of the machine."""
    field = field_of(axis, subject)
    value = _number(subject, row, axis, random)
    if field.type == "int" and field.choices:
        bigger = [int(c) for c in field.choices if int(c) > value]
        more: Any = int(random.choice(bigger)) if bigger else value
    else:
        every = granule(subject, axis)
        more = bounded(field, steps(float(value), field.type == "int", every, random))
        more = min(more, most(subject, row, axis))
    if not more > value:
        return None
    return Pair(axis, row | {axis: value}, row | {axis: more} | _with_it(row, axis, more / value))


def _with_it(row: Row, axis: str, times: float) -> Row:
    """What every copy of a unit has for itself: an array the accumulators under its columns."""
    start, _, name = axis.rpartition(".")
    if name != "arrays":
        return {}
    key = f"{start}.accumulators"
    own = row[key] if key in row else given(str(row["accelerator"]), key.partition(".")[2])
    return {key: own * times} if own else {}


def better(subject: Subject, row: Row, axis: str, random: Random) -> Pair | None:
    """A neighbour that may not be slower: larger, or smaller where less is better."""
    pair = larger(subject, row, axis, random)
    if pair is None or subject.role(axis.partition(".")[2]).role == "more":
        return pair
    return Pair(axis, pair.after, pair.before)


def permitted(subject: Subject, row: Row, axis: str, random: Random) -> Pair | None:
    """A neighbour with the faster of two choices that stand in an order."""
    order = subject.role(axis.partition(".")[2]).order
    i = int(random.integers(len(order) - 1))
    j = int(random.integers(i + 1, len(order)))
    return Pair(axis, row | {axis: order[i]}, row | {axis: order[j]})


def narrowed(subject: Subject, row: Row, axis: str, random: Random) -> Pair | None:
    """A neighbour whose machine is built for a narrower number format."""
    choices = field_of(axis, subject).choices
    mode, kernels = str(row["workload.mode"]), subject.owner(axis.partition(".")[2])[0] == "gpu"
    pairs = [(a, b) for a in choices for b in choices if narrower(a, b, mode, kernels)]
    if kernels:
        pairs = [pair for pair in pairs if not _converted(row, *pair)]
    if not pairs:
        return None
    first, second = pairs[random.integers(len(pairs))]
    row = row | _rates(subject, row, axis, first, second)
    if kernels and formats()[first].significand <= constants().tensor_significand:
        row = row | _whole_vectors(subject, row)
    return Pair(axis, row | {axis: first}, row | {axis: second})


def _converted(row: Row, first: str, second: str) -> bool:
    """Whether the stack converts numbers by kernels for products in `second`, not in `first`."""
    stack = stacks().get(str(row.get("workload.implementation")))
    if stack is None:  # auto: none that does
        return False
    kept = stack["kept.bytes"]
    widths = [native(name, str(row["workload.mode"])).activations.width for name in (first, second)]
    return widths[1] < kept <= widths[0]


def _whole_vectors(subject: Subject, row: Row) -> Row:
    """Sizes whose rows begin where tensor cores load whole vectors, in every format.

    Between two formats that both run on tensor cores, rows of 4 bytes an element may begin there
    where those of 2 do not.
    """
    sizes = {}
    for key in VECTORS:
        if row.get(key):
            every = int(granule(subject, key))
            if key == "model.hidden" and "model.head_size" not in row and "model.heads" in row:
                every *= int(row["model.heads"])
            sizes[key] = max(int(row[key]) // every, 1) * every
    return sizes


def _rates(subject: Subject, row: Row, axis: str, first: str, second: str) -> Row:
    """A machine that is given a rate for each format is no slower in the narrower one."""
    start = axis.rpartition(".")[0]
    names = [f"{start}.{fmt}_rate" for fmt in (first, second)]
    if names[0].partition(".")[2] not in subject.fields:
        return {}
    known = [_rate(subject, row, name) for name in names]
    return {names[0]: known[0] or 1e12, names[1]: max(known[0] or 1e12, known[1])}


def _rate(subject: Subject, row: Row, name: str) -> float:
    short = name.partition(".")[2]
    default = given(str(row["accelerator"]), short) or subject.fields[short].default or 0.0
    return float(row.get(name, default))


def _number(subject: Subject, row: Row, axis: str, random: Random) -> Any:
    """The row's value of a setting; one drawn where it is left to the machine (0) or unset."""
    field, given = field_of(axis, subject), row.get(axis)
    if isinstance(given, int | float) and given > 0:
        return given
    if field.type == "int" and field.choices:
        return int(random.choice(field.choices))
    drawn = number(field, random)
    return drawn if drawn > 0 else bounded(field, max(1.0, (field.high or 1.0) * 1e-6))


def usable(row: Row) -> bool:
    """Whether a generic row names all sizes that its structure needs."""
    return row["model"] not in GENERIC or "model.heads" in row
