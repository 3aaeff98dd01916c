"""The registry of results: what each figure is called, its unit, and how it is shown.

One row of data/results.csv and one formula make a result. JSON, tables, Python, explanations,
sweeps, validation, spaces, plots and the reference page read the row; the formula stands in
elector.evaluation.formulas, or in a machine's `extra`.

A result of one workload of several has that workload's name in front (serve.latency_s), one that
several units of a hybrid report that of the unit (tier.weight_copies), a part of a group its own
behind (memory_bytes.weights).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elector.base import quantity, units
from elector.base.table import DATA, read_csv

#: Whom a result is of: those of the chip and the model are the same for all workloads.
OF = ("workload", "chip", "model", "run", "accuracy")
#: When a result is there: for infeasible designs too | only for feasible ones | where tokens are
#: generated | on machines whose weights lie in cells | on machines that say so | where a space
#: makes up a run | where an accuracy source answers.
EXISTS = ("always", "feasible", "generate", "cells", "machine", "run", "accuracy")
BETTER = ("up", "down", "")


#: Unit of what is true or false.
FLAG = "flag"
#: Ends of the 90 % interval of a result: NAME_low, NAME_high.
ENDS = ("low", "high")


@dataclass(frozen=True)
class Metric:
    """One kind of result, a row of data/results.csv.

    name : as in the JSON of `elector simulate`, ending in the unit where there is one.
    unit : of the value, in the words of elector.base.units; "1" for a count or a ratio.
    shown : unit that people read it in ("%" for a share of one).
    axis : what a group is divided by (part, kind, phase, class, evidence); "" for one number.
    of : workload | chip | model | run | accuracy. exists : when it is there (EXISTS).
    better : up | down | "" where neither is. label : what tables and plots call it.
    formula : from other results, in words; "" where there is no short one.
    """

    name: str
    unit: str
    shown: str
    axis: str
    of: str
    exists: str
    better: str
    label: str
    formula: str
    description: str

    @functools.cached_property
    def factor(self) -> float:
        """What a value is multiplied by to be in the unit it is shown in."""
        return 1.0 if self.shown == self.unit else units.convert(f"1 {self.unit}", self.shown)

    @property
    def flag(self) -> bool:
        """Whether it is true or false."""
        return self.unit == FLAG

    @property
    def shared(self) -> bool:
        """Whether it is of the chip or the model, whatever the workload."""
        return self.of in ("chip", "model")

    def plain(self, value: float) -> float | int | bool | None:
        """As in JSON: None for what is not a number, whole numbers without a point."""
        if math.isnan(value):
            return None
        if self.flag:
            return bool(value)
        return int(value) if value.is_integer() and abs(value) >= 1 else value

    def show(self, value: float) -> str:
        """`value` as people read it."""
        if self.flag:
            return "yes" if value else "no"
        return quantity.show(value * self.factor, self.shown)


class Registry:
    """Metrics by name, in the order they are shown in."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = {metric.name: metric for metric in metrics}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics.values())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    @property
    def scalars(self) -> tuple[Metric, ...]:
        """Those of one number."""
        return tuple(m for m in self if not m.axis)

    @property
    def groups(self) -> tuple[Metric, ...]:
        """Those divided by an axis."""
        return tuple(m for m in self if m.axis)

    def find(self, name: str) -> Metric | None:
        """The metric a dotted name stands for: NAME, NAME.part of a group, either with
        WORKLOAD. in front."""
        if name in self.metrics:
            return self.metrics[name]
        words = name.split(".")
        for start in range(min(2, len(words))):
            metric, rest = self.metrics.get(words[start]), words[start + 1 :]
            if metric is not None and (metric.axis or not rest):
                return metric
        return None

    def bounded(self, name: str) -> str:
        """The scalar that `name` is an end of the interval of, dotted or not; "" for none."""
        stem, _, end = name.rpartition("_")
        metric = self.find(stem) if end in ENDS else None
        return stem if metric is not None and not metric.axis else ""

    def get(self, name: str) -> Metric:
        """As `find`; a plain number without a unit where the name is not registered, as what
        an evaluator of the user's own may give."""
        label = name.replace("_", " ").replace(".", " ")
        return self.find(name) or Metric(
            name, "1", "1", "", "workload", "feasible", "", label, "", ""
        )

    def label(self, name: str) -> str:
        """What people call it: `serve latency`, `memory of weights`."""
        metric, words = self.find(name), name.split(".")
        if metric is None:
            return self.get(name).label
        at = words.index(metric.name)
        part = words[at + 1 :]
        group = f" of {' '.join(part)}" if part else ""
        stem = metric.label.partition(" by ")[0] if part else metric.label
        return " ".join([*words[:at], stem]) + group

    def shown(self, names: Iterable[str]) -> list[tuple[str, Metric]]:
        """The scalars among these names in the order they are shown in; those of which several
        units of a hybrid report one each have the unit's name in front."""
        known = list(names)
        return [
            (name, metric)
            for metric in self.scalars
            for name in known
            if name == metric.name or name.endswith(f".{metric.name}")
        ]

    def show(self, name: str, value: float) -> str:
        """A result as people read it.

        value : in the unit of the result.
        """
        return self.get(name).show(value)

    def extended(self, metrics: Iterable[Metric]) -> Registry:
        """The registry with further metrics."""
        return Registry([*self, *metrics])


def read(path: Path) -> tuple[Metric, ...]:
    """The rows of a table of results, which ships with the program."""
    names, lines = read_csv(path)
    expected = list(Metric.__dataclass_fields__)
    assert names == expected, f"columns of {path.name}: {names}"
    metrics = tuple(Metric(*cells) for _, cells in lines)
    for metric in metrics:
        for value, allowed in ((metric.of, OF), (metric.exists, EXISTS), (metric.better, BETTER)):
            assert value in allowed, f"{path.name}: {metric.name}: {value}"
    return metrics


@functools.cache
def registry() -> Registry:
    """What `elector simulate` knows, from data/results.csv."""
    return Registry(read(DATA / "results.csv"))
