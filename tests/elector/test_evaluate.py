"""The one path: a design by hand, many structures in one table, reasons and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import columns, settings_of

import elector
from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.pricing import Cost
from elector.evaluation.path import evaluate
from elector.technology import Technology


def one(model: str, accelerator: str, **settings: Any) -> Cost:
    return evaluate(columns(1, settings_of(model, accelerator, settings)), 1, level="groups")


# ---- by hand ----


@pytest.fixture
def product(tmp_path: Path) -> str:
    """One product of 4 x 4 by 4 x 4."""
    path = tmp_path / "one.csv"
    path.write_text("name,M,N,K\np,4,4,4\n")
    return str(path)


TINY: dict[str, Any] = {
    "accelerator__rows": 4,
    "accelerator__cols": 4,
    "accelerator__sram": 1e6,
    "accelerator__clock": 1e9,
    "accelerator__bandwidth": 1e12,
    "accelerator__memory": "hbm2",
    "accelerator__memory_capacity": 1e9,
    "accelerator__node": 14,
    "accelerator__dataflow": "ws",
    "accelerator__accumulators": 1e6,
}


def test_a_product_by_hand(product: str) -> None:
    """14 cycles: load 4, stream 4, skew 6. Operands of 32 bytes each come, as many go."""
    cost, prices = one(product, "systolic", **TINY), Technology.load()

    def price(part: str, quantity: str) -> float:
        return prices.price(part, quantity, 14.0).value

    # 32 bytes fill the cells before anything runs, and 32 start the stream.
    assert cost.latency_s[0] == pytest.approx(14e-9 + 64 / 1e12, rel=1e-12)
    part = {name: values[0] for name, values in cost.groups["energy_by_part_j"].items()}
    assert part["mac"] == pytest.approx(64 * price("mac.bf16", "energy"))
    # Each product hands on an input of 2 bytes and a sum of 4.
    assert part["register"] == pytest.approx(64 * 6 * price("register", "energy"))
    # Array: reads a and b, writes the result. Main memory: writes both, reads the result.
    both = price("sram", "read_energy") + price("sram", "write_energy")
    assert part["sram"] == pytest.approx(96 * both)  # 1 MB: the price as it stands
    assert part["accumulators"] == pytest.approx(16 * 4 * both)
    assert part["main memory"] == pytest.approx(96 * price("dram.hbm2", "energy"))
    assert part["interface"] == pytest.approx(96 * price("dram.hbm2", "interface_energy"))
    assert part["vector"] == 0
    area = {name: values[0] for name, values in cost.groups["area_by_part_mm2"].items()}
    chip = {
        "array": 16 * price("mac.bf16", "area"),
        "vector": 4 * price("vector.fp32", "area"),
        "special": 4 / 4 * price("vector.special", "area"),
        "sram": 1e6 * price("sram", "area"),
        "accumulators": 1e6 * price("sram", "area"),
        "interface": 1e12 * price("dram.hbm2", "interface_area"),
    }
    for name, expected in chip.items():
        assert area[name] == pytest.approx(1e6 * expected), name
    whole = sum(chip.values()) * (1 + price("overhead", "area_fraction"))
    assert cost.area_mm2[0] == pytest.approx(1e6 * whole)
    logic = sum(chip[name] for name in ("array", "vector", "special", "interface"))
    watts = logic * price("logic", "leakage") + 2e6 * price("sram", "leakage")
    watts += 1e12 * price("dram.hbm2", "standby") + whole * price("overhead", "idle_power")
    assert part["leakage"] == pytest.approx(watts * cost.latency_s[0])
    assert cost.utilization[0] == pytest.approx(64 / (16e9 * cost.latency_s[0]))
    assert (cost.macs[0], cost.parameters[0], cost.peak_ops_per_s[0]) == (64, 16, 32e9)


@pytest.mark.parametrize(
    ("size", "expected"), [(4e6, 2.0), (1e6, 1.0), (2.0**18, 0.512), (1e4, 0.512)]
)
def test_a_larger_memory_costs_more_per_byte(product: str, size: float, expected: float) -> None:
    """Square root of the size over 1 MB, down to 256 KiB (0.262144 MB)."""
    base = one(product, "systolic", **TINY).groups["energy_by_part_j"]["sram"][0]
    cost = one(product, "systolic", **(TINY | {"accelerator__sram": size}))
    assert cost.groups["energy_by_part_j"]["sram"][0] / base == pytest.approx(expected)


def test_idle_power_follows_the_clock_and_the_die(product: str) -> None:
    """At half the clock half the idle watts; each part of the die as firm as its own price."""
    price = Technology.load().price("overhead", "idle_power", 14.0).value
    watts = []
    for clock in (1e9, 0.5e9):
        cost = one(product, "systolic", **(TINY | {"accelerator__clock": clock}))
        leakage = cost.groups["energy_by_part_j"]["leakage"][0] / cost.latency_s[0]
        watts.append(leakage)
    assert watts[0] - watts[1] == pytest.approx(0.5 * price * cost.area_mm2[0] * 1e-6)


def test_idle_joules_count_under_the_firmness_of_each_area(product: str, tmp_path: Path) -> None:
    """An assumed area of the arrays alone makes their share of the idle joules assumed, no more."""
    own = tmp_path / "own.csv"
    own.write_text(
        "part,quantity,value,unit,node_nm,source,evidence\n"
        "mac.bf16,area,1e6,um2,14,a guess,assumed\n"
    )
    table = columns(1, settings_of(product, "systolic", TINY))
    assumed_joules = {}
    for name, technology in (("own", Technology.load(own)), ("ours", Technology.load())):
        cost = evaluate(table, 1, level="groups", technology=technology)
        energy = {k: v[0] for k, v in cost.groups["energy_by_part_j"].items()}
        area = {k: v[0] for k, v in cost.groups["area_by_part_mm2"].items()}
        assumed_joules[name] = cost.groups["provenance"]["assumed"][0] * sum(energy.values())
    idle = Technology.load().price("overhead", "idle_power", 14.0).value * cost.latency_s[0]
    # 16 cells of 1 mm2 and their share of the overhead, and what leaks in them
    leak = Technology.load().price("logic", "leakage", 14.0).value * cost.latency_s[0]
    assert area["array"] < 1  # theirs, the last of the two, is far below
    assert assumed_joules["own"] - assumed_joules["ours"] == pytest.approx(
        16e-6 * (1.5 * idle + leak), rel=0.01
    )


def test_a_bound_by_memory_is_bytes_over_bandwidth(product: str) -> None:
    """1,000 bytes a second: the bytes of all operands, nothing else."""
    cost = one(product, "systolic", **(TINY | {"accelerator__bandwidth": 1e3}))
    assert 96e-3 <= cost.latency_s[0] <= (96 + 64) * 1e-3 + 1e-6


def test_prices_of_the_users_own(product: str, tmp_path: Path) -> None:
    """An override changes the part it prices, and the total by as much."""
    path = tmp_path / "mine.csv"
    before = Technology.load().price("mac.bf16", "energy", 14.0).value
    path.write_text(
        "part,quantity,value,unit,node_nm,law,source,evidence,note\n"
        f"mac.bf16,energy,{before * 3e12!r},pJ/op,14,constant,my own,measured,three times\n"
    )
    table = columns(1, settings_of(product, "systolic", TINY))
    changed = evaluate(table, 1, technology=Technology.load(path), level="groups")
    plain = evaluate(table, 1, level="groups")
    part, other = changed.groups["energy_by_part_j"], plain.groups["energy_by_part_j"]
    assert part["mac"][0] == pytest.approx(3 * other["mac"][0])
    assert changed.energy_j[0] - plain.energy_j[0] == pytest.approx(2 * other["mac"][0])
    assert changed.groups["provenance"]["measured"][0] > plain.groups["provenance"]["measured"][0]


# ---- one table ----

MIXED: list[dict[str, Any]] = [
    {"model": "bert-base", "accelerator": "tpu-v4i"},
    {"model": "gpt2", "accelerator": "systolic", "workload.generate": 5},
    {"model": "bert-base", "accelerator": "tpu-v1"},
    {"model": "vit-base", "accelerator": "tpu-v3", "workload.mode": "training"},
    {"model": "bert-base", "accelerator": "tpu-v4i", "workload.batch": 4},
    {"model": "t5-base", "accelerator": "systolic", "accelerator.rows": 32},
    {"model": "encoder", "accelerator": "systolic", "model.layers": 2, "model.hidden": 256},
    {"model": "bert-tiny", "accelerator": "systolic", "model.head": "masked-lm"},
    {"model": "bert-tiny", "accelerator": "systolic", "model.head": "classifier"},
    {"model": "bert-large", "accelerator": "systolic", "accelerator.memory_capacity": "1 MB"},
    {"model": "gpt2", "accelerator": "systolic", "workload.generate": 50},
    {"model": "gpt2", "accelerator": "systolic"},
    {"model": "bert-tiny", "accelerator": "systolic", "workload.attention": "flash"},
    {"model": "encoder", "accelerator": "tpu-v2", "model.heads": 6, "workload.mode": "training"},
    {"model": "bert-tiny", "accelerator": "gpu"},
]


def mixed() -> tuple[dict[str, Column], int]:
    keys = sorted({key for row in MIXED for key in row})
    table = {key: Column.of([row.get(key) for row in MIXED]) for key in keys}
    return table, len(MIXED)


def test_rows_of_many_structures_keep_their_order() -> None:
    """Each row of one evaluation is the design simulated alone; unset cells are defaults."""
    table, size = mixed()
    cost = evaluate(table, size, level="groups")
    for i, row in enumerate(MIXED):
        settings = {k: v for k, v in row.items() if k not in ("model", "accelerator")}
        alone = elector.simulate(row["model"], row["accelerator"], settings=settings)
        for name in ("latency_s", "energy_j", "area_mm2", "macs", "parameters", "power_w"):
            value = cost.scalar(name)[i]
            assert alone[name] == (None if np.isnan(value) else value), (i, name)
        assert (alone["feasible"], alone["reason"]) == (cost.feasible[i], cost.reason(i))


def test_a_setting_that_equals_the_default_changes_nothing() -> None:
    plain = one("bert-tiny", "systolic")
    spelled = one(
        "bert-tiny",
        "systolic",
        accelerator__rows="128",
        accelerator__clock="0.7 GHz",
        accelerator__sram="8 MB",
        batch=1,
        precision="native",
        optimizer="adamw",
        accelerator__double_buffer="true",
        accelerator__memory="hbm2",
    )
    for name in plain.names():
        assert plain.scalar(name)[0] == spelled.scalar(name)[0], name


def test_every_setting_is_honoured() -> None:
    """No key of the machine or the workload is read and then forgotten."""
    base: dict[str, Any] = {"mode": "training", "batch": 4, "sequence_length": 128}
    other: dict[str, Any] = {
        "accelerator__rows": 64,
        "accelerator__cols": 64,
        "accelerator__arrays": 2,
        "accelerator__dataflow": "os",
        "accelerator__datapath": "fp32",
        "accelerator__vector_lanes": 16,
        "accelerator__sram": 2e5,
        "accelerator__accumulators": 1e5,
        "accelerator__sram_bandwidth": 1e9,
        "accelerator__bandwidth": 1e9,
        "accelerator__memory": "lpddr4",
        "accelerator__clock": 1e9,
        "accelerator__node": 28,
        "accelerator__special_cycles": 16,
        "accelerator__double_buffer": False,
        "accelerator__preload": "serial",
        "accelerator__fuse": False,
        "accelerator__convention": "scalesim",
        "accelerator__memory_capacity": 1e4,
        "accelerator__training_support": "false",
        "mode": "inference",
        "batch": 8,
        "sequence_length": 64,
        "precision": "bf16",
        "optimizer": "sgd",
        "activations": "recompute",
        "attention": "flash",
        "gradient_accumulation": 2,
        "trainable": "heads",
        "model__head": "masked-lm",
        "model__layers": 3,
    }
    shown = ("latency_s", "energy_j", "area_mm2", "power_w")

    def results(**settings: Any) -> list[float]:
        cost = one("bert-tiny", "systolic", **(base | settings))
        return [float(cost.scalar(name)[0]) for name in shown]

    plain = results()
    small = results(accelerator__sram=3e5)  # where a second buffer and streaming count
    for key, value in other.items():
        settings = {key: value}
        changed = (
            results(**settings),
            results(accelerator__sram=3e5, **settings) if (key != "accelerator__sram") else small,
        )
        assert changed[0] != plain or changed[1] != small, key


# ---- reasons ----


def test_a_memory_that_is_too_small_is_a_reason_with_numbers() -> None:
    """109,482,240 parameters in bf16 and the widest pair of tensors alive at once."""
    capacity = 2e8
    cost = one("bert-base", "systolic", accelerator__memory_capacity=capacity)
    assert not cost.feasible[0] and np.isnan(cost.latency_s[0]) and np.isnan(cost.energy_j[0])
    needed = 2 * 109482240 + 2 * 128 * (768 + 3072)
    assert (cost.reason_needed[0], cost.reason_available[0]) == (needed, capacity)
    assert cost.reason(0) == "main memory: needs 220 MB, has 200 MB"
    assert (cost.parameters[0], cost.macs[0] > 0) == (109482240, True)
    enough = one("bert-base", "systolic", accelerator__memory_capacity=float(needed))
    assert enough.feasible[0] and enough.reason(0) is None


def test_a_memory_that_holds_no_two_tiles_takes_turns() -> None:
    """fp32: 32 elements of both operands and one sum, 260 bytes, in a quarter of the memory."""
    seconds = {
        (sram, double): one(
            "bert-base",
            "systolic",
            accelerator__datapath="fp32",
            accelerator__sram=sram,
            accelerator__double_buffer=double,
        ).latency_s[0]
        for sram in (1039, 1040)
        for double in (False, True)
    }
    assert seconds[1039, True] == seconds[1039, False] > seconds[1040, True]
    assert seconds[1040, True] < seconds[1040, False]


def test_the_first_broken_limit_is_the_reason() -> None:
    cost = one("bert-base", "tpu-v1", mode="training", accelerator__memory_capacity=1e6)
    assert "does not train" in str(cost.reason(0))


# ---- errors ----


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"accelerator__rowz": 4}, "accelerator.rowz", "accelerator.rows"),
        ({"accelerator__rows": 0}, "accelerator.rows", "0"),
        ({"accelerator__rows": -3}, "accelerator.rows", "-3"),
        ({"accelerator__rows": 1.5}, "accelerator.rows", "1.5"),
        ({"accelerator__sram": "4 MW"}, "accelerator.sram", "MW"),
        ({"accelerator__dataflow": "wss"}, "accelerator.dataflow", "ws"),
        ({"accelerator__clock": "nan"}, "accelerator.clock", "nan"),
        ({"model__heads": 7}, "model.heads", "7"),
        ({"model__hidden": 2**21}, "model.hidden", "2097152"),
        ({"batch": 0}, "workload.batch", "0"),
        ({"mode": "trainin"}, "workload.mode", "training"),
        ({"sequence_length": 513}, "workload.sequence_length", "512"),
        ({"generate": 3}, "workload.generate", "bert-base"),
        ({"precision": "fp32"}, "workload.precision", "bf16"),
        ({"trainable": "lora:x"}, "workload.trainable", "lora:R"),
        (
            {"trainable": "heads", "mode": "training", "model__head": "none"},
            "workload.trainable",
            "has no head",
        ),
        ({"implementation": "compiled"}, "workload.implementation", "eager"),
    ],
)
def test_errors_name_the_field(settings: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        one("bert-base", "systolic", **settings)
    assert raised.value.field == field and words in str(raised.value)


def test_a_tied_head_has_nothing_of_its_own_to_train() -> None:
    """The model has a head; the embedding is its matrix. A vocabulary head that is not tied trains
    beside low-rank pairs, too."""
    heads = {"trainable": "heads", "mode": "training", "precision": "bf16"}
    with pytest.raises(InputError, match=r"head \(causal-lm\) is tied to the embedding") as raised:
        one("gpt2", "a100-sxm-80gb", **heads)
    assert "set model.head" not in str(raised.value)
    # 32,000 x 4,096 of Llama-2-7B, and pairs of rank 8 on queries and values of 32 layers
    head, pairs = 32000 * 4096, 32 * 2 * 8 * 2 * 4096
    for trainable, trains in (("heads", head), ("lora:8", head + pairs)):
        settings = heads | {"precision": "fp16-amp", "trainable": trainable}
        cost = one("llama-2-7b", "a100-sxm-80gb", **settings)
        assert cost.scalar("memory_bytes.gradients")[0] == 4 * trains


def test_unknown_names_suggest_the_nearest() -> None:
    for model, accelerator, near in (
        ("bert-bsae", "systolic", "bert-base"),
        ("bert-base", "tpu-v4", "tpu-v4i"),
    ):
        with pytest.raises(InputError, match=near):
            one(model, accelerator)


def test_tables_that_are_none() -> None:
    table = {"model": Column.constant("bert-tiny", 3), "accelerator": Column.constant("tpu-v3", 2)}
    with pytest.raises(InputError, match="2 rows"):
        evaluate(table, 3)
    with pytest.raises(InputError, match="accelerator"):
        evaluate({"model": Column.constant("bert-tiny", 1)}, 1)
    with pytest.raises(InputError, match="level"):
        evaluate(columns(1, settings_of("bert-tiny", "tpu-v3", {})), 1, level="all")


def test_a_setting_of_another_machine_is_refused_where_it_is_set() -> None:
    table = {
        "model": Column.constant("bert-tiny", 2),
        "accelerator": Column.of(["systolic", "gpu"]),
        "accelerator.dataflow": Column.of(["os", None]),
    }
    assert evaluate(table, 2).feasible.all()
    with pytest.raises(InputError) as raised:
        evaluate(table | {"accelerator.dataflow": Column.of(["os", "ws"])}, 2)
    assert raised.value.field == "accelerator.dataflow"


def test_results_by_name() -> None:
    cost = one("bert-tiny", "systolic")
    assert cost.scalar("energy_by_part_j.mac") is cost.groups["energy_by_part_j"]["mac"]
    assert cost.scalar("latency_s") is cost.latency_s
    assert {"latency_s", "memory_bytes.weights", "provenance.assumed"} <= set(cost.names())
    with pytest.raises(InputError, match="latency_s"):
        cost.scalar("latencys")
    with pytest.raises(AttributeError):
        _ = cost.latencys


@pytest.mark.parametrize(
    ("accelerator", "setting", "values"),
    [
        ("systolic", "accelerator.rows", [64, 128]),  # arrays of a kind
        ("acceltran-edge", "accelerator.pe", [32, 64]),  # lanes of a combination
    ],
)
def test_what_is_worked_out_once_for_many_is_what_each_would_be_alone(
    accelerator: str, setting: str, values: list[int]
) -> None:
    """Depths and memories that share the seconds of their products change no bit of them."""
    size = 48
    table = columns(
        size,
        {
            "model": "bert-tiny",
            "model.layers": [2, 3, 4] * (size // 3),
            "accelerator": accelerator,
            setting: [value for value in values for _ in range(size // 2)],
            "accelerator.double_buffer": [True, True, True, False] * (size // 4),
            "workload.mode": "training",
            "workload.batch": [8, 8, 8, 8, 12, 12, 12, 12] * (size // 8),
        },
    )
    together = evaluate(table, size, level="groups")
    assert len(set(together.scalar("latency_s").tolist())) >= 12
    for i in range(0, size, 5):
        one = {key: column.take(np.array([i])) for key, column in table.items()}
        alone = evaluate(one, 1, level="groups")
        for name in together.names():
            np.testing.assert_array_equal(alone.scalar(name)[0], together.scalar(name)[i], name)
