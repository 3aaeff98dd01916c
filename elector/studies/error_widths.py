"""How far off the simulator is for a kind of design: the error of the model behind intervals.

data/errors.csv holds, by family of chips, software stack and regime, the factor that nine of ten
published cases lie within that no constant was fitted on (benchmarks/error_widths.py writes it);
data/spread.csv the same of a constant, by its evidence.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import DATA, Column, read_csv, read_rows
from elector.evaluation.resolve import StructureGroup, resolve
from elector.machines import MACHINES
from elector.machines.contract import Units
from elector.technology import ConstantRow

Array = np.ndarray
Kind = tuple[str, str, str]
#: Single products by the bits of their format, the widest last: each has kernels of its own.
PRODUCTS = ((4, "products of 4 bits"), (8, "products of 8 bits"), (math.inf, "products"))
#: One pass of a language model over its prompt: other kernels than those of tokens after it.
PROMPTS = "prompts"
#: Inference with weights that are packed and unpacked where they are read: no published case is of
#: any.
PACKED = "packed weights"
#: What a group of cases is about, by what its name says, the first that fits.
REGIMES = (
    ("training", ("training",)),
    (PROMPTS, ("prefill", "first prompt")),
    ("language", ("language", "serving")),
    (PRODUCTS[0][1], ("products nvfp4", "products mxfp4")),
    (PRODUCTS[1][1], ("products fp8", "products int8")),
    ("products", ("products", "cycles")),
    ("bert", ("bert", "inference")),
)
#: What stands for any family, stack and regime.
ANY = ("*", "*", "*")
#: Standard deviations from the median to the 95th percentile of a normal distribution.
REACH = 1.6448536269514722
#: Cases that a width can be read from alone: of fewer none is the ninth of ten.
FEWEST = 9
#: Between the families of the units of a hybrid.
TOGETHER = " + "


@dataclass(frozen=True)
class Width:
    """How far cases of a kind were off.

    time, power : factor that nine of ten lie within. cases : such behind the time; 0 where none
    is of such a design.
    shared : share of the variance of log errors that cases of one device and group have in
        common: it cancels where two such designs are compared.
    """

    time: float
    power: float
    cases: int
    shared: float

    def or_wider(self, other: Width) -> Width:
        """The wider of two in time and in power.

        other : a width that this one is not surer than.
        """
        return replace(self, time=max(self.time, other.time), power=max(self.power, other.power))


def regime_of(name: str) -> str:
    """What a group of published cases is about."""
    text = name.rpartition(" / ")[2]
    return next((r for r, words in REGIMES if any(w in text for w in words)), "bert")


@functools.cache
def widths() -> dict[Kind, Width]:
    """(family, stack, regime), "*" for any -> width, from data/errors.csv."""
    by_kind = {}
    for row in read_rows(DATA / "errors.csv"):
        key = row["family"], row["stack"], row["regime"]
        by_kind[key] = Width(
            float(row["time"]), float(row["power"]), int(row["cases"]), float(row["shared"])
        )
    return by_kind


def kinds_of(columns: Mapping[str, Column], size: int) -> tuple[list[Kind], Array]:
    """The distinct kinds of D designs, and the (D,) place of each design's own.

    A kind is the family of the chip, the software stack, and what is run on it. The family of a
    hybrid is that of each of its units, joined by TOGETHER.
    """
    places_of: dict[Kind, int] = {}
    codes = np.zeros(size, dtype=np.intp)
    for group in resolve(columns, size):
        names, own = _families(group)
        alone = group.workload.generate[group.pair] <= float(_decodes(group))
        for prompt in np.unique(alone):
            kinds = [_kind(group, name, bool(prompt)) for name in names]
            places = [places_of.setdefault(kind, len(places_of)) for kind in kinds]
            here = alone == prompt
            codes[group.rows[here]] = np.array(places)[own[here]]
    return list(places_of), codes


def _families(group: StructureGroup) -> tuple[list[str], Array]:
    """Families of chips of one group, and the (D,) place of each design's own."""
    hybrid = group.machine.hybrid
    if hybrid is None:
        return _family(group.machine.name, group.units)
    joined, codes = [""], np.zeros(group.rows.size, dtype=np.intp)
    for member in hybrid.members:
        names, own = _family(member.machine.name, member.units(group.units))
        joined = [f"{first}{TOGETHER}{name}" for first in joined for name in names]
        codes = codes * len(names) + own
    ordered = [sorted(text.split(TOGETHER)[1:]) for text in joined]
    return [TOGETHER.join(families) for families in ordered], codes


def _family(machine: str, units: Units) -> tuple[list[str], Array]:
    """Families of D units of one machine, and the (D,) place of each: of a GPU its architecture."""
    known = {"systolic": "tpu"}.get(machine, machine)
    names, codes = units.names.get("architecture", ((known,), np.zeros(units.size, dtype=np.intp)))
    return list(names), codes


def _decodes(group: StructureGroup) -> bool:
    """Whether a prompt goes through the layers that tokens do, and gives the first of them."""
    return group.models.template.family == "decoder"


def _kind(group: StructureGroup, family: str, alone: bool) -> Kind:
    """The kind of designs of one group, of a family of chips.

    alone : whether nothing runs behind their prompts: no token, or the one that a prompt gives.
    """
    workload = group.workload
    if workload.training:
        return family, workload.implementation, "training"
    if workload.format.packed not in (None, workload.format.products):
        return family, workload.implementation, PACKED
    if not alone:
        return family, workload.implementation, "language"
    if group.models.template.blocks:
        return family, workload.implementation, PROMPTS if _decodes(group) else "bert"
    bits = workload.format.products.bits
    regime = next(name for most, name in PRODUCTS if bits <= most)
    return family, workload.implementation, regime


def candidates(kind: Kind) -> list[Kind]:
    """Groups of cases that speak for a kind of design, the narrowest first."""
    hide = sorted(itertools.product((False, True), repeat=3), key=sum)  # by how many are any
    narrowing = [
        (_or_any(kind[0], f), _or_any(kind[1], s), _or_any(kind[2], r)) for f, s, r in hide
    ]
    shared = kind[0] == "*" or kind[0] in _architectures()  # chips of one kind speak for another
    return [key for key in narrowing if shared or key[0] != "*" or key == ANY]


@functools.cache
def validated() -> frozenset[str]:
    """Families of chips that published outcomes are of."""
    cases = read_rows(DATA / "published.csv")
    return frozenset(r["group"].split(" / ")[0] for r in cases if r["kind"] == "outcome")


@functools.cache
def _architectures() -> frozenset[str]:
    """Families that devices of one machine kind fall into."""
    known = [
        m.fields["architecture"].choices for m in MACHINES.values() if "architecture" in m.fields
    ]
    return frozenset(name for choices in known for name in choices)


def _or_any(part: str, hidden: bool) -> str:
    return "*" if hidden else part


def width_of(kind: Kind) -> tuple[Width, Kind]:
    """The width of the narrowest group there are cases of, and that group.

    What nothing validates is not surer than what is run in its regime where cases exist. No case
    is of a hybrid of several units: it is not surer than any of them, nor than what nothing
    validates, and its error is that of the group whose times are the widest.
    """
    families = kind[0].split(TOGETHER)
    if len(families) == 1:
        return _width_of(kind)
    each = [_width_of((family, *kind[1:])) for family in ("", *families)]
    widest, group = max(each, key=lambda one: one[0].time)
    for width, _ in each:
        widest = widest.or_wider(width)
    return replace(widest, cases=0), group


def _width_of(kind: Kind) -> tuple[Width, Kind]:
    """The width and the group of a chip of one family; "" for one that nothing validates."""
    known = widths()
    key = next(key for key in candidates(kind) if key in known)
    width, regime = known[key], known.get(("*", "*", kind[2]))
    unseen = kind[2] == PACKED or kind[0] in _architectures() - validated()
    if unseen:  # its kind of chip, or whole weights, speak for it, and not surely
        width, key = replace(known[ANY].or_wider(width), cases=0), ANY
    if key == ANY and regime is not None:
        width = width.or_wider(regime)
    return width, key


def said(group: Kind, width: Width) -> str:
    """Where the interval of a time comes from."""
    if not width.cases:
        return (
            "no published case validates such a design: its intervals are those of an assumed "
            f"factor of {width.time:g}"
        )
    family, stack, regime = (part if part != "*" else "any" for part in group)
    assumed = widths()[ANY]
    few = f": too few, so that they are those of an assumed factor of {width.time:g}"
    return (
        f"intervals of time rest on {width.cases} published cases that nothing was fitted on "
        f"(family {family}, stack {stack}, {regime})"
        f"{few if width.time == assumed.time and width.cases < FEWEST else ''}"
        f"{_of_power(width) if width.power == assumed.power else ''}"
    )


def _of_power(width: Width) -> str:
    """That a width of powers is assumed, as long as there are too few cases for one."""
    return f"; those of power on an assumed factor of {width.power:g}"


def spread(row: ConstantRow) -> tuple[float, float]:
    """Factors below and above a constant that nine of ten such lie within: what its row says, or
    else what its evidence does."""
    value = float(row.value)
    if row.low is not None and row.high is not None:
        return value / row.low, row.high / value
    factor = spreads().get(row.evidence, spreads()["assumed"])
    return factor, factor


@functools.cache
def spreads() -> dict[str, float]:
    """Evidence -> factor that nine of ten constants of it lie within (data/spread.csv)."""
    return {cells[0]: float(cells[1]) for _, cells in read_csv(DATA / "spread.csv")[1]}
