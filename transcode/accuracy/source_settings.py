"""Which source of accuracies a space asks for: the key `accuracy:`, read and checked.

    accuracy: surrogate
    accuracy: {source: table, rows: scores.csv, bound: 0.9}

A source has a quantity: accuracy [points], to be made large, or loss [nats per token], to be
made small. With `bound` the search compares what holds with that probability instead of means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import NormalDist
from typing import Any

from elector.base import paths, units
from elector.base.errors import InputError

#: Source -> the keys it takes beside `source`.
SOURCES: dict[str, tuple[str, ...]] = {
    "surrogate": ("rows", "floor", "bound"),
    "table": ("rows", "bound"),
    "scaling-law": ("law", "data", "tokens", "tokens_per_parameter", "bound"),
    "trained": ("steps", "rungs", "eta", "seeds", "bound"),
}
LAWS = ("besiroglu", "hoffmann")
#: Texts a loss can be told for: what the laws were fitted on, and the Pile.
TEXTS = ("pile", "massivetext")
ACCURACY, LOSS = "accuracy", "loss"
QUANTITIES = (ACCURACY, LOSS)
Fail = Callable[..., InputError]


@dataclass(frozen=True)
class AccuracySettings:
    """The key `accuracy:` of a space; None where the source's own default holds.

    rows : file of accuracy rows. floor : score [points] of guessing, for a task of one's own.
    bound : probability with which the searched value holds.
    law, data, tokens, tokens_per_parameter : of a scaling law.
    steps, rungs, eta, seeds : of proxies trained inside the search.
    """

    source: str = "surrogate"
    rows: str | None = None
    floor: float | None = None
    bound: float | None = None
    law: str | None = None
    data: str | None = None
    tokens: float | None = None
    tokens_per_parameter: float | None = None
    steps: int | None = None
    rungs: int | None = None
    eta: int | None = None
    seeds: int | None = None

    @property
    def quantity(self) -> str:
        """accuracy or loss."""
        return LOSS if self.source == "scaling-law" else ACCURACY

    @property
    def searched(self) -> str:
        """The result an objective on the quantity compares: itself, or its bound."""
        return self.quantity if self.bound is None else self.bound_name

    @property
    def bound_name(self) -> str:
        """accuracy_lower or loss_upper."""
        return "loss_upper" if self.quantity == LOSS else "accuracy_lower"

    @property
    def names(self) -> tuple[str, ...]:
        """The results this source gives."""
        more: tuple[str, ...] = () if self.bound is None else (self.bound_name,)
        more += ("trained_steps",) if self.source == "trained" else ()
        return (self.quantity, f"{self.quantity}_std", *more)

    @property
    def z(self) -> float:
        """Standard deviations from the mean to the bound; negative for an accuracy."""
        if self.bound is None:
            return 0.0
        away = NormalDist().inv_cdf(self.bound)
        return away if self.quantity == LOSS else -away

    def plain(self) -> dict[str, object]:
        """What was given, in JSON types; empty where all is default."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }


def read(written: object, file: Path | None, fail: Fail) -> AccuracySettings:
    """The settings that a space's key `accuracy` holds; InputError through `fail`.

    rows : looked for from where the command runs, then beside the space.

    written : what stands under the key.
    """
    given: Mapping[str, Any] = written if isinstance(written, Mapping) else {"source": written}
    source = given.get("source", "surrogate")
    _require_known(given, source, fail)
    settings = AccuracySettings(
        source=source,
        rows=_rows(given.get("rows"), file, fail),
        floor=_number(given, "floor", file, 0.0, 100.0),
        bound=_number(given, "bound", file, 0.5, 1.0),
        law=_choice(given, "law", LAWS, fail),
        data=_choice(given, "data", TEXTS, fail),
        tokens=_number(given, "tokens", file, 1.0, 1e18),
        tokens_per_parameter=_number(given, "tokens_per_parameter", file, 1e-6, 1e9),
        steps=_whole(given, "steps", 1, fail),
        rungs=_whole(given, "rungs", 1, fail),
        eta=_whole(given, "eta", 2, fail),
        seeds=_whole(given, "seeds", 1, fail),
    )
    if settings.tokens is not None and settings.tokens_per_parameter is not None:
        raise fail(
            "give tokens or tokens_per_parameter, not both",
            "accuracy.tokens",
            value=given["tokens"],
        )
    if source == "table" and settings.rows is None:
        raise fail(
            "the source table needs a file",
            "accuracy.rows",
            hint="accuracy: {source: table, rows: scores.csv}",
        )
    return settings


def _require_known(given: Mapping[str, Any], source: str, fail: Fail) -> None:
    """Refuses a source that there is not, and keys that are not its own."""
    if not isinstance(source, str) or source not in SOURCES:
        raise fail("unknown source", "accuracy.source", value=source, allowed=tuple(SOURCES))
    for key in given:
        if key != "source" and key not in SOURCES[source]:
            raise fail(
                f"unknown key of the source {source}",
                "accuracy",
                value=key,
                allowed=("source", *SOURCES[source]),
                hint=_owners(str(key)),
            )


def _owners(key: str) -> str | None:
    """Whose key it is, where it is another source's."""
    owners = [name for name, keys in SOURCES.items() if key in keys]
    return f"{key} belongs to the source {' or '.join(owners)}" if owners else None


def _rows(written: object, file: Path | None, fail: Fail) -> str | None:
    if written is None:
        return None
    if not isinstance(written, str) or not written:
        raise fail("is the name of a file", "accuracy.rows", value=written)
    beside = file.parent / written if file is not None else Path(written)
    for path in (Path(written), beside):
        if paths.exists(path, "accuracy.rows") and not paths.is_folder(path):
            return str(path)
    raise fail("no such file", "accuracy.rows", value=written)


def _number(
    given: Mapping[str, Any], key: str, file: Path | None, low: float, high: float
) -> float | None:
    if given.get(key) is None:
        return None
    value = units.parse(given[key], "1", field=f"accuracy.{key}", file=file)
    if not (low <= value < high):
        raise InputError(
            f"must be at least {low:g} and below {high:g}",
            file=file,
            field=f"accuracy.{key}",
            value=given[key],
        )
    return value


def _whole(given: Mapping[str, Any], key: str, least: int, fail: Fail) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise fail(f"must be a whole number from {least} up", f"accuracy.{key}", value=value)
    return value


def _choice(given: Mapping[str, Any], key: str, allowed: tuple[str, ...], fail: Fail) -> str | None:
    value = given.get(key)
    if value is not None and value not in allowed:
        raise fail("is not known", f"accuracy.{key}", value=value, allowed=allowed)
    return value
