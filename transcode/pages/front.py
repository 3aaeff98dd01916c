"""The designs of a front as columns of a page: objectives, settings, and what each is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elector.base import quantity
from elector.base.page import Columns
from elector.cost.results import ENDS, registry
from elector.evaluation.settings import setting_shown
from elector.studies.sweep import SweepResult, run_sweep
from elector.studies.sweep_table import OWN, Kinds, table_of
from transcode.plot.layers import is_of_layer
from transcode.plot.picture import Axis, Picture

#: Most designs of a page: a larger front is thinned, evenly spread over it.
MOST = 20_000
#: Most settings of a design that a page holds; the others are in front.csv.
MOST_SETTINGS = 30
#: Most axes of settings among the parallel coordinates.
PARALLEL = 6
#: What stands for a setting that a design does not have, as of another machine.
UNSET = "not set"
#: Breakdowns that a design is shown with: result, and the total it is a share of.
GROUPS = ("latency_by_kind_s", "energy_by_part_j", "provenance", "area_by_part_mm2")

Table = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Breakdown:
    """Shares of one group of results: title, names of the parts, and the columns they lie in."""

    title: str
    parts: tuple[str, ...]
    columns: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        """For the script."""
        return {"title": self.title, "parts": self.parts, "columns": self.columns, "shown": ""}


def thinned(size: int, keep: Sequence[int]) -> np.ndarray:
    """The rows of a front of `size` designs that a page holds: all, or MOST of them, every so
    manieth of the sorted front, and those of `keep`."""
    if size <= MOST:
        return np.arange(size)
    some = np.linspace(0, size - 1, MOST).astype(np.intp)
    return np.unique(np.concatenate([some, np.array(keep, dtype=np.intp)]))


def take(columns: Table, rows: np.ndarray) -> dict[str, list[str]]:
    """The table at some rows.

    rows : (N,) places.
    """
    return {name: [texts[i] for i in rows] for name, texts in columns.items()}


def axes_told(picture: Picture, columns: Columns, table: Table) -> list[dict[str, Any]]:
    """The objectives: their numbers, what people read, and how an axis shows them."""
    told = []
    for axis in picture.axes:
        assert axis.metric is not None
        values = np.array(table[axis.name], dtype=float)
        columns.numbers(f"raw:{axis.name}", values)
        columns.texts(f"shown:{axis.name}", [shown(axis, value) for value in values.tolist()])
        ends = [f"{axis.name}_{end}" for end in ENDS]
        between = f"between:{axis.name}" if picture.intervals and ends[0] in table else ""
        if between:
            low, high = (np.array(table[name], dtype=float).tolist() for name in ends)
            pairs = zip(low, high, strict=True)
            columns.texts(between, [f"{shown(axis, a)} to {shown(axis, b)}" for a, b in pairs])
        told.append(
            {
                "name": axis.name,
                "between": between,
                "raw": f"raw:{axis.name}",
                "shown": f"shown:{axis.name}",
                "label": axis.label.split(" [")[0].rstrip("↑↓ \u00a0"),
                "title": axis.label.replace("\u00a0", " "),
                "size": axis.size,
                "log": axis.log,
                "maximise": axis.maximise,
                "ends": [shown(axis, float(values.min())), shown(axis, float(values.max()))],
            }
        )
    return told


def shown(axis: Axis, value: float) -> str:
    """A value of an objective with its unit."""
    if axis.unit == "%" and axis.metric is not None:
        return f"{value * axis.metric.factor:.1f} %"
    if axis.metric is None:
        return quantity.plain(value)
    return quantity.pretty(axis.metric.show(value))


def settings_told(table: Table, columns: Columns) -> list[dict[str, Any]]:
    """The settings that differ, as few texts and codes; those of layers are left to front.csv."""
    kinds = Kinds(list(table))
    names = [
        name
        for name in table
        if name != "id"
        and not OWN.fullmatch(name)
        and kinds.is_setting(name)
        and not is_of_layer(name)
        and len(set(table[name])) > 1
    ][:MOST_SETTINGS]
    told: list[dict[str, Any]] = []
    for name in names:
        texts = list(table[name])
        distinct = list(dict.fromkeys(texts))
        columns.coded(name, [setting_shown(name, text) for text in texts])
        words = list(dict.fromkeys(setting_shown(name, text) for text in distinct))
        raws = {setting_shown(name, text): text for text in distinct}
        order = sorted(words, key=lambda word: _order(raws[word]))
        told.append(
            {
                "name": name,
                "label": name.removeprefix("model.").removeprefix("accelerator."),
                "ranks": [order.index(word) for word in words],
                "raws": [raws[word] for word in words],
                "ends": [order[0] or UNSET, order[-1] or UNSET],
            }
        )
    shown_words = [
        " ".join(
            f"{entry['label']} {setting_shown(entry['name'], table[entry['name']][i])}"
            for entry in told
        )
        for i in range(len(table["id"]))
    ]
    columns.texts("settings", shown_words)
    return told


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by size, then words; what is not set comes first."""
    try:
        return (1, float(text), "")
    except ValueError:
        return (2 if text else 0, 0.0, text)


def breakdowns(table: Table, columns: Columns) -> tuple[list[Breakdown], dict[str, np.ndarray]]:
    """Shares of time, energy, evidence and area of every design, in each workload.

    Returns them, and the shares of assumed energy by workload (D,). Evaluated again, all designs
    as one, as `elector sweep front.csv` does; empty where a row cannot be read.
    """
    kinds = Kinds(list(table))
    cells: dict[str, list[str | int | float | bool | None]] = {
        name: [text or None for text in texts]
        for name, texts in table.items()
        if not kinds.is_result(name)
    }
    result = run_sweep(
        table_of(cells | {"feasible": ["true"] * len(table["id"])}, len(table["id"]))
    )
    if result.errors:
        return [], {}
    tables: list[Breakdown] = []
    assumed: dict[str, np.ndarray] = {}
    for group in GROUPS:
        for workload in kinds.workloads:
            own = _start(result.header, group, workload, workload == kinds.workloads[0])
            shares = _shares(result, own)
            if not shares:
                continue
            for part, share in shares.items():
                columns.numbers(f"share:{own}{part}", np.rint(share * 65535).astype(np.uint16))
            word = f"{workload}: " if workload and own.startswith(workload) else ""
            label = registry().get(group).label
            names = tuple(f"share:{own}{part}" for part in shares)
            tables.append(Breakdown(f"{word}{label}", tuple(shares), names))
            if group == "provenance":
                none = np.zeros(len(result.records))
                assumed[workload] = shares.get("assumed", none)
    return tables, assumed


def _start(header: Sequence[str], group: str, workload: str, first: bool) -> str:
    """What the columns of a group begin with in one workload; of the chip, in the first one."""
    own = f"{workload}.{group}." if workload else f"{group}."
    there = any(name.startswith(own) for name in header)
    return own if there or not first else f"{group}."


def _shares(result: SweepResult, own: str) -> dict[str, np.ndarray]:
    """Part -> (D,) share of the whole, of the columns that begin so; without what is nowhere."""
    places = {n.removeprefix(own): i for i, n in enumerate(result.header) if n.startswith(own)}
    if not places:
        return {}
    values = np.array([[r[i] or 0.0 for i in places.values()] for r in result.records], float)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-300)
    pairs = zip(places, shares.T, strict=True)
    return {part: share for part, share in pairs if share.max() > 0}
