"""Hybrids: units, links, assignment, and the laws that hold for them too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import columns, inside

import elector
from elector.base.errors import InputError
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.path import Chunk, evaluate, members
from elector.evaluation.resolve import resolve
from elector.hybrid.assign import memory_of
from elector.operations import build
from elector.operations.roles import Role

UNITS = {
    "tier": "{base: reram, tiles: 2000, transposed_read: bidirectional, digital_macs: 0}",
    "array": "{base: systolic}",
    "gpu": "{base: a100-sxm-40gb}",
}
RULES = "  - {match: {class: [weight, reuse]}, unit: tier}\n  - {unit: array}\n"


def written(tmp_path: Path, units: str, links: str, rules: str) -> str:
    unit_lines = "".join(f"  {name}: {UNITS[name]}\n" for name in units.split())
    text = f"units:\n{unit_lines}links:\n{links}assignment:\n{rules}"
    path = tmp_path / "hybrid.yaml"
    path.write_text(text)
    return str(path)


def two(tmp_path: Path, rules: str = RULES, units: str = "tier array") -> str:
    ends = ", ".join(units.split())
    link = f"  - {{between: [{ends}], bandwidth: 100 GB/s, energy_per_bit: 1 pJ}}\n"
    return written(tmp_path, units, link, rules)


def table(accelerator: str, size: int = 60, **more: Any) -> dict[str, list[Any]]:
    random = np.random.default_rng(3)
    rows: dict[str, list[Any]] = {
        "model": random.choice(["bert-tiny", "bert-mini", "bert-small"], size).tolist(),
        "accelerator": [accelerator] * size,
        "workload.mode": random.choice(["inference", "training"], size).tolist(),
        "workload.batch": random.choice([1, 2, 8], size).tolist(),
        "workload.trainable": random.choice(["all", "lora:4"], size).tolist(),
    }
    return rows | {k: random.choice(v, size).tolist() for k, v in more.items()}


def costs(rows: dict[str, list[Any]]) -> Any:
    size = len(rows["model"])
    return evaluate(columns(size, rows), size, level="groups")


def same(one: Any, other: Any) -> None:
    for name in one.scalars:
        np.testing.assert_array_equal(one.scalar(name), other.scalar(name), name)
    np.testing.assert_array_equal(one.feasible, other.feasible)


@pytest.mark.parametrize(
    "base", ["systolic", "acceltran-edge", "acceltran-server", "a100-sxm-40gb", "reram", "puma"]
)
def test_one_unit_is_that_unit_bit_for_bit(base: str, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(f"units: {{only: {{base: {base}}}}}\n")
    same(costs(table(base)), costs(table(str(path))))


def test_one_working_unit_is_that_unit_but_for_what_the_idle_one_leaks(tmp_path: Path) -> None:
    hybrid = two(tmp_path, "  - {unit: gpu}\n", "gpu array")
    result = elector.simulate("bert-mini", hybrid, settings={"workload.mode": "training"})
    alone = elector.simulate("bert-mini", "a100-sxm-40gb", settings={"workload.mode": "training"})
    assert result["latency_s"] == alone["latency_s"]
    assert result["energy_j"] > alone["energy_j"]  # type: ignore[operator]
    idle = result["energy_by_part_j"]["leakage"] - alone["energy_by_part_j"]["leakage"]  # type: ignore[index]
    assert result["energy_j"] - alone["energy_j"] == pytest.approx(idle)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("clock", 90e9, "unit array: clock: asks for"),
        ("bandwidth", 1e15, "unit array: main memory: asks for"),
        ("sram", 1024.0, None),
        ("memory_capacity", 1000.0, None),
    ],
)
def test_a_unit_without_work_must_be_one_that_can_be_built(
    key: str, value: float, reason: str | None, tmp_path: Path
) -> None:
    """It lacks room for nothing, since nothing is given to it."""
    path = tmp_path / "idle.yaml"
    path.write_text(
        "units:\n  tier: {base: reram, digital_macs: 4096, tiles: 960}\n"
        "  array: {base: systolic}\n"
        "links:\n  - {between: [tier, array], kind: package, bandwidth: 400 GB/s, "
        "latency: 100 ns}\n"
        "assignment:\n  - {unit: tier}\n"
    )
    settings = {f"accelerator.units.array.{key}": value}
    shown = elector.simulate("bert-tiny", path, settings=settings)
    assert shown["feasible"] is (reason is None)
    assert reason is None or str(shown["reason"]).startswith(reason)


@pytest.mark.parametrize("trainable", ["all", "lora:8"])
def test_a_power_limit_holds_for_a_unit_that_idles(trainable: str) -> None:
    """The GPU of HpT does everything in full steps and nothing in low ones; idle, it takes 70 W."""
    for limit, fits in ((70.5, True), (69.5, False)):
        settings = {
            "workload.mode": "training",
            "workload.trainable": trainable,
            "accelerator.units.gpu.power_limit": limit,
        }
        shown = elector.simulate("hpt-wind", "hpt", settings=settings)
        assert shown["feasible"] is fits
        assert fits or str(shown["reason"]).startswith("unit gpu: power: needs 70.0 W")


def test_area_is_the_sum_of_the_units(tmp_path: Path) -> None:
    result = elector.simulate("bert-tiny", two(tmp_path))
    settings = {
        "accelerator.tiles": 2000,
        "accelerator.transposed_read": "bidirectional",
        "accelerator.digital_macs": 0,
    }
    tier = elector.simulate("bert-tiny", "reram", settings=settings)
    array = elector.simulate("bert-tiny", "systolic")
    assert result["area_mm2"] == pytest.approx(tier["area_mm2"] + array["area_mm2"])  # type: ignore[operator]


def test_one_design_is_the_batch_and_order_does_not_matter(tmp_path: Path) -> None:
    rows = table(
        two(tmp_path),
        **{
            "accelerator.units.tier.tiles": [500, 2000],
            "accelerator.units.array.rows": [32, 128],
            "accelerator.links.tier-array.bandwidth": ["10 GB/s", "1 TB/s"],
        },
    )
    whole = costs(rows)
    order = np.random.default_rng(5).permutation(60)
    mixed = costs({key: [values[i] for i in order] for key, values in rows.items()})
    for name in whole.names():
        np.testing.assert_array_equal(whole.scalar(name)[order], mixed.scalar(name), name)
    for i in (0, 7, 31):
        single = costs({key: [values[i]] for key, values in rows.items()})
        for name in single.names():
            np.testing.assert_array_equal(single.scalar(name)[0], whole.scalar(name)[i], name)


def test_parts_add_up_and_nothing_is_negative(tmp_path: Path) -> None:
    cost = costs(table(two(tmp_path)))
    ok = cost.feasible
    assert ok.any()
    for group, total in (
        ("energy_by_part_j", "energy_j"),
        ("area_by_part_mm2", "area_mm2"),
        ("energy_by_phase_j", "energy_j"),
        ("latency_by_kind_s", "latency_s"),
    ):
        parts = [cost.scalar(f"{group}.{name}") for name in cost.groups[group]]
        assert all((part[ok] >= 0).all() for part in parts)
        np.testing.assert_allclose(sum(parts)[ok], cost.scalar(total)[ok], rtol=1e-9)


def test_joules_of_operations_and_leakage_are_the_energy(tmp_path: Path) -> None:
    result = elector.simulate("bert-tiny", two(tmp_path), operations=True)
    joules = sum(o["joules"] for o in result["operations"])  # type: ignore[attr-defined]
    leakage = result["energy_by_part_j"]["leakage"]  # type: ignore[index]
    assert joules + leakage == pytest.approx(result["energy_j"])


def test_transfers_counted_by_hand(tmp_path: Path) -> None:
    """BERT-tiny, 128 tokens of 128 in bf16: 32 KiB a tensor; two layers."""
    result = elector.simulate(
        "bert-tiny", two(tmp_path), operations=True, settings={"workload.precision": "native"}
    )
    moves = [o for o in result["operations"] if o["kind"] == "transfer"]  # type: ignore[attr-defined]
    tensor = 128 * 128 * 2
    # In a layer: its input, queries keys values together, context, attention's result, input and
    # result of both feed-forward products (one of them four wide on either side).
    layer = 1 + 3 + 1 + 1 + (1 + 4) + (4 + 1)
    pooled = 128 * 2  # one token; its input lies on the array
    expected = 2 * layer * tensor + pooled * 2
    assert sum(o["m"] * o["count"] for o in moves) == expected
    assert all(o["unit"] == "link tier-array" for o in moves)
    seconds = sum(o["seconds"] for o in moves)
    assert seconds == pytest.approx(expected / 100e9)
    assert sum(o["joules"] for o in moves) == pytest.approx(expected * 8 * 1e-12)


def test_the_update_stays_where_the_weight_lies(tmp_path: Path) -> None:
    """An assignment cannot spare a tier the writes of its own cells."""
    rules = "  - {match: {phase: update}, unit: array}\n" + RULES
    settings = {"workload.mode": "training"}
    result = elector.simulate("bert-tiny", two(tmp_path, rules), settings=settings, operations=True)
    updates = {o["name"]: o["unit"] for o in result["operations"] if o["phase"] == "update"}  # type: ignore[attr-defined]
    assert updates["query update"] == "tier"
    assert updates["token embedding update"] == "array"
    assert result["lifetime_years"] is not None


def test_a_table_that_no_product_reads_is_updated_where_its_rule_says() -> None:
    """Every FlexiBERT layer has a table of relative positions; only dot products read it."""
    owners = {}
    for kind in ("sdp", "dct"):
        settings: dict[str, Any] = {"workload.mode": "training", "model.layers": 2}
        settings |= {f"model.layer1.head{h}": "sdp" for h in (1, 2, 3, 4)}
        settings |= {f"model.layer2.head{h}": kind for h in (1, 2, 3, 4)}
        shown = elector.simulate("flexibert", "reram+systolic", settings=settings, operations=True)
        owners[kind] = {
            o["layer"]: o["unit"]
            for o in shown["operations"]  # type: ignore[attr-defined]
            if o["name"] == "relative positions update"
        }
    assert owners["sdp"] == {"block 1": "tier", "block 2": "tier"}
    assert owners["dct"] == {"block 1": "tier", "block 2": "array"}


def test_weights_of_one_role_are_updated_each_where_it_lies(tmp_path: Path) -> None:
    """Convolutions of several kernels share a role."""
    rules = '  - {match: {name: "c9*", class: [weight, reuse]}, unit: tier}\n  - {unit: array}\n'
    settings: dict[str, Any] = {"workload.mode": "training", "model.layers": 1}
    settings |= {f"model.layer1.head{h}": k for h, k in enumerate(("c5", "c9"), 1)}
    settings |= {"model.layer1.heads": 2, "model.layer1.hidden": 128}
    path = two(tmp_path, rules)
    shown = elector.simulate("flexibert", path, settings=settings, operations=True)
    rows: list[Any] = shown["operations"]  # type: ignore[assignment]
    unit = {o["name"]: o["unit"] for o in rows if o["phase"] == "update"}
    for role in ("pointwise", "values", "kernel"):
        assert unit[f"c5 {role} update"] == "array"
        assert unit[f"c9 {role} update"] == "tier"
    # The gradients come from the array, each tensor's once.
    sizes = {"pointwise": 64 * 64, "values": 64 * 64, "kernel": 64 * 9}
    moved = {o["name"]: o for o in rows if o["kind"] == "transfer" and o["phase"] == "update"}
    for role, size in sizes.items():
        (one,) = [o for name, o in moved.items() if f"c9 {role} update" in name]
        assert one["count"] * one["m"] == size * 2  # bytes, of 16 bits
    assert not [name for name in moved if "c5" in name]


def test_a_faster_link_is_never_slower(tmp_path: Path) -> None:
    path = two(tmp_path)
    times = [
        elector.simulate(
            "bert-mini",
            path,
            settings={
                "accelerator.links.tier-array.bandwidth": rate,
                "workload.mode": "training",
            },
        )["latency_s"]
        for rate in (1e9, 1e10, 1e11, 1e12)
    ]
    assert times == sorted(times, reverse=True)  # type: ignore[type-var]
    assert times[0] > times[-1]  # type: ignore[operator]


def test_rules_see_the_workload() -> None:
    for trainable, unit in (("all", "gpu"), ("lora:8", "tier")):
        settings = {"workload.mode": "training", "workload.trainable": trainable}
        result = elector.simulate("hpt-wind", "hpt", settings=settings, operations=True)
        query = next(o for o in result["operations"] if o["name"] == "query")  # type: ignore[attr-defined]
        assert query["unit"] == unit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("units: {}\n", "must map names to units"),
        ("units: {a: {base: systolic}, a: {base: reram}}\n", "a"),
        ("units: {a: {base: quantum}}\n", "names no machine"),
        ("units: {a: {rows: 4}}\n", "a base"),
        ("units: {a: {base: systolic, spin: 4}}\n", "unknown key"),
        ("units: {a: {base: systolic, rows: 0}}\n", "units.a.rows"),
        ("units: {a: {base: hpt}}\n", "cannot be a hybrid"),
        ("units: {A-1: {base: systolic}}\n", "name"),
        ("units: {a: {base: systolic}, b: {base: reram}}\n", "list of rules"),
        (
            "units: {a: {base: systolic}, b: {base: reram}}\n"
            "assignment: [{match: {kind: linear}, unit: c}]\n",
            "unknown unit",
        ),
        (
            "units: {a: {base: systolic}}\nassignment: [{match: {colour: red}, unit: a}]\n",
            "cannot be matched",
        ),
        (
            "units: {a: {base: systolic}}\nassignment: [{match: {kind: lineer}, unit: a}]\n",
            "matches nothing",
        ),
        ("units: {a: {base: systolic}}\nlinks: [{between: [a, b]}]\n", "unknown unit"),
        ("units: {a: {base: systolic}}\nlinks: [{between: [a]}]\n", "two units"),
        (
            "units: {a: {base: systolic}, b: {base: reram}}\n"
            "links: [{between: [a, b]}, {between: [b, a]}]\n",
            "have a link already",
        ),
        (
            "units: {a: {base: systolic}, b: {base: reram}}\n"
            "links: [{between: [a, b], speed: 3}]\n",
            "unknown key",
        ),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_accelerator(str(path))


def test_an_operation_without_a_unit(tmp_path: Path) -> None:
    path = two(tmp_path, "  - {match: {kind: linear}, unit: tier}\n")
    with pytest.raises(InputError, match="no rule gives a unit to embedding lookup"):
        elector.simulate("bert-tiny", path)


def test_a_missing_link(tmp_path: Path) -> None:
    path = written(tmp_path, "tier array gpu", "  - {between: [gpu, array]}\n", RULES)
    with pytest.raises(InputError, match="no link between array and tier") as caught:
        elector.simulate("bert-tiny", path)
    assert caught.value.allowed == ["array-gpu"]
    assert "between: [array, tier]" in str(caught.value.hint)


def test_a_batch_beyond_the_only_working_unit_names_the_largest() -> None:
    settings: dict[str, Any] = {"workload.mode": "training", "workload.batch": 4096}
    reason = str(elector.simulate("bert-large", "hpt", settings=settings)["reason"])
    assert "unit gpu: main memory" in reason
    largest = int(reason.rpartition(" ")[2])
    for batch, fits in ((largest, True), (largest + 1, False)):
        result = elector.simulate(
            "bert-large", "hpt", settings={**settings, "workload.batch": batch}
        )
        assert result["feasible"] is fits


@pytest.mark.parametrize("key", ["units.tier.spin", "units.nobody.rows", "links.a-b.bandwidth"])
def test_settings_the_hybrid_does_not_have(key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such setting"):
        elector.simulate("bert-tiny", two(tmp_path), settings={f"accelerator.{key}": 4})


def test_a_file_may_change_the_units_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("base: hpt\nunits: {tier: {tiles: 1000}}\n")
    more = load_accelerator(str(path))
    assert more.settings["units.tier.tiles"] == 1000
    assert load_accelerator("hpt").settings["units.tier.tiles"] == 336
    assert more.machine is load_accelerator("hpt").machine


def test_machines_with_keys_of_one_name_and_other_choices_stand_in_one_table() -> None:
    cost = costs(
        {
            "model": ["bert-tiny"] * 2,
            "accelerator": ["systolic", "acceltran-edge"],
            "accelerator.memory": ["lpddr4", "hbm_32_1_4"],
        }
    )
    assert cost.feasible.all()


@pytest.mark.parametrize("tiles", [60, 700])
def test_a_unit_without_plans_beside_one_that_has_several(tiles: int) -> None:
    """Plans are tried for some of the designs of a table, of which every unit is then asked."""
    keys: dict[str, object] = {
        "accelerator.units.tier.reload": True,
        "accelerator.units.tier.tiles": tiles,
    }
    batches = [1, 3, 8, 32]
    results = [
        elector.simulate("bert-mini", "reram+systolic", settings=keys | {"workload.batch": batch})
        for batch in batches
    ]
    times = [float(str(row["latency_s"])) for row in results]
    assert times == sorted(times)


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_every_message_waits_for_the_latency_of_its_link(mode: str) -> None:
    """Sequences that pass one after another each send their own; shared out among them, the
    latency made two sequences faster than one."""
    seconds = [
        elector.simulate(
            "bert-tiny",
            "hpt",
            settings={
                "workload.mode": mode,
                "workload.trainable": "lora:8",
                "workload.batch": batch,
                "workload.sequence_length": 1,
                "accelerator.links.tier-array.latency": 1e-6,
            },
        )["latency_s"]
        for batch in (1, 2, 4, 8)
    ]
    assert np.all(np.diff(seconds) >= 0)


def test_what_grows_on_one_unit_leaves_no_room_on_another() -> None:
    """Feed-forward 521 was 5 % faster than 520: the tier's larger share of the activations let
    those of the array stay on its chip."""
    sizes = {"layers": 19, "heads": 52, "kv_heads": 1, "head_size": 16, "hidden": 248}
    seconds = [
        elector.simulate(
            "decoder",
            "reram+systolic",
            settings={
                **{f"model.{key}": value for key, value in sizes.items()},
                "model.vocabulary": 50249,
                "model.feed_forward": width,
                "workload.mode": "training",
                "workload.attention": "flash",
                "workload.activations": "recompute",
                "workload.batch": 44,
                "workload.sequence_length": 1,
                "accelerator.units.array.sram": 19811978.956616662,
                "accelerator.units.array.bandwidth": 48009598270.01333,
            },
        )["latency_s"]
        for width in range(500, 600, 10)
    ]
    assert np.all(np.diff(seconds) >= 0)


@pytest.mark.parametrize("activations", ["store", "recompute"])
def test_units_keep_what_they_make_for_gradients(activations: str) -> None:
    """Together about what one machine keeps: of a recomputed layer once, of one micro-batch."""
    kept = []
    for passes in (1, 4):
        row = {
            "model": ["bert-base"],
            "accelerator": ["systolic"],
            "workload.mode": ["training"],
            "workload.activations": [activations],
            "workload.batch": [4],
            "workload.gradient_accumulation": [passes],
        }
        (group,) = resolve(columns(1, row), 1)
        ops = build(group.models, group.workload)
        attention = np.array([r.in_attention for r in ops.rows])
        units = [memory_of(ops, mine, i) for i, mine in enumerate((attention, ~attention))]
        kept.append([float(unit["activations"][0]) for unit in units])
        assert sum(kept[-1]) == pytest.approx(float(ops.memory["activations"][0]), rel=0.1)
    assert kept[0] == pytest.approx(kept[1])


def chunk_of(model: str, accelerator: str, **settings: Any) -> Chunk:
    """Everything behind the costs of one design; keywords as in `builders.settings_of`."""
    return inside(model, accelerator, mode="training", **settings)


def kept_on(chunk: Chunk) -> dict[str, float]:
    """Unit -> bytes of activations that it keeps for gradients."""
    units = members(chunk)
    return {name[:-1]: float(own.ops.memory["activations"][0]) for name, own in units.items()}


def rows_kept(chunk: Chunk) -> dict[str, tuple[str, float]]:
    """Row that writes what came over a link -> its unit, and the bytes of all runs."""
    ops = chunk.ops
    return {
        row.name: (chunk.owner[r], float((ops.count * ops.out_bytes)[r, 0]))
        for r, row in enumerate(ops.rows)
        if row.role is Role.ARRIVAL
    }


def carried(chunk: Chunk) -> float:
    """Bytes that cross links in a step, gradients of weights left out."""
    rows = [r for r, row in enumerate(chunk.ops.rows) if row.kind == "transfer"]
    links = [r for r in rows if chunk.ops.rows[r].phase != "update"]
    return float((chunk.ops.count * chunk.ops.m)[links, 0].sum())


#: BERT-tiny: 128 tokens of 128, four times as wide behind its first feed-forward product, 16 bits.
WIDE = 128 * 512 * 2.0


def test_what_came_over_a_link_stays_where_a_gradient_reads_it(tmp_path: Path) -> None:
    """The tier makes what the activation of the array reads, forward and for its gradient."""
    chunk = chunk_of("bert-tiny", two(tmp_path))
    assert rows_kept(chunk) == {"feed-forward gelu from tier, kept": ("array", 2 * WIDE)}
    whole = float(chunk.ops.memory["activations"][0])
    assert kept_on(chunk) == {"tier": 0.0, "array": whole}


def test_what_only_a_gradient_reads_elsewhere_stays_and_crosses_then(tmp_path: Path) -> None:
    rules = "  - {match: {kind: activation, phase: backward}, unit: array}\n"
    rules += "  - {match: {name: 'feed-forward*', layer: layers}, unit: tier}\n  - {unit: array}\n"
    chunk = chunk_of("bert-tiny", two(tmp_path, rules))
    names = [row.name for row in chunk.ops.rows if row.phase == "backward"]
    assert "feed-forward gelu gradient second operand from tier" in names
    assert not [name for name in rows_kept(chunk) if "gelu" in name]
    assert kept_on(chunk)["tier"] >= 2 * WIDE


def test_both_factors_of_a_gate_are_followed(tmp_path: Path) -> None:
    """Their product reads two tensors for its gradients: both came over the link."""
    small = {"model__layers": 1, "model__hidden": 64, "model__feed_forward": 256}
    settings = {**small, "model__heads": 4, "model__kv_heads": 4, "model__vocabulary": 100}
    chunk = chunk_of("llama-2-7b", two(tmp_path), sequence_length=128, **settings)
    kept = rows_kept(chunk)
    for operand in ("", " second operand"):
        assert kept[f"feed-forward silu{operand} from tier, kept"] == ("array", 128 * 256 * 2)
    # Values come over the link; queries and keys are turned in place on the array.
    assert kept["context second operand from tier, kept"] == ("array", 128 * 64 * 2)
    assert len(kept) == 3
    assert kept_on(chunk)["tier"] == 0.0
    assert kept_on(chunk)["array"] == float(chunk.ops.memory["activations"][0])


def test_a_layer_that_is_computed_again_keeps_its_input_on_both_units(tmp_path: Path) -> None:
    """The tier multiplies it again, the array adds it again: it crosses once."""
    stored = chunk_of("bert-tiny", two(tmp_path))
    again = chunk_of("bert-tiny", two(tmp_path), activations="recompute")
    layers, width = 2, 128 * 128 * 2.0
    assert kept_on(again)["tier"] == layers * width
    forward = {r.name for r in again.ops.rows if r.phase == "recompute" and r.kind == "transfer"}
    assert "query from array" not in forward
    assert carried(again) > carried(stored)


def test_a_unit_needs_room_for_what_it_keeps_of_others(tmp_path: Path) -> None:
    """Time, energy and memory: what is kept is written where it stays, and has to fit there."""
    path = two(tmp_path)
    chunk = chunk_of("bert-tiny", path, batch=64)
    array = members(chunk)["array."].ops.memory
    needed = sum(float(values[0]) for values in array.values())
    for spare, fits in ((-1.0, False), (1.0, True)):
        settings = {
            "workload.mode": "training",
            "workload.batch": 64,
            "accelerator.units.array.memory_capacity": needed + spare,
        }
        shown = elector.simulate("bert-tiny", path, settings=settings, operations=True)
        assert shown["feasible"] is fits
        assert fits or "unit array: main memory" in str(shown["reason"])
    rows: list[Any] = shown["operations"]  # type: ignore[assignment]
    (kept,) = [o for o in rows if o["name"].endswith(", kept")]
    assert kept["dram_bytes"] == 2 * 64 * WIDE
    assert kept["joules"] > 0
    assert kept["unit"] == "array"
