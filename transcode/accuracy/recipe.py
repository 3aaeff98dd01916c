"""What accuracy rows were measured with, and what another number format costs.

A setting that changes an accuracy may be searched, or fixed at another value than that, only where
a source prices it. data/accuracy/recipe.csv has a row for each setting of a schema of elector:

    schema, key, kind, values, why

kind : encoder or decoder, of which the rows are, training for what holds where a workload trains,
or * for all. values : a|b|c, each a word, a number or a range low..high; `=heads` and the like are
relations to other settings.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from transcode.accuracy.published_scores import DATA

#: Number formats that published scores do not tell apart.
WIDE = "16-bit float or wider"


@dataclass(frozen=True)
class MeasuredWith:
    """Values of one setting that rows were measured with. text : as written in the table."""

    text: str

    def holds(self, value: object) -> bool:
        """Whether `value` (a word, a number or a truth value) is one of them."""
        return any(_matches(part, value) for part in self.text.split("|"))

    @property
    def relation(self) -> str:
        """What it has to equal, such as "heads"; "" where values are listed."""
        return self.text[1:] if self.text.startswith("=") else ""

    @property
    def words(self) -> str:
        """For messages."""
        return self.relation or self.text.replace("..", " to ").replace("|", ", ")


def _matches(part: str, value: object) -> bool:
    low, dots, high = part.partition("..")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() == part
    try:
        return float(low) <= value <= float(high if dots else low)
    except ValueError:  # a word among numbers
        return False


def measured_with(schema: str, key: str, *kinds: str) -> MeasuredWith | None:
    """The values of a setting for the first of `kinds` that has some, else for all kinds."""
    table = _recipe()
    values = [table[schema, key, kind] for kind in (*kinds, "*") if (schema, key, kind) in table]
    return values[0] if values else None


@cache
def _recipe() -> Mapping[tuple[str, str, str], MeasuredWith]:
    with open(DATA / "recipe.csv", newline="", encoding="utf-8") as file:
        return {
            (row["schema"], row["key"], row["kind"]): MeasuredWith(row["values"])
            for row in csv.DictReader(file)
        }


@dataclass(frozen=True)
class FormatPrice:
    """What computing in a number format loses. points, nats : loss of a score and of a loss, each
    with its standard deviation. evidence : of the table."""

    points: tuple[float, float]
    nats: tuple[float, float]
    evidence: str


@cache
def format_prices() -> Mapping[str, FormatPrice]:
    """Number format -> its price; a format without one is not here."""
    with open(DATA / "formats.csv", newline="", encoding="utf-8") as file:
        return {
            row["format"]: FormatPrice(
                (float(row["points"]), float(row["points_std"])),
                (float(row["nats"]), float(row["nats_std"])),
                row["evidence"],
            )
            for row in csv.DictReader(file)
        }


def accuracy_class(number_format: str) -> str:
    """Formats of one class give the same accuracy.

    number_format : its name.
    """
    price = format_prices().get(number_format)
    published = price is not None and price.evidence == "published"
    return WIDE if published else number_format


@dataclass(frozen=True)
class FormatCost:
    """What the number formats of a space cost its accuracy (or loss).

    classes : of `accuracy_class`. mean, std : lost, in points or nats.
    """

    classes: tuple[str, ...]
    mean: float
    std: float
    unit: str

    def describe(self) -> str:
        """One line for the terminal."""
        names = ", ".join(name for name in self.classes if name != WIDE)
        return (
            f"number format ({names}): loses {self.mean:g}±{self.std:g} {self.unit}, assumed; "
            f"published scores come from {WIDE}s"
        )


def format_cost(formats: tuple[str, ...], loss: bool) -> FormatCost | None:
    """The cost of computing in these formats; None where there is none.

    loss : whether it is wanted in nats per token, else in points. A format without a price here is
    priced by the source itself.
    """
    known = [name for name in formats if name in format_prices()]
    prices = [format_prices()[name] for name in known]
    costs = np.array([price.nats if loss else price.points for price in prices])
    if not costs.any():
        return None
    classes = tuple(dict.fromkeys(accuracy_class(name) for name in known))
    std = float(np.sqrt(np.sum(costs[:, 1] ** 2)))
    return FormatCost(classes, float(costs[:, 0].sum()), std, "nats" if loss else "points")
