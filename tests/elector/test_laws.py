"""Laws that every machine must keep, on random tables of designs.

A table of a few hundred designs of one machine (several models and modes, random hardware) is
evaluated once; most laws are statements on that table.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from amounts import draws
from builders import columns, inside
from random_designs import (
    Table,
    designs,
    fields_of,
    formats_of,
    hardware,
    highest_clock,
    memory_rate,
)

import elector
from elector.cost import pricing
from elector.cost.pricing import Cost
from elector.evaluation.path import evaluate
from elector.machines import MACHINES
from elector.machines.contract import sum_rows
from elector.technology import Technology

SIZE = draws(300, 100)
#: Settings without which random designs of a machine could do too little to be worth testing.
ROOM: dict[str, dict[str, Any]] = {
    "gpu": {"accelerator__fp8_rate": 1e15},
    "reram": {
        "accelerator__tiles": 100_000,
        "accelerator__transposed_read": "bidirectional",
        "accelerator__digital_macs": 4096,
    },
    "reram+systolic": {
        "accelerator__units.tier.tiles": 100_000,
        "accelerator__units.tier.transposed_read": "bidirectional",
    },
}
#: More of this never costs time: machine -> settings. Rows and columns are not among them: a
#: larger array fits some shapes worse.
FASTER: dict[str, tuple[str, ...]] = {
    "systolic": (
        "bandwidth",
        "sram",
        "arrays",
        "clock",
        "vector_lanes",
        "sram_bandwidth",
        "memory_capacity",
    ),
    "acceltran": (
        "bandwidth",
        "activation_buffer",
        "weight_buffer",
        "mask_buffer",
        "clock",
        "pe",
        "lanes_per_pe",
        "softmax_per_pe",
        "buffer_port",
        "lane_port",
    ),
    "gpu": ("bandwidth", "power_limit", "l2", "host_speed", "memory_capacity"),
    "reram": (
        "bandwidth",
        "tiles",
        "clock",
        "vector_lanes",
        "digital_macs",
        "adc_rate",
        "adcs_per_crossbar",
        "buffer",
        "memory_capacity",
    ),
    "reram+systolic": (
        "units.tier.tiles",
        "units.tier.adc_rate",
        "units.tier.adcs_per_crossbar",
        "units.tier.bandwidth",
        "units.array.bandwidth",
        "units.array.sram",
        "units.array.arrays",
        "units.array.clock",
        "units.array.vector_lanes",
        "links.tier-array.bandwidth",
    ),
}
#: How much slower "never slower" may be where a machine quantises: the first tile that has to
#: arrive grows with a buffer, waves are dealt to whole elements (acceltran); the clock is found by
#: iteration (gpu).
#: One more copy of the weights leaves fewer spare crossbars for written operands (reram's tiles).
QUANTISED = {"acceltran": 0.02, "gpu": 1e-4, "reram tiles": 0.05}

#: Saving of a longer batch where an array that only attends fills and drains once for heads of
#: several sequences, while the pipeline around it takes each sequence on its own. A clock under a
#: power limit is found to a ten-millionth.
FILLED_ONCE = {"reram+systolic": 0.01, "gpu": 1e-7}

pytestmark = pytest.mark.parametrize("machine", (*MACHINES, "reram+systolic"))
#: Scalars that have no value for some designs: nothing generated, nothing that wears.
OPTIONAL = (
    "bandwidth_utilization",
    "time_",
    "tokens_",
    "lifetime_",
    "energy_per_token",
    "perplexity",
)
KEPT = ("macs", "parameters", "active_parameters", "area_mm2", "peak_ops_per_s")


@cache
def table(machine: str) -> Table:
    return designs(machine, SIZE, 1, **ROOM.get(machine, {}))


def costs(rows: Table, **options: Any) -> Cost:
    size = len(rows["model"])
    return evaluate(columns(size, rows), size, **{"level": "groups", **options})


@cache
def costs_of(machine: str) -> Cost:
    return costs(table(machine))


def rows_of(rows: Table, index: Any) -> Table:
    return {key: [values[i] for i in index] for key, values in rows.items()}


def same(one: Cost, other: Cost, here: Any, there: Any) -> None:
    """Bit for bit."""
    for name in one.names():
        np.testing.assert_array_equal(one.scalar(name)[here], other.scalar(name)[there], name)
    np.testing.assert_array_equal(one.feasible[here], other.feasible[there])


# ---- one design, many designs ----


def test_a_design_alone_is_the_design_in_a_batch(machine: str) -> None:
    for i in np.random.default_rng(0).integers(0, SIZE, draws(30, 10)):
        alone = costs(rows_of(table(machine), [i]), jobs=1)
        same(alone, costs_of(machine), [0], [i])
        assert alone.reason(0) == costs_of(machine).reason(i)


def test_a_setting_changes_its_own_design_only(machine: str) -> None:
    """Designs that share all settings but one, so that most of what is computed is shared, too."""
    keys = [
        key
        for key, values in table(machine).items()
        if key.startswith("accelerator.") and len(set(map(str, values))) > 1
    ]
    formats = {f"accelerator.{key}" for key in formats_of(machine)}
    base = {key: values[0] for key, values in table(machine).items()}
    rows: Table = {key: [value] * (2 * len(keys) + 20) for key, value in base.items()}
    for place, key in enumerate(keys):
        others = [v for v in table(machine)[key] if v != base[key]]
        if key not in formats:
            rows[key][2 * place] = others[0]
    together = costs(rows)
    for i in range(0, 2 * len(keys), 2):
        same(costs(rows_of(rows, [i]), jobs=1), together, [0], [i])


def test_neither_order_nor_threads_change_a_bit(machine: str) -> None:
    order = np.random.default_rng(1).permutation(SIZE)
    again = costs(rows_of(table(machine), order), jobs=2)
    same(again, costs_of(machine), np.arange(SIZE), order)
    same(costs(table(machine), jobs=1), costs_of(machine), np.arange(SIZE), np.arange(SIZE))


def test_a_large_batch_is_split_without_a_trace(machine: str) -> None:
    """More designs than a block or a chunk holds, three times over."""
    rows = rows_of(table(machine), list(range(40)) * 90)
    many = costs(rows, jobs=2, level="scalars")
    for name in many.scalars:
        values = many.scalar(name).reshape(90, 40)
        np.testing.assert_array_equal(values, np.broadcast_to(values[0], values.shape))
        if name in costs_of(machine).scalars:
            np.testing.assert_array_equal(values[0], costs_of(machine).scalar(name)[:40])


# ---- sums ----


def test_parts_sum_to_the_total(machine: str) -> None:
    cost = costs_of(machine)
    ok = cost.feasible
    assert ok.mean() > 0.3
    for group, total in (
        ("energy_by_part_j", cost.energy_j),
        ("energy_by_phase_j", cost.energy_j),
        ("latency_by_kind_s", cost.latency_s),
        ("provenance", np.ones(SIZE)),
        ("area_by_part_mm2", cost.area_mm2),
    ):
        parts = np.sum([values[ok] for values in cost.groups[group].values()], axis=0)
        np.testing.assert_allclose(parts, total[ok], rtol=1e-12, err_msg=group)


def test_scalars_follow_from_each_other(machine: str) -> None:
    cost, rows = costs_of(machine), table(machine)
    ok = cost.feasible
    training = np.array([m == "training" for m in rows["workload.mode"]])
    sequences = np.array(rows["workload.batch"]) * np.where(
        training, rows["workload.gradient_accumulation"], 1
    )
    for left, right in (
        (cost.power_w, cost.energy_j / cost.latency_s),
        (cost.latency_per_sequence_s, cost.latency_s / sequences),
        (cost.energy_per_sequence_j, cost.energy_j / sequences),
        (cost.throughput_sequences_per_s, sequences / cost.latency_s),
    ):
        np.testing.assert_allclose(left[ok], right[ok], rtol=1e-13)


def test_joules_of_operations_and_leakage_sum_to_the_energy(machine: str) -> None:
    """The JSON of a design: rows, leakage and total, each through its own code."""
    rows, cost = table(machine), costs_of(machine)
    for i in np.flatnonzero(cost.feasible)[:12]:
        row = {key: values[i] for key, values in rows.items() if values[i] is not None}
        shown = elector.simulate(
            row.pop("model"), row.pop("accelerator"), settings=row, operations=True
        )
        listed = shown["operations"]
        assert isinstance(listed, list)
        by_part = shown["energy_by_part_j"]
        assert isinstance(by_part, dict)
        total = sum(o["joules"] for o in listed) + by_part["leakage"]
        assert total == pytest.approx(shown["energy_j"], rel=1e-12)
        products = sum(
            o["count"] * o["batch"] * o["m"] * o["k"] * o["n"]
            for o in listed
            if o["kind"] in ("linear", "attention")
        )
        # What a mask hides is skipped by fused kernels, what is zero by lanes that see masks.
        assert products <= shown["macs"] * (1 + 1e-12)
        if row.get("workload.sparsity", "dense") == "dense":
            assert products == pytest.approx(shown["ops_executed"] / 2.0, rel=1e-12)
        assert {o["bound"] for o in listed} and all(o["seconds"] >= 0 for o in listed)


# ---- bounds ----


def test_nothing_is_negative_and_nothing_is_missing(machine: str) -> None:
    cost = costs_of(machine)
    for name in cost.names():
        values = cost.scalar(name)[cost.feasible]
        if not name.startswith(OPTIONAL):
            assert np.isfinite(values).all(), name
        assert (values[~np.isnan(values)] >= 0).all(), name
        if name not in KEPT and not name.startswith(("memory_bytes", "area_by_part")):
            assert np.isnan(cost.scalar(name)[~cost.feasible]).all(), name
        elif name in KEPT:
            assert np.isfinite(cost.scalar(name)).all(), name


def test_time_is_never_below_the_peak(machine: str) -> None:
    cost = costs_of(machine)
    ok = cost.feasible
    executed = cost.scalar("ops_executed")[ok] * (1 - 1e-12)
    assert (cost.latency_s[ok] * cost.peak_ops_per_s[ok] >= executed).all()
    assert (cost.utilization[ok] <= 1 + 1e-12).all() and (cost.utilization[ok] > 0).all()
    moved = cost.bandwidth_utilization[ok]  # none where the peer counts without main memory
    assert (moved[~np.isnan(moved)] <= 1 + 1e-12).all() and (moved >= 0).any()


def test_time_is_never_below_the_parameters_that_must_come(machine: str) -> None:
    """Of an encoder: its matrices, once (where a machine does not hold them for good)."""
    if machine.startswith("reram"):
        pytest.skip("weights stay in the crossbars")
    cost, rows = costs_of(machine), table(machine)
    width = {"int8": 1, "fp8": 1, "fp32": 4, "tf32": 4, "fixed20": 2.5}
    for i in np.flatnonzero(cost.feasible):
        if rows["model"][i] != "encoder":
            continue
        chunk = inside(
            "encoder",
            machine,
            **{
                key.replace(".", "__"): values[i]
                for key, values in rows.items()
                if key not in ("model", "accelerator") and values[i] is not None
            },
        )
        layers = rows["model.layers"][i]
        bytes_ = width.get(chunk.ops.format.compute, 2) * layers * (4 * 768**2 + 8 * 768**2)
        bandwidth = float(chunk.units.number("bandwidth")[0])
        assert cost.latency_s[i] >= bytes_ / bandwidth, rows_of(rows, [i])
        if chunk.workload.training:  # every parameter is read, with gradient and state, and written
            least = 4 * chunk.ops.parameters[0] * chunk.ops.format.weight
            assert cost.latency_s[i] >= least / bandwidth


def test_energy_is_never_below_that_of_the_products(machine: str) -> None:
    """The cheapest multiply-accumulate of any format at the design's node."""
    action = MACHINES[machine].actions.get("mac") if machine in MACHINES else None
    if action is None or "{compute}" not in action.price[0]:
        pytest.skip("has no multiply-accumulate of its own")
    cost, rows, prices = costs_of(machine), table(machine), Technology.load()
    formats = [f for f in fields_of(machine)["datapath"].choices]
    for i in np.flatnonzero(cost.feasible)[:80]:
        node = float(rows["accelerator.node"][i])
        least = min(prices.price(f"mac.{f}", "energy", node).value for f in formats)
        assert cost.energy_j[i] >= cost.macs[i] * least


# ---- comparisons ----


def changed(machine: str, changes: list[Table], **options: Any) -> Cost:
    """The designs with each of the changes, one set after another: what they share is worked
    out once."""
    tables = [table(machine) | change for change in changes]
    return costs({key: [v for t in tables for v in t[key]] for key in tables[0]}, **options)


def slower(machine: str, changes: list[Table]) -> np.ndarray:
    """By how much the feasible designs became slower by each of the changes."""
    before, after = costs_of(machine), changed(machine, changes, level="scalars")
    here = before.feasible
    assert after.feasible.reshape(-1, SIZE)[:, here].all()
    return after.latency_s.reshape(-1, SIZE)[:, here] / before.latency_s[here] - 1.0


def most_there_is(machine: str, name: str) -> list[float | None]:
    """What the memory type or the node of each design of the table allows of a setting."""
    rows = table(machine)
    start, _, key = name.rpartition(".")
    if key == "bandwidth" and f"{start}.memory" in rows:
        return [memory_rate(memory) for memory in rows[f"{start}.memory"]]
    if key == "clock":
        return [highest_clock(node) for node in rows[f"{start}.node"]]
    return [None] * SIZE


@pytest.mark.parametrize(
    "factor", [2.0, *(pytest.param(f, marks=pytest.mark.slow) for f in (1.02, 16.0))]
)
def test_more_is_never_slower(machine: str, factor: float) -> None:
    rows, changes = table(machine), []
    for key in FASTER[machine]:
        name = f"accelerator.{key}"
        most = fields_of(machine)[key].high or np.inf
        more = [
            v and min(int(np.ceil(v * factor)) if isinstance(v, int) else v * factor, most)
            for v in rows[name]
        ]
        most = most_there_is(machine, name)
        more = [
            v if m is None else max(v, min(w, m))
            for v, w, m in zip(rows[name], more, most, strict=True)
        ]
        changes.append({name: more})
    least = QUANTISED.get(machine, 1e-12)
    for key, worst in zip(FASTER[machine], slower(machine, changes).max(axis=1), strict=True):
        assert worst <= QUANTISED.get(f"{machine} {key}", least), (key, worst)


def test_training_costs_more_than_inference(machine: str) -> None:
    modes = [
        {"workload.mode": [mode] * SIZE, "workload.generate": [0] * SIZE}
        for mode in ("training", "inference")
    ]
    cost = changed(machine, modes)
    both = cost.feasible.reshape(2, SIZE).all(axis=0)
    assert both.any()
    for name in ("latency_s", "energy_j", "macs"):
        training, inference = cost.scalar(name).reshape(2, SIZE)[:, both]
        assert (training > inference).all(), name
    for part in ("weights", "gradients", "optimizer", "activations"):
        training, inference = cost.scalar(f"memory_bytes.{part}").reshape(2, SIZE)
        assert (training >= inference * (part != "activations")).all()


def test_work_is_linear_in_the_layers(machine: str) -> None:
    """Products and parameters exactly; time and joules of a further layer the same each time.

    Residency aside (a small memory in training: nothing of the forward pass stays).
    """
    sizes = [4, 8, 12]
    base = {
        "model": ["encoder"] * 3,
        "accelerator": [machine] * 3,
        "model.head": ["none"] * 3,
        "workload.sequence_length": [100] * 3,
        "model.layers": sizes,
        **{key.replace("__", "."): [value] * 3 for key, value in ROOM.get(machine, {}).items()},
    }
    for mode, batch in (("inference", 1), ("inference", 4), ("training", 4)):
        cost = costs(base | {"workload.mode": [mode] * 3, "workload.batch": [batch] * 3})
        assert cost.feasible.all()
        for name in ("macs", "parameters"):
            a, b, c = cost.scalar(name)
            assert c - b == b - a > 0
        for name in ("latency_s", "energy_j"):
            a, b, c = cost.scalar(name)
            # A machine that copies weights into free cells has fewer copies of more layers.
            rel = 0.35 if machine.startswith("reram") else 0.01
            assert c - b == pytest.approx(b - a, rel=rel), name


def test_a_longer_batch_never_costs_less(machine: str) -> None:
    rows, before = table(machine), costs_of(machine)
    keys = ("workload.batch", "workload.sequence_length", "workload.gradient_accumulation")
    more = [{key: [2 * v if v < 256 else v for v in rows[key]]} for key in keys]
    after = changed(machine, more, level="scalars")
    least = 1.0 - FILLED_ONCE.get(machine, 1e-12)
    for place, key in enumerate(keys):
        own = slice(place * SIZE, (place + 1) * SIZE)
        both = before.feasible & after.feasible[own]
        assert (after.energy_j[own][both] >= before.energy_j[both] * least).all(), key
        if machine == "reram":  # its operands of several sequences are written side by side
            assert (after.latency_s[own][both] >= before.latency_s[both] * (1 - 1e-12)).all(), key
        assert (after.macs[own] >= before.macs).all()


# ---- the ends of the schema ----


def ends(machine: str, random: np.random.Generator, size: int) -> list[dict[str, Any]]:
    """Each field at its lowest and highest, alone and with the others at random ends."""
    changes, fields = [], fields_of(machine)
    usable = {}
    for key, field in fields.items():
        if field.choices:
            usable[key] = list(field.choices)
        elif field.type == "bool":
            usable[key] = [True, False]
        else:
            usable[key] = [x for x in (field.low, field.high) if x is not None]
        changes += [{f"accelerator.{key}": value} for value in usable[key]]
    for _ in range(size):
        changes.append(
            {
                f"accelerator.{key}": random.choice(np.array(values, dtype=object))
                for key, values in usable.items()
                if values
            }
        )
    return changes


EXTREMES: list[tuple[str, dict[str, Any]]] = [
    ("encoder", {}),
    ("encoder", {"workload.mode": "training"}),
    ("encoder", {"workload.batch": 2**20, "workload.sequence_length": 512}),
    (
        "encoder",
        {
            "model.layers": 1,
            "model.hidden": 1,
            "model.heads": 1,
            "model.feed_forward": 1,
            "model.vocabulary": 1,
            "workload.sequence_length": 1,
        },
    ),
    (
        "encoder",
        {
            "model.layers": 4096,
            "model.hidden": 2**20,
            "model.heads": 2**16,
            "model.feed_forward": 2**22,
            "model.vocabulary": 2**24,
            "workload.mode": "training",
            "workload.batch": 2**20,
        },
    ),
    (
        "mistral-7b",
        {"workload.generate": 2**20, "workload.sequence_length": 2**20, "workload.batch": 2**20},
    ),
    (
        "mistral-7b",
        {
            "workload.mode": "training",
            "workload.sequence_length": 2**20,
            "workload.gradient_accumulation": 65536,
        },
    ),
    ("t5-base", {"workload.generate": 1, "workload.sequence_length": 1}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "workload"), EXTREMES)
def test_the_ends_of_the_schema(machine: str, model: str, workload: dict[str, Any]) -> None:
    """Lowest and highest of every field: a number or a reason, never NaN, minus or a warning."""
    random = np.random.default_rng(11)
    fixed = {k.replace("__", "."): v for k, v in ROOM.get(machine, {}).items()}
    if machine == "gpu":  # a format whose rate is 0 is refused by name; see test_gpu.py
        fixed |= {f"accelerator.{f}_rate": 1e14 for f in ("tf32", "fp16", "bf16", "fp8", "int8")}
    rows = [fixed | row for row in ends(machine, random, 120)]
    for row in rows:
        row.update({key: value for key, value in fixed.items() if key.endswith("_rate")})
    keys = sorted({key for row in rows for key in row})
    filled: Table = {key: [row.get(key) for row in rows] for key in keys}
    filled |= {key: [value] * len(rows) for key, value in workload.items()}
    filled |= {"model": [model] * len(rows), "accelerator": [machine] * len(rows)}
    cost = costs(filled)
    for name in cost.names():
        values = cost.scalar(name)
        shown = values if name in KEPT else values[cost.feasible]
        if not name.startswith(OPTIONAL):
            assert np.isfinite(shown).all(), (name, rows[int(np.argmin(np.isfinite(values)))])
        assert not (shown < 0).any(), (name, rows[int(np.nanargmin(values))])
    for i in np.flatnonzero(~cost.feasible)[:20]:
        assert cost.reason(int(i))
        assert np.isnan(cost.latency_s[i]) and np.isnan(cost.energy_j[i])
        assert np.isfinite(cost.scalar("memory_bytes.weights")[i])


def test_random_hardware_covers_the_schema(machine: str) -> None:
    """The tables above vary every setting of the machine but those named apart."""
    keys = set(hardware(machine, np.random.default_rng(0), {}))
    fields = {f"accelerator.{k}" for k, f in fields_of(machine).items() if f.type != "text"}
    assert {f.rpartition(".")[2] for f in fields - keys} <= {"convention"}
    assert set(FASTER[machine]) <= set(fields_of(machine))


def test_sums_do_not_depend_on_their_company(machine: str) -> None:
    """The row sum behind every cost: a column alone, in company, and lying across in memory."""
    values = np.random.default_rng(2).lognormal(0, 8, (97, 50))
    whole = sum_rows(values)
    for i in range(50):
        assert sum_rows(values[:, [i]])[0] == whole[i]
    np.testing.assert_array_equal(sum_rows(np.asfortranarray(values)), whole)
    assert pricing.LEAKAGE == "leakage" and fields_of(machine)
