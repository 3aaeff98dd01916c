"""Results that a space may name: the simulator's, those of accuracies and runs, and its own."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from pathlib import Path

from elector.base.errors import InputError
from elector.base.table import Field
from elector.cost import results
from elector.cost.results import Metric, Registry
from transcode.space import decisive, grammar
from transcode.space.codes import Space
from transcode.space.settings import setting_field

#: Results of the chip or the model alone: with several workloads they need no workload's name.
SHARED = tuple(metric.name for metric in results.registry() if metric.shared)
#: Units that front.json writes in words.
_TEXTS = {"1": "", "nat": "nats"}


@functools.cache
def registry() -> Registry:
    """Every result there is, from the tables of both packages."""
    own = results.read(Path(__file__).parent.parent / "data" / "results.csv")
    return results.registry().extended(own)


def names_of(written: object, file: Path | None) -> tuple[str, ...]:
    """The names of a list of results under `record`, each once. Raises InputError.

    written : what stands under `record`.
    """
    if not isinstance(written, list) or not all(isinstance(name, str) for name in written):
        raise InputError("is a list of results", file=file, field="record", value=written)
    return tuple(dict.fromkeys(written))


def registry_of(space: Space) -> Registry:
    """The registry with what the space itself names: settings, and expressions of `define`."""
    return registry().extended(_defined(space))


def _defined(space: Space) -> Iterable[Metric]:
    known = quantities(space, space.named)
    for name in space.named:
        field = None if name in space.names else setting_field(name)
        if field is not None:
            unit, text = field.unit or "1", field.description
            yield Metric(name, unit, unit, "", "workload", "always", "", name, "", text)
    for name, expression in space.define.items():
        inner = {n: unit_of(n) for n in expression.names if n not in known}
        unit = grammar.unit_of(expression, known | inner) or "1"
        known[name] = grammar.NamedQuantity(unit)
        text = expression.text
        label = name.replace("_", " ") if name.isidentifier() else name
        yield Metric(name, unit, unit, "", "workload", "feasible", "", label, text, text)


def unit_of(name: str) -> grammar.NamedQuantity:
    """The unit of a result, or of a setting, by its name; that of a defined one follows from its
    space."""
    field = setting_field(name)
    if field is not None:
        return grammar.NamedQuantity(field.unit or "1", _least(field))
    least = -math.inf if name.endswith("_lower") else 0.0  # a mean less its deviations
    return grammar.NamedQuantity(registry().get(name).unit, least, _whole(name))


def _least(field: Field | None) -> float:
    """What no value of a setting is below: 0, where its schema has no negative ones."""
    return 0.0 if field is not None and field.low is not None and field.low >= 0 else -math.inf


def _whole(name: str) -> float:
    """What no value of a result is above, in its unit: 1 for a share, such as an accuracy."""
    metric = registry().get(name)
    share = metric.shown == "%" and metric.better == "up"
    return 100.0 / metric.factor if share else math.inf


def quantities(space: Space, names: Iterable[str]) -> dict[str, grammar.NamedQuantity]:
    """What conditions may be about: results of these names, parameters, and defined names."""
    known = {name: unit_of(name) for name in names if name not in space.define}
    known |= {
        p.name: grammar.NamedQuantity(p.unit, _least(setting_field(p.name)))
        for p in space.parameters
    }
    for name, expression in space.define.items():  # a name stands behind those it is made of
        inner = {n: unit_of(n) for n in expression.names if n not in known}
        unit = grammar.unit_of(expression, known | inner)
        if (alike := decisive.only(expression, known | inner)) is not None:
            known[name] = grammar.NamedQuantity(unit, alike, alike)
        else:
            least = 0.0 if _never_negative(space, name) else -math.inf
            known[name] = grammar.NamedQuantity(unit, least)
    return known


def require_reachable(
    space: Space, name: str, value: float, *, file: object = None, field: str | None = None
) -> None:
    """Raises InputError for a coordinate of a reference point that no result can be better than,
    so that no design would count: results of the simulator are 0 or more, and a share, such as an
    accuracy in per cent, at most its whole.

    name : of an objective. value : in the unit of the result.
    """
    maximise = next(o.maximise for o in space.objectives if o.name == name)
    whole = _whole(name)
    least = 0.0 if _never_negative(space, name) else -math.inf
    if value >= whole if maximise else value <= least:
        limit = f"{whole:g}" if maximise else "0"
        raise InputError(
            f"no design can count: none has {'more' if maximise else 'less'} than {limit}",
            file=file,
            field=field,
            value=f"{value:g}",
            hint=f"a value that is {'lower' if maximise else 'higher'} than those of designs",
        )


def _never_negative(space: Space, name: str) -> bool:
    """Whether a result is 0 or more by its form, and by that of the names it is made of."""
    expression = space.define.get(name)
    if expression is None:
        return True
    names = (used for used in expression.names if used != name)
    return grammar.never_negative(expression) and all(_never_negative(space, n) for n in names)


def unit_text(space: Space, name: str) -> str:
    """The unit of a result as front.json has it; empty for a ratio or a count."""
    unit = registry_of(space).get(name).unit
    return _TEXTS.get(unit, unit)
