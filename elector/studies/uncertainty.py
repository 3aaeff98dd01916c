"""Intervals of 90 % around the results of one design (`elector simulate --uncertainty`).

Two sources, drawn together:

- the *model*: how far times and powers of the design's group of published cases were off that no
  constant was fitted on (data/errors.csv, written by benchmarks/error_widths.py), log-normal;
- the *constants*: every row of the technology tables that the design reads, log-normal, with the
  spread of its evidence (data/spread.csv), all through the one path in one call.

A sample has energy = (actions under its constants + leakage x its time) x its power error. The
interval runs from the 5th to the 95th percentile of the samples.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError
from elector.base.table import DATA, Column, read_csv
from elector.cost.results import registry
from elector.evaluation.path import evaluate
from elector.machines import MACHINES
from elector.technology import Technology

Array = np.ndarray
#: Samples of a design, and the seed of all of them: the same interval on every machine.
SAMPLES, SEED = 1000, 0
#: Standard deviations from the median to the 95th percentile of a normal distribution.
_REACH = 1.6448536269514722
#: What a group of cases is about, by what its name says, the first that fits.
REGIMES = (
    ("training", ("training",)),
    ("language", ("language", "serving")),
    ("products", ("products", "cycles")),
    ("bert", ("bert", "inference")),
)
#: What stands for any family, stack and regime.
ANY = ("*", "*", "*")
#: Results that follow the time, and in which direction; all others follow the constants alone.
_TIMES = {
    "latency_s": 1,
    "latency_per_sequence_s": 1,
    "time_to_first_token_s": 1,
    "time_per_output_token_s": 1,
    "throughput_sequences_per_s": -1,
    "tokens_per_s": -1,
    "utilization": -1,
    "lifetime_years": 1,
}
_JOULES = ("energy_j", "energy_per_sequence_j", "energy_per_token_j")


@dataclass(frozen=True)
class Width:
    """How far cases of a kind were off.

    time, power : factor that nine of ten lie within. cases : such behind the time.
    """

    time: float
    power: float
    cases: int


def regime_of(name: str) -> str:
    """What a group of published cases is about.

    name : of the group.
    """
    text = name.rpartition(" / ")[2]
    return next((r for r, words in REGIMES if any(w in text for w in words)), "bert")


@functools.cache
def widths() -> dict[tuple[str, str, str], Width]:
    """(family, stack, regime), "*" for any -> width, from data/errors.csv."""
    names, lines = read_csv(DATA / "errors.csv")
    found = {}
    for _, cells in lines:
        row = dict(zip(names, cells, strict=True))
        key = row["family"], row["stack"], row["regime"]
        found[key] = Width(float(row["time"]), float(row["power"]), int(row["cases"]))
    return found


def kind_of(settings: Mapping[str, object]) -> tuple[str, str, str]:
    """Family, stack and regime of a design. settings : dotted key -> resolved value."""
    machine = str(settings["machine"])
    own = settings.get("accelerator.architecture")
    family = str(own) if own else {"systolic": "tpu"}.get(machine, machine)
    stack = str(settings["workload.implementation"])
    if settings["workload.mode"] == "training":
        return family, stack, "training"
    if settings["workload.generate"]:
        return family, stack, "language"
    return family, stack, "bert" if "model.layers" in settings else "products"


def candidates(kind: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """Groups of cases that speak for a kind of design, the narrowest first."""
    hide = itertools.product((False, True), repeat=3)
    found = [(_or_any(kind[0], f), _or_any(kind[1], s), _or_any(kind[2], r)) for f, s, r in hide]
    shared = kind[0] in _architectures()  # chips of other families of one kind speak for it
    return [key for key in found if shared or key[0] != "*" or key == ANY]


@functools.cache
def _architectures() -> frozenset[str]:
    """Families that devices of one machine kind fall into."""
    known = [
        m.fields["architecture"].choices for m in MACHINES.values() if "architecture" in m.fields
    ]
    return frozenset(name for choices in known for name in choices)


def _or_any(part: str, hidden: bool) -> str:
    return "*" if hidden else part


def width_of(kind: tuple[str, str, str]) -> tuple[Width, tuple[str, str, str]]:
    """The width of the narrowest group there are cases of, and that group.

    kind : machine, stack and regime of a design.
    """
    key = next(key for key in candidates(kind) if key in widths())
    return widths()[key], key


@functools.cache
def spreads() -> dict[str, float]:
    """Evidence -> factor that nine of ten constants of it lie within (data/spread.csv)."""
    return {cells[0]: float(cells[1]) for _, cells in read_csv(DATA / "spread.csv")[1]}


def intervals(
    columns: Mapping[str, Column],
    settings: Mapping[str, object],
    technology: Technology | None = None,
    samples: int = SAMPLES,
) -> tuple[dict[str, float], list[str]]:
    """`NAME_low` and `NAME_high` of every scalar of one design, and what is to be said of them.

    Parameters
    ----------
    columns : settings of the design, each of one row.
    settings : dotted key -> resolved value, and `machine`, its kind.
    technology : prices; the shipped tables by default.
    samples : draws of the constants and of the errors.

    Raises InputError where there is no room for an interval: fewer than 20 samples.
    """
    if samples < 20:
        raise InputError("needs at least 20", field="samples", value=samples)
    own = (technology or Technology.load()).fresh()
    nominal = evaluate(columns, 1, technology=own, level="scalars")
    if not nominal.feasible[0]:
        return {}, []
    random = np.random.default_rng(SEED)
    width, group = width_of(kind_of(settings))
    late, more = (
        np.exp(random.standard_normal(samples) * math.log(w) / _REACH)
        for w in (width.time, width.power)
    )
    cost = evaluate(columns, 1, technology=_drawn(own, random, samples), level="groups")
    found: dict[str, float] = {}
    for name, values in cost.scalars.items():
        base = name.rpartition(".")[2]
        drawn = _sampled(base, values, cost.groups, (late, more))
        # what no source of error touches, such as a count, has no interval
        if drawn is not None and np.isfinite(drawn).all():
            low, high = np.quantile(drawn, (0.05, 0.95))
            found[f"{name}_low"], found[f"{name}_high"] = float(low), float(high)
    return found, [_said(group, width)]


def _drawn(own: Technology, random: np.random.Generator, samples: int) -> Technology:
    """The technology under draws of all constants that a design read of it."""
    values: dict[str, list[float]] = {}
    for id in sorted(own.rows_read()):
        row = own.row(id)
        sigma = math.log(spreads().get(row.evidence, spreads()["assumed"])) / _REACH
        values[id] = (row.value * np.exp(sigma * random.standard_normal(samples))).tolist()
    return own.drawn(values) if values else own


def _sampled(
    name: str, values: Array, groups: Mapping[str, Mapping[str, Array]], errors: tuple[Array, Array]
) -> Array | None:
    """(S,) samples of a result; None for what is exact. values : (S,) under the constants."""
    late, more = errors
    if name in _TIMES:
        return np.asarray(values * late ** _TIMES[name])
    if name == "area_mm2":
        return values
    leaks = groups["energy_by_part_j"].get("leakage", np.zeros_like(values))
    total = sum(groups["energy_by_part_j"].values(), np.zeros_like(values))
    share = np.where(total > 0, leaks / np.where(total > 0, total, 1.0), 0.0)
    if name in _JOULES:
        return np.asarray(values * (1.0 - share + share * late) * more)
    if name == "power_w":
        return np.asarray(values * (1.0 - share + share * late) / late * more)
    return None


def _said(group: tuple[str, str, str], width: Width) -> str:
    """Where an interval comes from."""
    if group == ANY:
        return (
            "no published case validates such a design: its intervals are those of an assumed "
            f"factor of {width.time:g}"
        )
    family, stack, regime = (part if part != "*" else "any" for part in group)
    return (
        f"intervals of time rest on {width.cases} published cases that nothing was fitted on "
        f"(family {family}, stack {stack}, {regime})"
    )


def names() -> list[str]:
    """Names that intervals add for every registered scalar."""
    return [f"{m.name}_{end}" for m in registry() if not m.axis for end in ("low", "high")]
