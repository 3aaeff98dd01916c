"""What of a front is drawn, as arrays and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.base.quantity import axis_scale, plain, pretty, show
from elector.base.units import known as known_unit
from elector.cost.results import ENDS, Metric
from elector.evaluation.settings import field_of
from transcode.plot.layers import is_of_layer, summary
from transcode.space import registry

MAX_AXES = 5
MAX_KINDS = 6
LOG_FROM = 10.0  # an axis whose largest value is so many times its smallest is logarithmic
#: What the shapes show, first found: where several machines are searched, which one it is.
CATEGORIES = ("accelerator", "model", "dataflow", "memory")


@dataclass(frozen=True)
class Axis:
    """One objective as drawn. values : (D,) float, in the unit that `label` names.

    unit : as the label has it. size : what a value is multiplied by to be in the unit of
    `metric` again, which writes single figures.
    """

    name: str
    label: str
    unit: str
    values: np.ndarray
    maximise: bool
    log: bool
    size: float = 1.0
    metric: Metric | None = None

    @property
    def cost(self) -> np.ndarray:
        """(D,) to be minimised."""
        return -self.values if self.maximise else self.values


@dataclass(frozen=True)
class Mark:
    """A design that is described: what it is best at, its results, its settings."""

    index: int
    title: str
    results: str
    settings: str


@dataclass(frozen=True)
class Picture:
    """Everything `draw` needs. axes : accuracy last. std : (D,) standard deviation of it, or
    None. bars : objective -> (2, D) from the drawn value down and up. intervals : whether these are
    of 90 %; otherwise one standard deviation of an accuracy. kind : (D,) index into kinds, the
    shapes. colour : index of the axis that colours the points.
    """

    title: str
    axes: tuple[Axis, ...]
    std: np.ndarray | None
    kinds: tuple[str, ...]
    kind: np.ndarray
    kind_title: str
    colour: int
    marks: tuple[Mark, ...]
    caption: str
    bars: Mapping[str, np.ndarray] = field(default_factory=dict)
    intervals: bool = False


def info(
    columns: Mapping[str, Sequence[str]],
    front: Mapping[str, Any],
    evaluated: int | None = None,
    notes: Sequence[str] = (),
) -> Picture:
    """Arrays of a front.

    Parameters
    ----------
    columns : front.csv, name -> texts (D,). Designs that are not feasible are left out.
    front : front.json: space, seed, objectives.
    evaluated : designs the run evaluated, where known.
    notes : sentences for the caption.
    """
    columns = _feasible(columns)
    size = len(next(iter(columns.values()), ()))
    if size == 0:
        raise InputError("the front has no design to draw", file="front.csv")
    if not front.get("objectives"):
        raise InputError("names no objective", file="front.json", field="objectives")
    objectives = sorted(front["objectives"], key=lambda o: is_accuracy(o["name"]))
    missing = [o["name"] for o in objectives if o["name"] not in columns]
    if missing:
        raise InputError("an objective has no column", file="front.csv", field=missing[0])
    shown = (
        [*objectives[: MAX_AXES - 1], objectives[-1]] if len(objectives) > MAX_AXES else objectives
    )
    axes = tuple(axis_of(o, _numbers(columns[o["name"]], o["name"])) for o in shown)
    deviation = f"{quantity_of(axes[-1].name)}_std"
    known = is_accuracy(axes[-1].name) and deviation in columns
    std = np.abs(_numbers(columns[deviation], deviation)) if known else None
    kind_title, kinds, kind = _kinds(columns, size)
    text = _caption(front, size, evaluated, notes, known, len(objectives) - len(shown))
    intervals = _intervals(axes, columns)
    objectives_shown = _listed([label_of(axis.name) for axis in axes])
    return Picture(
        title=f"{front.get('space', 'front')}: front of {objectives_shown}",
        axes=axes,
        std=std,
        kinds=kinds,
        kind=kind,
        kind_title=kind_title,
        colour=len(axes) - 1,
        marks=_marks(axes, columns, std),
        caption=text,
        bars=intervals or _bars(axes[-1], columns, std),
        intervals=bool(intervals),
    )


def _intervals(axes: Sequence[Axis], columns: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Objective -> (2, D) the way to both ends of its interval of 90 %, where front.csv has it."""
    ways_of = {}
    for axis in axes:
        names = [f"{axis.name}_{end}" for end in ENDS]
        if all(name in columns and all(columns[name]) for name in names):
            low, high = (_numbers(columns[name], name) / axis.size for name in names)
            ways = np.stack([axis.values - low, high - axis.values])
            ways_of[axis.name] = np.maximum(ways, 0.0)
    return ways_of


def _bars(
    axis: Axis, columns: Mapping[str, Sequence[str]], std: np.ndarray | None
) -> dict[str, np.ndarray]:
    """One standard deviation either way; of a bound, the way to its mean."""
    mean = quantity_of(axis.name)
    if std is None:
        return {}
    if mean not in columns:
        return {axis.name: np.stack([std, std])}
    way = _numbers(columns[mean], mean) - axis.values
    bound = axis.name.rpartition(".")[2] != mean
    ways = [np.maximum(-way, 0.0), np.maximum(way, 0.0)] if bound else [std, std]
    return {axis.name: np.stack(ways)}


def knee(axes: Sequence[Axis]) -> int:
    """The design nearest to the best of every objective, each scaled to its range on the front.

    Logarithmic axes are scaled as logarithms, as the eye sees them.
    """
    distance = np.zeros(len(axes[0].values))
    for axis in axes:
        value = np.log(axis.values) if axis.log else axis.values
        value = -value if axis.maximise else value
        span = float(value.max() - value.min())
        distance += ((value - value.min()) / span) ** 2 if span > 0 else 0.0
    return int(np.argmin(distance))


def is_accuracy(name: str) -> bool:
    """Whether a result is an accuracy or a loss, or a bound of one.

    name : of the result.
    """
    return name.rpartition(".")[2] in ("accuracy", "accuracy_lower", "loss", "loss_upper")


def quantity_of(name: str) -> str:
    """What a bound is a bound of; the name itself otherwise."""
    return name.removesuffix("_lower").removesuffix("_upper")


def rank(axis: Axis) -> Axis:
    """What the second axis shows when there is only one objective: the place of each design."""
    place = np.argsort(np.argsort(axis.cost, kind="stable"), kind="stable") + 1.0
    return Axis("place", "place", "", place, maximise=False, log=False)


def axis_of(objective: Mapping[str, Any], values: np.ndarray) -> Axis:
    """An objective in a readable unit, with an arrow towards the better end.

    values : (F,) in the unit of the result.
    """
    name, known = str(objective["name"]), registry()
    metric = known.find(name) or _named(name, str(objective.get("unit") or "1"))
    low, high = float(values.min()) * metric.factor, float(values.max()) * metric.factor
    scale = axis_scale(low, high, metric.shown)
    maximise = str(objective.get("direction", "min")).startswith("max")
    unit = pretty(scale.label)
    shown = f" [{unit}]" if unit else ""
    return Axis(
        name=name,
        label=f"{label_of(name)}{shown}\u00a0{'↑' if maximise else '↓'}",
        unit=unit,
        values=values * metric.factor / scale.size,
        maximise=maximise,
        log=low > 0 and high > LOG_FROM * low and not is_accuracy(name),
        size=scale.size / metric.factor,
        metric=metric,
    )


def _named(name: str, unit: str) -> Metric:
    """A result that only its space knows, in the unit front.json gives."""
    unit = unit if known_unit(unit) else "1"
    return Metric(name, unit, unit, "", "workload", "feasible", "", name, "", "")


def label_of(name: str) -> str:
    """What people call a result: serve.latency_per_sequence_s is serve latency per sequence.

    name : of the result.
    """
    return registry().label(name) if name in registry() else name.replace("_", " ")


def _marks(
    axes: Sequence[Axis], columns: Mapping[str, Sequence[str]], std: np.ndarray | None
) -> tuple[Mark, ...]:
    """The knee and the best of each objective; one mark where a design is several of them."""
    reasons: dict[int, list[str]] = {}
    for axis in axes:
        if len(axes) > 1 and not np.ptp(axis.cost):
            continue
        others = np.sum([a.cost / (np.ptp(a.cost) or 1.0) for a in axes], axis=0)
        best = int(np.lexsort((others, axis.cost))[0])  # ties: whichever is better elsewhere
        reasons.setdefault(best, []).append(label_of(axis.name))
    titles = {index: f"best {_listed(words)}" for index, words in reasons.items()}
    if len(axes) > 1 and len(axes[0].values) > 2:
        middle = knee(axes)
        titles[middle] = f"knee, {titles[middle]}" if middle in titles else "knee"
    # A front of one objective is one design, or several of one value: all that it is, then.
    least = 1 if len(axes) > 1 and len(axes[0].values) > 1 else 0
    varying = [key for key in columns if _is_setting(key) and len(set(columns[key])) > least]
    varying = [key for key in varying if not is_of_layer(key)]
    marks, names = [], _names(varying)
    for index in sorted(titles, key=lambda i: (titles[i] != "knee", float(axes[0].cost[i]))):
        words = [_setting(k, columns[k][index], names[k]) for k in varying if columns[k][index]]
        first = next((i for i, k in enumerate(varying) if k.startswith("accel")), len(words))
        settings = _kept([*words[:first], *summary(columns, index), *words[first:]])
        results = _kept(_value(axis, index, std) for axis in axes)
        marks.append(Mark(index, titles[index], results, settings))
    return tuple(marks)


def _kept(words: Iterable[str]) -> str:
    """A list that breaks into lines only between its parts."""
    return ", ".join(word.replace(" ", "\u00a0") for word in words)


def _value(axis: Axis, index: int, std: np.ndarray | None) -> str:
    """A figure of a card: with its name where the unit does not tell."""
    value = float(axis.values[index])
    if std is not None and is_accuracy(axis.name):
        digits = 1 if axis.unit == "%" else 3
        if quantity_of(axis.name) != axis.name:
            return f"{value:.{digits}f} {axis.unit} (std {std[index]:.{digits}f})"
        return f"{value:.{digits}f} ± {std[index]:.{digits}f} {axis.unit}".strip()
    if axis.metric is None:
        return plain(value)
    text = pretty(axis.metric.show(value * axis.size))
    return text if axis.unit else f"{label_of(axis.name)} {text}"


def _is_setting(key: str) -> bool:
    return key in ("model", "accelerator") or key.startswith(("model.", "accelerator.", "workload"))


def _setting(key: str, text: str, name: str) -> str:
    """A setting in the words of a card; `name` tells it from the others."""
    if key in ("model", "accelerator"):
        return text
    field = field_of(key)
    try:
        number = float(text)
    except ValueError:
        return f"{name} {text}"
    return f"{name} {show(number, field.unit if field is not None and field.unit else '1')}"


def _names(keys: Sequence[str]) -> dict[str, str]:
    """Dotted key -> as few of its last words as tell it from the others."""
    names: dict[str, str] = {}
    for key in keys:
        words = key.split(".")
        ends = [k for k in keys if k.split(".")[-1] == words[-1]]
        count = 1 if len(ends) == 1 else 2
        short = [word.replace("feed_forward", "ff").replace("_", " ") for word in words[-count:]]
        names[key] = " ".join(short)
    return names


def _kinds(
    columns: Mapping[str, Sequence[str]], size: int
) -> tuple[str, tuple[str, ...], np.ndarray]:
    """What the shapes show: the first of CATEGORIES with two to MAX_KINDS values."""
    for wanted in CATEGORIES:
        for key, texts in columns.items():
            names = sorted(set(texts))
            if key.rpartition(".")[2] == wanted and 2 <= len(names) <= MAX_KINDS:
                codes = {name: code for code, name in enumerate(names)}
                title = "" if wanted in ("accelerator", "model") else wanted
                shown = tuple(name or "none" for name in names)
                return title, shown, np.array([codes[text] for text in texts], dtype=np.intp)
    return "", ("",), np.zeros(size, dtype=np.intp)


def _caption(
    front: Mapping[str, Any],
    size: int,
    evaluated: int | None,
    notes: Sequence[str],
    bars: bool,
    hidden: int,
) -> str:
    of = f", of {evaluated:,} evaluated" if evaluated else ""
    parts = [f"{size:,} design{'s' if size > 1 else ''} that nothing beats{of}"]
    if front.get("seed") is not None:
        parts[0] += f", seed {front['seed']}"
    if front.get("hypervolume") is not None:
        parts[0] += f", hypervolume {float(front['hypervolume']):.5g}"
    parts.append("Arrows point to the better end")
    if hidden:
        parts.append(f"{hidden} further objective{'s are' if hidden > 1 else ' is'} not drawn")
    if bars:
        parts += [note[:1].upper() + note[1:].rstrip(".") for note in notes]
    return ". ".join(parts) + "."


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _feasible(columns: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    if "feasible" not in columns:
        return columns
    keep = [i for i, text in enumerate(columns["feasible"]) if text.lower() in ("true", "1")]
    if len(keep) == len(columns["feasible"]):  # as on every front: no copy of it
        return columns
    return {key: [texts[i] for i in keep] for key, texts in columns.items()}


def _numbers(texts: Sequence[str], name: str) -> np.ndarray:
    """(D,) float, finite."""
    try:
        values = np.array([float(text) for text in texts])
    except ValueError as error:
        raise InputError(str(error), file="front.csv", field=name) from error
    if not np.isfinite(values).all():
        raise InputError("must be finite on the front", file="front.csv", field=name)
    return values
