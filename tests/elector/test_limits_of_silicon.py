"""What a clock, a memory type and accumulators may be: priced, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import columns

import elector
from elector.evaluation.accelerators import list_accelerators
from elector.evaluation.path import evaluate
from elector.machines import memories
from elector.technology import Technology


def runs(accelerator: str, **settings: Any) -> dict[str, Any]:
    """bert-tiny on a machine; double underscores stand for dots."""
    keys = {f"accelerator.{k.replace('__', '.')}": v for k, v in settings.items()}
    return elector.simulate("bert-tiny", accelerator, settings=keys)


def refused(accelerator: str, words: str, **settings: Any) -> None:
    """The design is infeasible, and says why."""
    result = runs(accelerator, **settings)
    assert not result["feasible"] and words in result["reason"]


def highest(node: float) -> float:
    return Technology.load().price("logic", "clock", node).value


# ---- clocks


@pytest.mark.parametrize(
    ("machine", "key"),
    [
        ("systolic", "clock"),
        ("tpu-v4i", "clock"),
        ("acceltran-edge", "clock"),
        ("reram+systolic", "units__array__clock"),
    ],
)
def test_a_clock_beyond_silicon_is_refused(machine: str, key: str) -> None:
    """100 GHz ran at no price: tpu-v4i was 78 % faster and took 17 % less energy."""
    refused(machine, "clock: asks for 100 GHz, published silicon", **{key: "100 GHz"})


@pytest.mark.parametrize("machine", ["systolic", "tpu-v4i", "acceltran-edge"])
def test_a_faster_clock_costs_energy(machine: str) -> None:
    """Joules of the core never fall with the clock, and rise with the square of the supply."""
    node = {"systolic": 14.0, "tpu-v4i": 7.0, "acceltran-edge": 14.0}[machine]
    top = highest(node)
    shares = (0.3, 0.58, 0.6, 0.75, 0.9, 1.0)
    results = [runs(machine, clock=share * top) for share in shares]
    times = [row["latency_s"] for row in results]
    assert np.all(np.diff(times) <= 0)
    macs = np.array([row["energy_by_part_j"]["mac"] for row in results])
    expected = [max(1.0, (1 - 0.6 * (1 - share)) / 0.75) ** 2 for share in shares]
    np.testing.assert_allclose(macs / macs[0], expected, rtol=1e-9)
    assert expected[-1] == pytest.approx((4 / 3) ** 2)


def test_the_price_of_a_clock_is_explained() -> None:
    settings: dict[str, object] = {"accelerator.clock": "1.7 GHz"}
    shown: Any = elector.explain("bert-tiny", "systolic", "energy_j", settings=settings)
    term = next(t for t in shown["terms"] if t["name"] == "mac")
    assert any("of the nominal supply)^2" in f["name"] for f in term["factors"])
    assert {"logic:supply_slope", "logic:nominal_supply"} <= set(term["rows"])


# ---- main memories


@pytest.mark.parametrize("name", [n for n in memories.known() if memories.known()[n].channels])
@pytest.mark.parametrize("machine", ["systolic", "reram+systolic"])
def test_no_memory_delivers_more_than_its_channels(machine: str, name: str) -> None:
    """DDR3 ran at 614 GB/s."""
    start = "units__array__" if "+" in machine else ""
    most = memories.known()[name].most(name)
    at: dict[str, Any] = {f"{start}memory": name, f"{start}bandwidth": most}
    assert runs(machine, **at)["feasible"]
    refused(machine, "channels of this type", **(at | {f"{start}bandwidth": 1.001 * most}))


@pytest.mark.parametrize("memory", ["dram_16_2_2", "rram_4_2_8", "hbm_32_1_4"])
def test_acceltrans_channels_stand_in_the_name(memory: str) -> None:
    most = memories.known()[memory.partition("_")[0]].rate * int(memory.rpartition("_")[2])
    plain = runs("acceltran-edge", memory=memory)
    given = runs("acceltran-edge", memory=memory, bandwidth=most)
    assert plain["latency_s"] == given["latency_s"]
    refused("acceltran-edge", "channels of this type", memory=memory, bandwidth=1.01 * most)


@pytest.mark.parametrize("machine", ["systolic", "acceltran-edge"])
def test_capacity_has_a_price(machine: str) -> None:
    """Devices stand by for what they hold, too."""
    less, more = (
        runs(machine, memory_capacity=size)["energy_by_part_j"]["leakage"]
        for size in ("64 GB", "640 GB")
    )
    assert more > less


# ---- accumulators


def accumulating(size: object, flow: str = "ws", **more: object) -> dict[str, Any]:
    settings = {"accumulators": size, "dataflow": flow, "rows": 32, "cols": 32, **more}
    return runs("systolic", **settings)


@pytest.mark.parametrize("flow", ["ws", "is"])
def test_accumulators_hold_a_sum_for_each_column(flow: str) -> None:
    few = accumulating("1 byte", flow)
    assert "one sum under each column needs 128 B" in few["reason"]
    assert accumulating(128, flow)["feasible"]
    assert runs("systolic", accumulators="1 byte", dataflow="os")["feasible"]


@pytest.mark.parametrize("flow", ["ws", "is"])
def test_fewer_accumulators_are_no_gain(flow: str) -> None:
    """Streams are cut where sums have to wait, and each piece loads its weights anew."""
    sizes = (128, 512, 4096, 65536, 1 << 20)
    results = [accumulating(size, flow, sram="1 MB") for size in sizes]
    times = [row["latency_s"] for row in results]
    reads = [row["energy_by_part_j"]["sram"] for row in results]
    assert np.all(np.diff(times) <= 0) and times[0] > 1.1 * times[-1]
    assert np.all(np.diff(reads) <= 0) and reads[0] > reads[-1]


@pytest.mark.parametrize(("preset", "arrays"), [("tpu-v4i", 3), ("tpu-v4i", 5), ("tpu-v2", 3)])
def test_a_stream_just_too_long_is_no_gain(preset: str, arrays: int) -> None:
    """Its pieces stay on one array; dealt one by one to three, batch 40 was 14 % below batch 39."""
    batches = np.arange(36, 64)
    sizes = {"layers": 6, "heads": 2, "hidden": 254, "feed_forward": 513, "vocabulary": 1024}
    table = {f"model.{key}": [value] * batches.size for key, value in sizes.items()}
    table |= {"model": ["decoder"] * batches.size, "accelerator": [preset] * batches.size}
    table |= {"accelerator.arrays": [arrays] * batches.size}
    table |= {"workload.batch": batches.tolist(), "workload.sequence_length": [52] * batches.size}
    times = evaluate(columns(batches.size, table), batches.size).scalar("latency_s")
    assert np.all(np.diff(times) > 0)


# ---- what is shipped


@pytest.mark.parametrize("name", list_accelerators())
def test_every_preset_is_within_its_limits(name: str) -> None:
    row = evaluate(columns(1, {"model": ["bert-tiny"], "accelerator": [name]}), 1)
    reason = row.reason(0) or ""
    assert "asks for" not in reason and "one sum" not in reason
