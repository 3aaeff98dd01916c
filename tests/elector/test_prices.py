"""Prices stand in the technology tables only: explain multiplies out, every row is read, counts
are whole, and a draw of the constants is priced as the tables would be with its values."""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amounts import draws
from random_designs import designs, fields_of

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, Column
from elector.base.units import parse
from elector.evaluation.path import evaluate, inspect
from elector.machines import MACHINES, memories
from elector.studies.simulation import columns_of, sweep
from elector.technology import Technology
from elector.technology.laws import factor

HYBRIDS = ("hpt", "reram+systolic")
RELATIVE = 1e-12


@cache
def random_rows(machine: str, size: int, seed: int) -> list[dict[str, Any]]:
    """Random designs of a machine that can run, as settings."""
    table = designs(machine, 48, seed)
    rows = (
        {key: values[i] for key, values in table.items() if values[i] is not None}
        for i in range(48)
    )
    return list(islice(filter(runs, rows), size))


def runs(row: dict[str, Any]) -> bool:
    """Whether there is a result: the device has the format, and the design fits."""
    try:
        return bool(evaluate(columns_of(row), 1).feasible[0])
    except InputError:
        return False


def explained(row: dict[str, Any], result: str) -> dict[str, Any]:
    """The derivation of a result of one design."""
    settings = {k: v for k, v in row.items() if k not in ("model", "accelerator")}
    return elector.explain(row["model"], row["accelerator"], result, settings=settings)


def multiplied(term: dict[str, Any]) -> float:
    """Amount x price x factors."""
    amount = term["count"] if "count" in term else term["amount"]
    return float(amount) * term["price"] * math.prod(f["value"] for f in term["factors"])


def follows(row: dict[str, Any], result: str) -> None:
    """Every term multiplies out, and their sum is the result."""
    shown = explained(row, result)
    for term in shown["terms"]:
        assert term["value"] == pytest.approx(multiplied(term), rel=RELATIVE), (term, row)
    simulated = float(evaluate(columns_of(row), 1).scalar(result)[0])
    total = sum(map(multiplied, shown["terms"]))
    assert total == pytest.approx(simulated, rel=RELATIVE)


@pytest.mark.parametrize("result", ["energy_j", "area_mm2"])
@pytest.mark.parametrize("machine", [*MACHINES, *HYBRIDS])
def test_every_term_is_count_times_price_times_law(machine: str, result: str) -> None:
    rows = random_rows(machine, draws(8, 4), 7)
    assert len(rows) >= draws(5, 4)
    for row in rows:
        follows(row, result)


@pytest.mark.parametrize("limit", [130.0, 180.0, 250.0])
def test_the_voltage_a_power_limit_leaves_is_a_factor(limit: float) -> None:
    row = {
        "model": "bert-base",
        "accelerator": "v100-sxm-32gb",
        "accelerator.power_limit": limit,
        "workload.batch": 64,
        "workload.mode": "training",
        "workload.precision": "fp16-amp",
        "workload.attention": "unfused",
    }
    follows(row, "energy_j")
    lowered = [f for t in explained(row, "energy_j")["terms"] for f in t["factors"]]
    assert any("voltage" in f["name"] for f in lowered) == (limit < 200)


@pytest.mark.parametrize(("side", "kib"), [(64, 256), (32, 128), (16, 64), (8, 32)])
def test_a_small_memory_pays_for_the_least_that_the_law_has(side: int, kib: int) -> None:
    """Reads of small accumulators were charged 2.00x (64 KiB) and 2.83x (32 KiB) of the law."""
    settings: dict[str, object] = {"accelerator.rows": side, "accelerator.cols": side}
    shown: Any = elector.explain("bert-tiny", "systolic", "energy_j", settings=settings)
    term = next(t for t in shown["terms"] if t["name"] == "accumulator read")
    (law,) = term["factors"]
    assert law["value"] == pytest.approx(math.sqrt(262144 / 1e6))
    assert ("the least for" in law["name"]) == (kib < 256)
    assert ("law.sqrt_size:floor" in term["rows"]) == (kib < 256)
    assert law["value"] / math.sqrt(kib * 1024 / 1e6) == pytest.approx(math.sqrt(256 / kib))


def test_the_floor_of_the_law_is_a_row_that_can_be_set(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text(
        "part,quantity,value,unit,node_nm,law,source,evidence,verified,note\n"
        "law.sqrt_size,floor,1,KiB,,,my memory compiler,measured,no,\n"
    )
    settings: dict[str, object] = {"accelerator.rows": 16, "accelerator.cols": 16}
    cheap = elector.simulate(
        "bert-tiny", "systolic", settings=settings, technology=Technology.load(own)
    )
    dear = elector.simulate("bert-tiny", "systolic", settings=settings)
    part = "accumulators"
    assert cheap["energy_by_part_j"][part] == pytest.approx(dear["energy_by_part_j"][part] / 2)
    assert factor("sqrt_size", np.array([1e6]), 262144.0) == 1.0


def with_everything() -> Iterator[dict[str, Any]]:
    """Every choice of every setting of every machine, at every node of the tables."""
    nodes = sorted({row.node for row in Technology.load().rows if row.node})
    for machine in (*MACHINES, *HYBRIDS):
        row = {"model": "bert-tiny", "accelerator": machine}
        yield row
        for key, field in fields_of(machine).items():
            inside = [n for n in nodes if (field.low or 0.0) <= n <= (field.high or 0.0)]
            values = inside if key.rpartition(".")[2] == "node" else list(field.choices)
            for value in values:
                whole = field.type == "int" and field.choices
                yield row | {f"accelerator.{key}": int(value) if whole else value}
    for lane in (1, 16):  # lanes of another width have another activation function
        for function in ("relu", "gelu"):
            yield {
                "model": "bert-tiny",
                "accelerator": "acceltran",
                "accelerator.mac_per_lane": lane,
                "accelerator.nonlinearity": function,
            }
    for bits in range(1, 15):  # converters of every width
        yield {
            "model": "bert-tiny",
            "accelerator": "reram",
            "accelerator.adc_bits": bits,
            "accelerator.dac_bits": min(bits, 8),
            "accelerator.rows": 8,
        }
    for precision in ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"):
        yield {
            "model": "bert-tiny",
            "accelerator": "h100-sxm-80gb",
            "workload.precision": precision,
        }
    for tensor, precision in product((True, False), ("nvfp4", "mxfp4")):
        yield {
            "model": "bert-tiny",
            "accelerator": "b200-sxm-192gb",
            "workload.precision": precision,
            "accelerator.tensor": tensor,
        }


def test_every_row_of_the_tables_is_read() -> None:
    technology = replace(Technology.load(), _prices={})
    rows = list(with_everything())
    keys = dict.fromkeys(key for row in rows for key in row)
    # a format the device has not, a combination that makes no sense: left out
    sweep({k: Column.of([r.get(k) for r in rows]) for k in keys}, len(rows), technology=technology)
    read = {id for price in technology._prices.values() for id in (*price.rows, price.floor_row)}
    assert {row.id for row in technology.rows} <= read


def test_tables_of_a_machine_are_read_whole() -> None:
    """Constants that are no prices, such as the rate of a channel, stand in a table, too."""
    with (DATA / "memories.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {name: memory.rate for name, memory in memories.known().items()} == {
        row["memory"]: parse(row["channel_rate"], "byte/s") for row in rows
    }
    for row in rows:
        assert row["source"] and row["evidence"] in ("published", "derived", "assumed")


#: Powers of ten that change a unit, bounds against a division by zero, and shares.
LEAST, MOST = 1e-15, 1e5


@pytest.mark.parametrize("room", ["machines", "cost", "hybrid", "evaluation"])
def test_no_joules_seconds_or_bytes_a_second_in_code(room: str) -> None:
    """Rates and prices are far from one in SI; sizes of blocks, shares and orders are not."""
    for path in sorted((DATA.parent / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, float):
                continue
            value = abs(node.value)
            usual = value in (0.0, 1e-9, 1e-300, 1e-30, 1e6) or 1e-4 <= value <= MOST
            assert usual, f"{path.name} line {node.lineno}: {value:g}"


@pytest.mark.parametrize("machine", ["systolic", "gpu"])
def test_every_count_is_whole(machine: str) -> None:
    """ReRAM's are tested with its plans; those of AccelTran are averages over lanes and tiles.

    Bytes that a GPU's caches do not have are expected ones; what runs while kernels do is a time.
    """
    for row in random_rows(machine, draws(8, 4), 7):
        chunk = inspect(columns_of(row), Technology.load())
        for name, count in chunk.activity.counts.items():
            each = count.each()[:, 0]
            open_ = ("cache", "path", "main memory", "interface", "running")
            expected = machine == "gpu" and name in open_
            assert expected or np.array_equal(each, np.round(each)), (name, row)


@pytest.fixture(scope="module")
def constants() -> dict[str, float]:
    return {row.id: row.value for row in Technology.load().rows}


@pytest.mark.parametrize("machine", [*MACHINES, "a100-sxm-40gb", *HYBRIDS])
def test_draws_of_constants_are_priced_in_one_call(
    machine: str, constants: dict[str, float]
) -> None:
    """S equal draws have the bits of one; each draw those of the tables with its values."""
    batches = [1, 4, 16]
    columns = {
        "model": Column.of(["bert-tiny"] * 3),
        "accelerator": Column.of([machine] * 3),
        "workload.batch": Column.of(batches),
    }
    random = np.random.default_rng(5)
    same = Technology.load().drawn({id: [value] * 4 for id, value in constants.items()})
    values = {id: list(value * random.uniform(0.8, 1.25, 4)) for id, value in constants.items()}
    other = Technology.load().drawn(values)
    alone = Technology.load().drawn({id: drawn[2:3] for id, drawn in values.items()})
    plain = evaluate(columns, 3, level="groups")
    one = evaluate(columns, 3, technology=alone, level="groups")
    equal = evaluate(columns, 3, technology=same, level="groups")
    drawn = evaluate(columns, 3, technology=other, level="groups")
    for name in plain.names():
        each = equal.scalar(name).reshape(4, 3)
        assert np.array_equal(each, np.tile(plain.scalar(name), (4, 1)), equal_nan=True), name
        third = drawn.scalar(name).reshape(4, 3)[2]
        assert np.array_equal(third, one.scalar(name), equal_nan=True), name
    assert np.ptp(drawn.scalar("energy_j").reshape(4, 3)[:, 0]) > 0


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sram:read_energy@14": []},
        {"sram:read_energy@14": [1e-12], "law.sqrt_size:floor": [1.0, 2.0]},
        {"sram:read_energie@14": [1e-12]},
        {"sram:read_energy@14": [-1e-12]},
        {"sram:read_energy@14": [math.nan]},
    ],
)
def test_draws_that_mean_nothing(values: dict[str, list[float]]) -> None:
    with pytest.raises(InputError):
        Technology.load().drawn(values)


def test_one_design_has_one_price() -> None:
    drawn = Technology.load().drawn({"sram:read_energy@14": [1e-12, 2e-12]})
    for ask in (elector.simulate, lambda *a, **k: elector.explain(*a, "energy_j", **k)):
        with pytest.raises(InputError, match="several draws"):
            ask("bert-tiny", "systolic", technology=drawn)
    with pytest.raises(InputError, match="several draws"):
        elector.sweep([{"model": "bert-tiny", "accelerator": "systolic"}], technology=drawn)
