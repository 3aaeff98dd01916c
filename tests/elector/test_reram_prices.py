"""ReRAM's prices stand in tables: every row is read, every count is whole, all multiplies out."""

from __future__ import annotations

import csv
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from random_designs import hardware

import elector
from elector.base.table import DATA, schema
from elector.evaluation.path import inspect
from elector.evaluation.resolve import resolve
from elector.machines import MACHINES
from elector.machines.reram import geometry
from elector.studies.simulation import columns_of
from elector.technology import Technology

RERAM = MACHINES["reram"]
MODELS: list[tuple[str, dict[str, Any]]] = [
    ("bert-tiny", {}),
    ("bert-tiny", {"workload.mode": "training", "workload.batch": 3}),
    ("gpt2", {"workload.generate": 5, "workload.sequence_length": 60, "workload.batch": 2}),
    ("t5-base", {"workload.generate": 3, "workload.sequence_length": 33}),
]


def random_settings(seed: int) -> tuple[str, str, dict[str, Any]]:
    """A random design with room for its model."""
    random = np.random.default_rng(seed)
    model, asked = MODELS[seed % len(MODELS)]
    settings = hardware(
        "reram", random, {"accelerator.tiles": int(random.integers(20_000, 90_000))}
    )
    settings |= {"accelerator.memory_capacity": 1e15, "accelerator.reload": bool(seed % 2)}
    settings |= {"accelerator.transposed_read": str(random.choice(["copy", "bidirectional"]))}
    for key in ("weight_bits", "input_bits", "adc_bits", "active_rows"):
        if random.integers(2):
            field = schema("reram")[key]
            settings[f"accelerator.{key}"] = int(random.integers(4, min(field.high or 1, 20)))
    if asked.get("workload.mode") == "training":
        settings["accelerator.datapath"] = "fixed16"
    return model, ("isaac", "puma", "reram")[seed % 3], {**settings, **asked}


def designs(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Random designs that can run."""
    runnable: list[tuple[str, str, dict[str, Any]]] = []
    for seed in itertools.count():
        model, name, settings = random_settings(seed)
        if elector.simulate(model, name, settings=settings)["feasible"]:
            runnable.append((model, name, settings))
        if len(runnable) == count:
            return runnable
    raise AssertionError


@pytest.fixture(scope="module")
def some() -> list[tuple[str, str, dict[str, Any]]]:
    return designs(24)


def test_every_term_is_count_times_price(some: list[tuple[str, str, dict[str, Any]]]) -> None:
    for model, name, settings in some:
        for result in ("energy_j", "area_mm2"):
            shown: Any = elector.explain(model, name, result, settings=settings)
            scale = 1.0 if result == "energy_j" else 1e6
            counted = [t for t in shown["terms"] if "count" in t]
            assert len(counted) >= 13
            for term in counted:
                assert term["law"] == "constant", term["name"]
                # A clock above that of the nominal supply raises the energy of the logic.
                volts = [f["value"] for f in term["factors"] if "nominal supply" in f["name"]]
                value = term["count"] * term["price"] * math.prod(volts) * scale
                assert term["value"] == pytest.approx(value, rel=1e-12), (term["name"], settings)


def test_every_count_is_whole(some: list[tuple[str, str, dict[str, Any]]]) -> None:
    for model, name, settings in some:
        shown: Any = elector.explain(model, name, "energy_j", settings=settings)
        for term in shown["terms"]:
            if "count" in term and term["price_unit"] == "J":
                assert term["count"] == round(term["count"]), (term["name"], settings)
        chunk = inspect(
            columns_of({"model": model, "accelerator": name, **settings}), Technology.load()
        )
        for action, count in chunk.activity.counts.items():
            each = count.each()[:, 0]
            assert (each == np.round(each)).all(), (action, settings)


def test_the_issues_number_of_conversions_is_gone() -> None:
    """6-bit converters were counted as 0.7 of 8-bit ones; their price says so instead."""
    shown: Any = elector.explain(
        "bert-tiny", "isaac", "energy_j", settings={"accelerator.adc_bits": 6}
    )
    adc = next(t for t in shown["terms"] if t["name"] == "adc")
    full: Any = elector.explain("bert-tiny", "isaac", "energy_j")
    eight = next(t for t in full["terms"] if t["name"] == "adc")
    # 128 rows are driven in four groups of at most 42, the 64 of the scores in two
    scores = 2 * 2 * 128 * 16 * 128 * 8  # layers, heads, vectors, bits, outputs, slices
    assert eight["count"] == 62_930_944
    assert adc["count"] == 4 * (62_930_944 - scores) + 2 * scores == 234_946_560
    assert adc["price"] == pytest.approx(0.72 * 1.5625e-12)
    assert set(adc["rows"]) == {"reram.isaac:adc", "reram.adc_6:energy_factor"}


def test_every_row_is_read() -> None:
    """By the price of an action or a part, for some choice of the settings it depends on."""
    units = next(iter(resolve(columns_of({"model": "bert-tiny", "accelerator": "reram"}), 1))).units
    parts = RERAM.parts(units).values()
    keys = [action.price for action in RERAM.actions.values()]
    keys += [key for p in parts for key in (p.area, p.leakage) if key is not None]
    asked = set()
    for part, quantity in keys:
        terms = [part if ":" not in name else "" for name in re.split(r" [*+] ", quantity)]
        names = [
            f"{own}:{name}" if own else name
            for own, name in zip(terms, re.split(r" [*+] ", quantity), strict=True)
        ]
        for name in names:
            asked |= set(_expanded(name))
    rows = {
        f"{row['part']}:{row['quantity']}"
        for row in csv.DictReader((DATA / "technology" / "reram.csv").open(encoding="utf-8"))
    }
    assert rows <= asked, sorted(rows - asked)


def _expanded(name: str) -> list[str]:
    """A name with every value of the settings in braces."""
    names = [name]
    for key in re.findall(r"{(\w+)}", name):
        if key == "compute":
            values = list(schema("reram")["datapath"].choices)
        else:
            field = schema("reram")[key]
            values = list(field.choices) or [
                str(i) for i in range(int(field.low or 0), int(field.high or 0) + 1)
            ]
        names = [text.replace(f"{{{key}}}", value) for text in names for value in values]
    return names


def test_every_constant_of_the_cells_is_read() -> None:
    for bits in range(1, int(schema("reram")["cell_bits"].high or 0) + 1):
        assert geometry.constants()[f"pulses_{bits}"] >= 1
    assert len(geometry.constants()) == 9
    units = next(iter(resolve(columns_of({"model": "bert-tiny", "accelerator": "isaac"}), 1))).units
    assert geometry.channels(units)[0] == 1
    fast = units.replace(adc_rate=np.array([1.29e9]))
    assert geometry.channels(fast)[0] == 2


def area(**settings: object) -> float:
    result = elector.simulate(
        "bert-tiny", "isaac", settings={f"accelerator.{k}": v for k, v in settings.items()}
    )
    return float(result["area_mm2"])


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("links", [0, 1, 4, 64]),
        ("adc_rate", [1.28e9, 1.3e9, 1e11]),
        ("adc_bits", [8, 9, 10, 14]),
        ("write_power", [1, 10, 1000]),
        ("buffer", [65536, 2**20, 2**30]),
        ("crossbars_per_unit", [8, 9, 4096]),
        ("units_per_tile", [12, 13, 4096]),
        ("bandwidth", [1e9, 25.6e9, 1e12]),
        ("tiles", [168, 169, 1000]),
        ("rows", [128, 129, 4096]),
        ("digital_macs", [0, 1, 65536]),
    ],
)
def test_nothing_more_is_free(key: str, values: list[float]) -> None:
    """What makes a chip faster or larger takes area; the rest is limited by the schema."""
    areas = [area(**{key: value}) for value in values]
    assert all(b > a for a, b in itertools.pairwise(areas)), areas


@pytest.mark.parametrize("key", ["crossbars_per_unit", "units_per_tile"])
def test_grouping_crossbars_differently_saves_nothing(key: str) -> None:
    """Registers, bus and routers grow with the rows and columns that they serve."""
    parts = ("crossbar", "dac", "sample", "adc", "unit", "tile")
    few = elector.simulate("bert-tiny", "isaac", settings={"accelerator.tiles": 168})
    many = elector.simulate(
        "bert-tiny",
        "isaac",
        settings={
            "accelerator.tiles": 1,
            f"accelerator.{key}": 168 * {"crossbars_per_unit": 8, "units_per_tile": 12}[key],
        },
    )
    for part in parts:
        assert many["area_by_part_mm2"][part] == pytest.approx(few["area_by_part_mm2"][part])


def test_links_are_priced_one_by_one() -> None:
    one, four = (
        elector.simulate("bert-tiny", "isaac", settings={"accelerator.links": n}) for n in (1, 4)
    )
    assert four["area_by_part_mm2"]["link"] == pytest.approx(22.88)
    assert one["area_by_part_mm2"]["link"] == pytest.approx(22.88 / 4)
    shown: Any = elector.explain("bert-tiny", "isaac", "energy_j")
    link = next(t for t in shown["terms"] if t["name"] == "link standing")
    assert link["watts"] == pytest.approx(10.4)


def test_a_memory_delivers_what_its_channels_do_and_a_clock_costs() -> None:
    """DDR4 has eight channels of 25.6 GB/s; at 32 nm 0.7 GHz need no more than nominal supply."""

    def simulated(**settings: object) -> Any:
        asked = {f"accelerator.{k}": v for k, v in settings.items()}
        return elector.simulate("bert-tiny", "reram", settings=asked)

    assert simulated(memory="ddr4", bandwidth=8 * 25.6e9)["feasible"]
    more = simulated(memory="ddr4", bandwidth=8 * 25.6e9 + 1)
    assert not more["feasible"] and more["reason"].startswith("main memory: asks for 205 GB/s")
    slow, fast = simulated(clock=0.7e9), simulated(clock=1.1e9)
    for part in ("digital", "vector"):
        assert fast["energy_by_part_j"][part] > 1.2 * slow["energy_by_part_j"][part]
    assert fast["energy_by_part_j"]["adc"] == slow["energy_by_part_j"]["adc"]
    reason = simulated(clock=2e9)["reason"]
    assert reason is not None and reason.startswith("clock: asks for 2.00 GHz")
