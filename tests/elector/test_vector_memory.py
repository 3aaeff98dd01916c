"""A memory in front of the arrays: a part of the on-chip memory, priced by its own size."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

import elector
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.path import Chunk, bounds, inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology

STEP: dict[str, Any] = {
    "model": "bert-mini",
    "accelerator": "systolic",
    "model.layers": 2,
    "workload.batch": 8,
    "workload.mode": "training",
    "accelerator.sram": "8 MiB",
}
START = "accelerator."
NAMES = ("vector memory read", "vector memory write", "sram read", "sram write")


def chunk(vector_memory: str, **more: object) -> Chunk:
    settings = STEP | {"accelerator.vector_memory": vector_memory} | more
    return inspect(columns_of(settings), Technology.load())


def sums(inspected: Chunk) -> list[float]:
    return [float(inspected.activity.counts[name].total()[0]) for name in NAMES]


def test_one_as_large_as_all_of_it_is_all_of_it() -> None:
    """Nothing passes between the two, and the price is the same."""
    base = {key: value for key, value in STEP.items() if key not in ("model", "accelerator")}
    one, other = (
        elector.simulate(
            "bert-mini", "systolic", settings=base | {"accelerator.vector_memory": size}
        )
        for size in ("0", "8 MiB")
    )
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert other[name] == pytest.approx(one[name], rel=1e-12)
    reads, writes, again, kept = sums(chunk("8 MiB"))
    assert (reads, writes) == pytest.approx(tuple(sums(chunk("0"))[2:]), rel=1e-12)
    assert again == kept == 0.0


def test_tiles_are_as_large_a_share_of_either() -> None:
    """Where operations take turns with their loads, a tile takes the whole room of both memories.

    Half of it was taken for the one in front, which read again what it had room for.
    """
    settings = {"accelerator.bandwidth": "1 GB/s", "accelerator.datapath": "fp32"}
    settings |= {"accelerator.sram": "256 KiB", "workload.mode": "inference"}
    inspected = chunk("256 KiB", **settings)
    turns = inspected.activity.overlap.turns
    assert turns is not None
    assert turns.any()
    reads, writes, again, kept = sums(inspected)
    assert again == kept == 0.0
    assert (reads, writes) == pytest.approx(tuple(sums(chunk("0", **settings))[2:]), rel=1e-12)


def test_a_product_that_fits_reads_main_memory_once_and_the_other_never() -> None:
    """By hand: 64 x 64 inputs, weights and results of two bytes each."""
    settings = {
        "model": "gemm:64x64x64",
        "accelerator": "systolic",
        "accelerator.vector_memory": "1 MiB",
    }
    inspected = inspect(columns_of(settings), Technology.load())
    tensor = 64 * 64 * 2
    assert sums(inspected) == [3 * tensor, 3 * tensor, 0.0, 0.0]


def test_a_smaller_one_reads_again_from_the_rest() -> None:
    """What 256 KiB have no room for comes from the other memory, and not from main memory."""
    small, large = chunk("256 KiB"), chunk("0")
    assert sums(small)[2] > 0.0
    moved = [float(x.activity.counts["main memory"].total()[0]) for x in (small, large)]
    assert moved[0] == moved[1]


def seconds(vector_memory: str, bandwidth: object = 0, **more: object) -> float:
    port = {f"{START}vector_memory_bandwidth": bandwidth}
    return float(chunk(vector_memory, **port | more).timing.seconds[0])


def test_what_passes_its_port_takes_time() -> None:
    """It took none, so that one with room for a tile was as fast as any, and cheaper to read."""
    free = seconds("0")
    sizes = [seconds(size, "100 GB/s") for size in ("24 KiB", "64 KiB", "256 KiB", "1 MiB")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2.0 * free
    ports = [seconds("24 KiB", port) for port in (1e10, 1e11, 1e12, 1e13)]
    assert ports == sorted(ports, reverse=True)
    assert ports[-1] == pytest.approx(free, rel=1e-3)


def test_the_port_takes_as_long_as_its_bytes() -> None:
    """By hand: three tensors of 64 x 64 numbers of two bytes, at one byte a nanosecond."""
    settings = {"model": "gemm:64x64x64", "accelerator": "systolic"}
    settings |= {f"{START}vector_memory": "1 MiB", f"{START}vector_memory_bandwidth": "1 GB/s"}
    inspected = inspect(columns_of(settings), Technology.load())
    tensors = 3 * 64 * 64 * 2e-9
    assert float(inspected.activity.row("vector memory", 0)[0]) == pytest.approx(tensors)
    assert bounds(inspected) == ["vector memory"]
    assert tensors < float(inspected.timing.seconds[0]) < 1.1 * tensors


def test_a_port_of_no_setting_moves_four_bytes_a_column_and_cycle() -> None:
    """2,048 bytes a cycle of a TPUv4i, whose common memory is read at 1,950 a cycle."""
    assert seconds("64 KiB") == seconds("64 KiB", 4.0 * 128 * 700e6)


def test_main_memory_is_not_waited_for_twice() -> None:
    """What comes from main memory passes the port, too, at once: a port as wide changes nothing."""
    settings = {f"{START}bandwidth": "20 GB/s"}
    assert seconds("8 MiB", "20 GB/s", **settings) == seconds("0", **settings)


@pytest.mark.parametrize("way", ["false", "true"])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_turns_are_a_permission_here_too(way: str, dataflow: str) -> None:
    """Beside computing or in turn with it, whichever is sooner, and streams as one."""
    settings = {f"{START}dataflow": dataflow, f"{START}interleave": way, "workload.batch": 7}
    turns, beside = (
        seconds("96 KiB", "60 GB/s", **settings, **{f"{START}double_buffer": allowed})
        for allowed in ("false", "true")
    )
    assert beside <= turns


@pytest.mark.parametrize("interleave", ["false", "true"])
@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("size", ["24 KiB", "128 KiB", "1 MiB"])
def test_the_queue_of_events_waits_as_long(size: str, mode: str, interleave: str) -> None:
    settings = {"workload.mode": mode, f"{START}interleave": interleave}
    settings |= {f"{START}vector_memory_bandwidth": "100 GB/s"}
    inspected = chunk(size, **settings)
    closed = float(inspected.timing.seconds[0])
    assert closed > 1.01 * seconds("0", **settings | {f"{START}vector_memory_bandwidth": 0})
    assert timeline(inspected).seconds == pytest.approx(closed, rel=0.1)


def test_the_rest_is_priced_by_its_own_size() -> None:
    """It was by the size of both."""
    inspected = chunk("3 MiB", **{f"{START}sram": "8 MiB"})
    prices = inspected.prices.actions
    each = {name: float(prices[name].value[0]) for name in ("sram read", "vector memory read")}
    assert each["sram read"] / each["vector memory read"] == pytest.approx((5 / 3) ** 0.5)


def test_it_is_no_larger_than_the_memory_it_is_a_part_of() -> None:
    result = elector.simulate(
        "bert-mini", "systolic", settings={"accelerator.vector_memory": "9 MB"}
    )
    assert not result["feasible"]
    assert "vector memory: asks for 9.00 MB, the on-chip memory is 8.00 MB" in str(result["reason"])


@pytest.mark.parametrize("double_buffer", ["true", "false"])
def test_one_without_room_for_a_tile_does_not_compute(double_buffer: str) -> None:
    """Where no tile fits nothing was read again: one byte took less energy than any other size.

    By hand: slices of 32 of two operands of two bytes and a sum of four, in half of the memory. One
    that has no room for two was refused for what double buffering permits.
    """
    settings = {key: value for key, value in STEP.items() if key.startswith("workload")}
    settings["accelerator.double_buffer"] = double_buffer
    tile = 2.0 * (32 * (2 + 2) + 4)
    few, enough = (
        elector.simulate(
            "bert-mini", "systolic", settings=settings | {"accelerator.vector_memory": size}
        )
        for size in (tile - 1.0, tile)
    )
    assert not few["feasible"]
    assert enough["feasible"]
    assert f"vector memory: room for the smallest tile is {tile:.0f} B" in str(few["reason"])


def test_what_passes_main_memory_passes_the_vector_memory() -> None:
    """A large tile may hand sums to main memory where a small one reads its operands again.

    Of two projections it was missing: arrays and main memory ask for as much, whatever is between.
    """
    settings = {
        "model": "whisper-small",
        "model.layers": 1,
        "workload.batch": 3,
        "accelerator.sram": 2079780,
        "accelerator.arrays": 4,
        "accelerator.rows": 16,
        "accelerator.vector_lanes": 16,
        "accelerator.dataflow": "is",
        "accelerator.datapath": "fp32",
    }
    small, none = (chunk(size, **settings).activity.counts for size in ("208 kB", "0"))
    for action in ("read", "write"):
        own, other = small[f"vector memory {action}"].each(), none[f"sram {action}"].each()
        assert (own >= other * (1.0 - 1e-12)).all()


def test_designs_with_and_without_stand_side_by_side() -> None:
    sizes = ["0", "1 MiB", "0", "256 KiB"]
    beside = elector.evaluate(
        {name: [value] * 4 for name, value in STEP.items()} | {"accelerator.vector_memory": sizes}
    )
    for i, size in enumerate(sizes):
        one = elector.evaluate(
            {name: [value] for name, value in STEP.items()} | {"accelerator.vector_memory": [size]}
        )
        assert float(np.asarray(beside["energy_j"])[i]) == float(np.asarray(one["energy_j"])[0])


def test_arrays_of_a_tpu_do_not_read_from_its_common_memory() -> None:
    """Their operands were priced as read from 144 MiB, 3 times what 16 MiB take."""
    base = {"workload.batch": 8, "accelerator.vector_memory": 0}
    whole, own = (
        elector.simulate("bert-base", "tpu-v4i", settings=settings)
        for settings in (base, {"workload.batch": 8})
    )
    before, now = (cast("dict[str, float]", r["energy_by_part_j"]) for r in (whole, own))
    assert now["vector memory"] + now["sram"] < 0.6 * before["sram"]


@pytest.mark.parametrize("name", ["tpu-v2", "tpu-v3"])
def test_a_core_reads_from_its_own_memory(name: str) -> None:
    """Reads of 16 MiB were priced as of the 32 MiB of both cores: by the root of 2 too dear."""
    settings = load_accelerator(name).settings
    assert (settings["sram"], settings["memories"]) == (32 * 1024**2, 2)
    own, joint = (
        elector.simulate("bert-base", name, settings={"accelerator.memories": n}) for n in (2, 1)
    )
    assert own == elector.simulate("bert-base", name) | {"settings": own["settings"]}
    parts = [cast("dict[str, float]", r["energy_by_part_j"])["sram"] for r in (own, joint)]
    assert parts[0] == pytest.approx(parts[1] / 2**0.5)
    for result in ("latency_s", "area_mm2"):
        assert own[result] == joint[result]


def test_each_array_has_its_own_accumulators() -> None:
    """Four arrays of 512 KiB paid for each sum as for one of 2 MiB: twice as much."""
    shown = elector.explain("bert-base", "tpu-v4i", "energy_j")
    terms = {t["name"]: t for t in cast("list[dict[str, Any]]", shown["terms"])}
    (law,) = terms["accumulator read"]["factors"]
    assert law["value"] == pytest.approx((512 * 1024 / 1e6) ** 0.5)


def test_what_the_port_moves_by_default_is_a_row_that_explain_shows() -> None:
    def told(**settings: object) -> dict[str, dict[str, Any]]:
        own = {f"{START}{key}": value for key, value in settings.items()}
        shown = elector.explain("bert-mini", "systolic", "latency_s", settings=own)
        return {c["name"]: c for c in cast("list[dict[str, Any]]", shown["constants"])}

    port = told(vector_memory="1 MiB")["systolic.port_bytes"]
    assert (port["value"], port["unit"], port["evidence"]) == (4.0, "byte", "assumed")
    assert port["low"] < 4.0 < port["high"] and port["source"]
    assert "systolic.port_bytes" not in told()
    assert "systolic.port_bytes" not in told(
        vector_memory="1 MiB", vector_memory_bandwidth="1 TB/s"
    )
    assert "systolic.sum_rows" in told() and "systolic.sum_rows" not in told(dataflow="os")
    assert "systolic.sum_rows" not in told(accumulators="4 MiB")


@pytest.mark.parametrize("double_buffer", ["true", "false"])
@pytest.mark.parametrize("preload", ["serial", "overlap"])
def test_sequences_that_share_parameters_all_wait_for_them_at_the_port(
    double_buffer: str, preload: str
) -> None:
    """Two sequences through a slow port took 1.4 % less than one: each waited for half of the
    parameters that both need."""
    settings = {
        "accelerator.sram": "50 MB",
        "accelerator.vector_memory": "42 MB",
        "accelerator.vector_memory_bandwidth": "13.5 GB/s",
        "accelerator.memory_capacity": "16 GB",
        "accelerator.bandwidth": "200 GB/s",
        "accelerator.memory": "hbm2",
        "accelerator.clock": "158 MHz",
        "accelerator.interleave": "true",
        "accelerator.double_buffer": double_buffer,
        "accelerator.preload": preload,
        "workload.sequence_length": 128,
        "workload.target_length": 16,
    }
    taken = [
        cast(
            float,
            elector.simulate("t5-base", "systolic", settings=settings | {"workload.batch": n})[
                "latency_s"
            ],
        )
        for n in (1, 2, 3, 4, 8)
    ]
    assert taken == sorted(taken)


@pytest.mark.parametrize("batch", [2, 4])
def test_a_faster_main_memory_is_never_slower_behind_a_slow_port(batch: int) -> None:
    """What is fetched ahead saves time of the port: it saved that of main memory (1.6 % slower)."""
    settings = {
        "accelerator.sram": "18 MB",
        "accelerator.vector_memory": "16 MB",
        "accelerator.memory_capacity": "16 GB",
        "accelerator.interleave": "true",
        "accelerator.vector_memory_bandwidth": "13 GB/s",
        "accelerator.memory": "hbm2e",
        "workload.batch": batch,
        "workload.sequence_length": 8,
    }
    taken = [
        cast(
            float,
            elector.simulate(
                "bert-tiny",
                "systolic",
                settings=settings | {"accelerator.bandwidth": f"{rate} GB/s"},
            )["latency_s"],
        )
        for rate in (100, 400, 1200)
    ]
    assert taken == sorted(taken, reverse=True)
