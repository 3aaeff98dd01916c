"""The event-driven model: counted by hand, against SCALE-Sim, and against the closed form."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amounts import draws

from elector.base.errors import InfeasibleError, InputError
from elector.evaluation.path import evaluate, inspect
from elector.events.timeline import run, timeline
from elector.events.trace import events, trace
from elector.studies.simulation import columns_of
from elector.technology import Technology

CLOCK = 700e6
#: One array of 4 x 4 cells of one-byte operands, with memory too fast to matter.
SMALL: dict[str, object] = {
    "accelerator.rows": 4,
    "accelerator.cols": 4,
    "accelerator.datapath": "int8",
    "accelerator.bandwidth": 1e16,
    "accelerator.memory_capacity": 1e12,
}


def products(folder: Path, *shapes: tuple[int, int, int]) -> str:
    """A list of matrix products (m, k, n)."""
    path = folder / "list.csv"
    lines = [f"p{i},{m},{n},{k}" for i, (m, k, n) in enumerate(shapes)]
    path.write_text("name,M,N,K\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def cycles(model: str, **settings: object) -> float:
    """Cycles of the event-driven model."""
    dotted = {f"accelerator.{key}": value for key, value in settings.items()}
    columns = columns_of({"model": model, "accelerator": "systolic", **SMALL, **dotted})
    return run(columns).seconds * CLOCK


# Counted on paper: r rows loaded, t rows streamed, skew r + c - 2.
BY_HAND = [
    # one fold, loaded (4), streamed (4) and drained (4 + 4 - 2), one after another
    ([(4, 4, 4)], {"preload": "serial"}, 2 * 4 + 4 + 4 - 2),
    # two folds along k
    ([(4, 8, 4)], {"preload": "serial"}, 2 * 14),
    # an edge fold of one row and three columns: 2 + 3 + 4 - 2
    ([(4, 1, 3)], {"preload": "serial"}, 7),
    # three whole folds and edges: k = 6 gives r = 4, 2; n = 6 gives c = 4, 2
    ([(4, 6, 6)], {"preload": "serial"}, 14 + 12 + 10 + 8),
    # overlapped: two folds of max(t, r) = 5 cycles, one load and one skew
    ([(5, 8, 4)], {}, 5 + 5 + 4 + 4 + 4 - 2),
    # a stream shorter than the load it hides: the second follows its own load, 4 + 4 cycles
    ([(1, 8, 4)], {}, 4 + 4 + 1 + 4 + 4 - 2),
    # output stationary: the stream is k
    ([(4, 9, 4)], {"dataflow": "os", "preload": "serial"}, 2 * 4 + 4 + 9 - 2),
    # input stationary: the stream is n
    ([(4, 4, 9)], {"dataflow": "is", "preload": "serial"}, 2 * 4 + 4 + 9 - 2),
    # two arrays take a fold each
    ([(5, 8, 4)], {"arrays": 2}, 5 + 4 + 4 + 4 - 2),
    # two products, the second waits for the first
    ([(4, 4, 4), (4, 4, 4)], {"preload": "serial"}, 28),
]


@pytest.mark.parametrize(("shapes", "settings", "expected"), BY_HAND)
def test_cycles_counted_by_hand(
    tmp_path: Path, shapes: list[tuple[int, int, int]], settings: dict[str, object], expected: int
) -> None:
    assert cycles(products(tmp_path, *shapes), **settings) == pytest.approx(expected, abs=0.01)


def test_a_product_bound_by_memory_takes_the_time_of_its_bytes(tmp_path: Path) -> None:
    # 64 x 64 inputs and weights of one byte and results of one byte, once each, at 1 MB/s
    seconds = run(
        columns_of(
            {
                "model": products(tmp_path, (64, 64, 64)),
                "accelerator": "systolic",
                **SMALL,
                "accelerator.bandwidth": 1e6,
            }
        )
    ).seconds
    assert seconds == pytest.approx(3 * 4096 / 1e6, rel=0.01)


def test_weights_of_the_next_product_are_fetched_behind_the_first(tmp_path: Path) -> None:
    one = run(
        columns_of(
            {
                "model": products(tmp_path, (512, 64, 64)),
                "accelerator": "systolic",
                **SMALL,
                "accelerator.bandwidth": 1e9,
            }
        )
    )
    two = run(
        columns_of(
            {
                "model": products(tmp_path, (512, 64, 64), (512, 64, 64)),
                "accelerator": "systolic",
                **SMALL,
                "accelerator.bandwidth": 1e9,
            }
        )
    )
    assert two.seconds < 2.0 * one.seconds
    assert two.seconds >= 2.0 * max(one.busy.values())


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.reference
def test_without_stalls_it_equals_scalesim(
    tmp_path: Path, reference_dir: Path, dataflow: str
) -> None:
    with (reference_dir / "scalesim_gemm.csv").open(encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r["dataflow"] == dataflow][::12]
    assert len(rows) > 10
    for r in rows:
        model = products(tmp_path, (int(r["M"]), int(r["K"]), int(r["N"])))
        simulated = cycles(
            model,
            rows=int(r["array_rows"]),
            cols=int(r["array_cols"]),
            dataflow=dataflow,
            convention="scalesim",
        )
        assert round(simulated) == int(r["total_cycles"])


def random_designs(count: int, seed: int) -> list[dict[str, object]]:
    """Settings over every dataflow, size, mode and attention."""
    rng = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(rng.integers(len(options)))]

    return [
        {
            "model": pick("bert-tiny", "bert-mini", "bert-small"),
            "accelerator": "systolic",
            "workload.mode": pick("inference", "training"),
            "workload.batch": pick(1, 2, 4, 8),
            "workload.sequence_length": pick(32, 64, 128, 256),
            "workload.attention": pick("unfused", "fused", "flash"),
            "accelerator.rows": pick(16, 32, 64, 128, 256),
            "accelerator.cols": pick(16, 32, 64, 128, 256),
            "accelerator.arrays": pick(1, 2, 4),
            "accelerator.dataflow": pick("ws", "os", "is"),
            "accelerator.sram": pick(1e6, 4e6, 16e6, 64e6),
            "accelerator.bandwidth": pick(1e10, 5e10, 1e11, 4e11),
            "accelerator.preload": pick("overlap", "serial"),
            "accelerator.fuse": pick("true", "false"),
        }
        for _ in range(count)
    ]


def random_acceltran(count: int, seed: int) -> list[dict[str, object]]:
    """Settings over the AccelTran space, dense and with pruned operands."""
    rng = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(rng.integers(len(options)))]

    designs = []
    for _ in range(count):
        side = pick(8, 16, 32)
        designs.append(
            {
                "model": pick("bert-tiny", "bert-mini", "bert-small"),
                "accelerator": "acceltran",
                "workload.mode": pick("inference", "training"),
                "workload.batch": pick(1, 4, 16),
                "workload.sequence_length": pick(64, 128, 256),
                "workload.sparsity": pick("dense", "acceltran"),
                "accelerator.tile_b": pick(1, 4),
                "accelerator.tile_x": side,
                "accelerator.tile_y": side,
                "accelerator.pe": pick(64, 128, 256, 512),
                "accelerator.lanes_per_pe": pick(8, 16, 32, 64),
                "accelerator.mac_per_lane": pick(1, 16),
                "accelerator.softmax_per_pe": pick(2, 4, 8, 32),
                "accelerator.activation_buffer": pick(4e6, 16e6, 64e6),
                "accelerator.weight_buffer": pick(8e6, 32e6, 128e6),
                "accelerator.memory": pick(
                    "rram_16_2_2", "rram_32_2_1", "dram_32_2_1", "hbm_32_1_4"
                ),
            }
        )
    return designs


def random_gpus(count: int, seed: int) -> list[dict[str, object]]:
    """Devices, stacks, formats and power limits."""
    rng = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(rng.integers(len(options)))]

    trains = ("eager", "compiled", "torchscript", "tensorflow2-xla", "auto")
    stacks = {
        "training": trains,
        "inference": (*trains, "fastertransformer", "tensorrt", "vllm", "llama.cpp"),
    }
    return [
        {
            "model": pick("bert-tiny", "bert-mini", "bert-small", "bert-base"),
            "accelerator": pick("t4-16gb", "v100-sxm-32gb", "a100-sxm-40gb", "rtx-3090"),
            "workload.mode": (mode := str(pick("inference", "training"))),
            "workload.batch": pick(1, 4, 16, 32),
            "workload.sequence_length": pick(32, 128, 256),
            "workload.attention": pick("unfused", "fused", "flash", "auto"),
            "workload.precision": pick("fp32", "fp16", "fp16-amp"),
            "workload.implementation": pick(*stacks[mode]),
            "accelerator.host_speed": pick(0.5, 1, 4),
            "accelerator.power_limit": pick(70, 150, 300, 1000),
        }
        for _ in range(count)
    ]


def random_reram(count: int, seed: int) -> list[dict[str, object]]:
    """Tiles, converters, writes and the digital unit."""
    rng = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(rng.integers(len(options)))]

    return [
        {
            "model": pick("bert-tiny", "bert-mini", "bert-small"),
            "accelerator": "reram",
            "workload.mode": pick("inference", "training"),
            "workload.batch": pick(1, 2, 4, 8),
            "workload.sequence_length": pick(32, 64, 128, 256),
            "workload.attention": pick("unfused", "fused", "flash"),
            "accelerator.tiles": pick(700, 1000, 2000),
            "accelerator.digital_macs": pick(4096, 16384, 65536, 262144),
            "accelerator.vector_lanes": pick(1024, 4096, 16384),
            "accelerator.adcs_per_crossbar": pick(0.5, 1, 2, 4),
            "accelerator.dac_bits": pick(1, 2),
            "accelerator.bandwidth": pick(5e10, 1e11, 4e11, 9e11),
            "accelerator.transposed_read": pick("bidirectional", "copy"),
            "accelerator.dynamic": pick("auto", "auto", "write"),
            "accelerator.write_power": pick(1, 10, 100),
            "accelerator.buffer": pick(16384, 65536, 262144),
        }
        for _ in range(count)
    ]


def random_hybrids(count: int, seed: int) -> list[dict[str, object]]:
    """ReRAM tiers beside systolic arrays, with a GPU where everything is trained."""
    rng = np.random.default_rng(seed)

    def pick(*options: object) -> object:
        return options[int(rng.integers(len(options)))]

    designs = []
    for _ in range(count):
        base = pick("reram+systolic", "hpt")
        training = base == "hpt" and pick(True, False)
        designs.append(
            {
                "model": pick("bert-tiny", "bert-mini", "bert-small"),
                "accelerator": base,
                "workload.mode": "training" if training else "inference",
                "workload.trainable": pick("all", "lora:4", "lora:8", "heads")
                if training
                else "all",
                "workload.batch": pick(1, 2, 4, 8),
                "workload.sequence_length": pick(32, 64, 128, 256),
                "accelerator.units.tier.tiles": pick(700, 1000, 2000),
                "accelerator.units.tier.adcs_per_crossbar": pick(0.5, 1, 4),
                "accelerator.units.array.rows": pick(32, 64, 128),
                "accelerator.units.array.cols": pick(32, 64, 128),
                "accelerator.units.array.arrays": pick(1, 2, 4),
                "accelerator.links.tier-array.bandwidth": pick(1e10, 1e11, 1e12),
            }
        )
    return designs


DESIGNS = {
    "systolic": random_designs,
    "acceltran": random_acceltran,
    "gpu": random_gpus,
    "reram": random_reram,
    "hybrid": random_hybrids,
}


def compared(machine: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the closed form and of the event-driven model."""
    technology = Technology.load()
    closed, event = [], []
    for settings in DESIGNS[machine](count, seed):
        chunk = inspect(columns_of(settings), technology)
        if any(needed[0] > there[0] for needed, there in chunk.activity.limits.values()):
            continue
        closed.append(float(chunk.timing.seconds[0]))
        event.append(timeline(chunk).seconds)
    return np.array(closed), np.array(event)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks; designs that come out alike share theirs (a GPU does not see its neighbour's size)."""
    _, code, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[code]


#: Designs of a machine in the quick tests; those that spread more need more.
QUICK = {"systolic": 10, "acceltran": 8, "gpu": 16}
DRAWS = [(machine, QUICK.get(machine, 24), 1) for machine in DESIGNS]
SLOW = [pytest.param(machine, 300, 2, marks=pytest.mark.slow) for machine in DESIGNS]


@pytest.mark.parametrize(("machine", "count", "seed"), [*DRAWS, *SLOW])
def test_the_closed_form_agrees(machine: str, count: int, seed: int) -> None:
    closed, event = compared(machine, count, seed)
    error = np.abs(closed / event - 1.0)
    assert np.median(error) <= 0.05
    assert np.quantile(error, 0.95) <= 0.20
    assert np.corrcoef(ranks(closed), ranks(event))[0, 1] >= 0.99


LARGE: list[dict[str, object]] = [
    {"model": model, "accelerator": accelerator, "workload.mode": mode, "workload.batch": batch}
    | ({"workload.sparsity": "acceltran"} if accelerator == "acceltran-server" else {})
    for model, batch in (("bert-base", 4), ("bert-large", 8))
    for accelerator in ("acceltran-server", "tpu-v4i")
    for mode in ("inference", "training")
] + [
    {
        "model": "bert-large",
        "accelerator": "systolic",
        "workload.mode": mode,
        "workload.batch": 4,
        "accelerator.rows": 256,
        "accelerator.cols": 256,
    }
    for mode in ("inference", "training")
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", LARGE, ids=lambda s: "-".join(map(str, list(s.values())[:3])))
def test_the_closed_form_agrees_on_large_steps(settings: dict[str, object]) -> None:
    chunk = inspect(columns_of(settings), Technology.load())
    assert float(chunk.timing.seconds[0]) == pytest.approx(timeline(chunk).seconds, rel=0.06)


@pytest.mark.parametrize("machine", DESIGNS)
def test_the_step_is_never_shorter_than_a_resource_is_busy(machine: str) -> None:
    for settings in DESIGNS[machine](draws(6, 3), 3):
        step = run(columns_of(settings))
        assert all(busy <= step.seconds * (1 + 1e-9) for busy in step.busy.values())
        for name in step.busy:
            mine = [s for s in step.spans if s.resource == name]
            steps = [(round(s.end, 14), -s.amount) for s in mine]
            steps += [(round(s.start, 14), s.amount) for s in mine]
            taken = itertools.accumulate(amount for _, amount in sorted(steps))
            assert max(taken, default=0.0) <= 1 + 1e-6, name


SOME: list[dict[str, Any]] = [
    {"model": "bert-tiny", "accelerator": "systolic"},
    {"model": "bert-tiny", "accelerator": "acceltran-edge"},
    {
        "model": "bert-tiny",
        "accelerator": "a100-sxm-40gb",
        "workload.mode": "training",
        "workload.attention": "flash",
    },
    {"model": "bert-mini", "accelerator": "reram", "workload.mode": "training"},
    {"model": "bert-mini", "accelerator": "isaac", "workload.batch": 2},
    {
        "model": "bert-tiny",
        "accelerator": "hpt",
        "workload.mode": "training",
        "workload.trainable": "lora:4",
    },
    {"model": "bert-tiny", "accelerator": "hpt", "workload.mode": "training"},
]


@pytest.mark.parametrize("settings", SOME, ids=lambda s: s["accelerator"])
def test_power_over_time_adds_up_to_the_energy(settings: dict[str, Any]) -> None:
    traced = trace(columns_of(settings), "t")
    cost = evaluate(columns_of(settings), 1, level="groups")
    energy = traced.joules
    standing = float(cost.groups["energy_by_part_j"]["leakage"][0])
    longer = traced.timeline.seconds / float(cost.scalars["latency_s"][0])
    expected = float(cost.scalars["energy_j"][0]) + standing * (longer - 1.0)
    assert energy == pytest.approx(expected, rel=1e-6)


TRACKS = {
    "systolic": {"array", "vector", "memory"},
    "gpu": {"host", "tensor cores", "L2", "memory"},
    "isaac": {
        "crossbars: layers 1 query",
        "crossbars: layers 2 key, value 2",
        "spare crossbars",
        "write drivers",
        "vector lanes",
        "memory",
    },
    "reram+systolic": {
        "tier.crossbars: layers 1 query",
        "array.array",
        "array.vector",
        "array.memory",
        "link tier-array",
    },
}


@pytest.mark.parametrize("accelerator", TRACKS)
def test_a_trace_has_named_tracks_and_spans_that_do_not_overlap(accelerator: str) -> None:
    traced = trace(columns_of({"model": "bert-tiny", "accelerator": accelerator}), "a title")
    listed = json.loads(json.dumps(events(traced)))["traceEvents"]
    names = {e["args"]["name"] for e in listed if e["ph"] == "M"}
    assert names >= {"a title", *TRACKS[accelerator]}
    assert accelerator != "systolic" or names == {"a title", *TRACKS[accelerator]}
    spans = [e for e in listed if e["ph"] == "X"]
    assert {"softmax", "linear", "norm"} <= {e["cat"] for e in spans}
    last: dict[int, float] = {}
    for e in sorted(spans, key=lambda e: (e["tid"], e["ts"])):
        assert e["ts"] >= last.get(e["tid"], 0.0) - 1e-9
        last[e["tid"]] = e["ts"] + e["dur"]
    counters = {e["name"] for e in listed if e["ph"] == "C"}
    assert "power" in counters
    assert counters >= {f"{name.partition(':')[0]} utilization" for name in TRACKS[accelerator]}


# ---- GPUs, ReRAM and hybrids: cases small enough to count by hand ----


def test_a_host_slower_than_the_device_sets_the_pace() -> None:
    settings: dict[str, Any] = {
        "model": "bert-tiny",
        "accelerator": "a100-sxm-40gb",
        "workload.precision": "fp16",
    }
    step = run(columns_of({**settings, "accelerator.host_speed": 0.1}))
    chunk = inspect(columns_of({**settings, "accelerator.host_speed": 0.1}), Technology.load())
    host = float(chunk.activity.load("host")[0]) + float(chunk.activity.start[0])
    assert step.busy["host"] == pytest.approx(host, rel=1e-6)
    assert host <= step.seconds <= 1.02 * host
    quick = run(columns_of({**settings, "accelerator.host_speed": 100}))
    assert quick.busy["host"] < 0.3 * quick.seconds


def test_a_kernel_waits_for_the_kernel_before_it() -> None:
    step = run(
        columns_of(
            {"model": "bert-tiny", "accelerator": "v100-sxm-32gb", "workload.mode": "training"}
        )
    )
    device = [s for s in step.spans if s.resource != "host"]
    order: dict[tuple[int, int], list[float]] = {}
    for s in device:
        ends = order.setdefault((s.row, s.layer), [s.start, s.end])
        ends[0], ends[1] = min(ends[0], s.start), max(ends[1], s.end)
    times = sorted(order.values())
    assert all(b[0] >= a[1] - 1e-12 for a, b in itertools.pairwise(times))


def test_reram_counted_by_hand(tmp_path: Path) -> None:
    """One product of 10 vectors: 16 phases of 100 ns each, and a last conversion."""
    settings: dict[str, Any] = {
        "model": products(tmp_path, (10, 128, 16)),
        "accelerator": "isaac",
        "accelerator.bandwidth": 1e16,
        "accelerator.copies": 1,
    }
    step = run(columns_of(settings))
    assert step.seconds == pytest.approx(10 * 16 * 100e-9 + 100e-9, rel=1e-6)
    # four copies take three vectors at most, and are free for others meanwhile
    step = run(columns_of({**settings, "accelerator.copies": 4}))
    assert step.seconds == pytest.approx(3 * 16 * 100e-9 + 100e-9, rel=1e-6)
    assert sum(step.busy.values()) == pytest.approx(2.5 * 16 * 100e-9, rel=1e-6)


def test_a_transfer_takes_its_link_for_its_bytes() -> None:
    settings: dict[str, Any] = {
        "model": "bert-mini",
        "accelerator": "reram+systolic",
        "workload.batch": 2,
    }
    chunk = inspect(columns_of(settings), Technology.load())
    step = timeline(chunk)
    rows = [r for r, row in enumerate(chunk.ops.rows) if row.kind == "transfer"]
    size = sum(float(chunk.ops.m[r, 0] * chunk.ops.count[r, 0]) for r in rows)
    assert step.busy["link tier-array"] == pytest.approx(size / 400e9)
    assert {step.rows[s.row].kind for s in step.spans if s.resource == "link tier-array"} == {
        "transfer"
    }


def test_what_the_assignment_gives_away_stays_idle() -> None:
    step = run(
        columns_of(
            {
                "model": "bert-tiny",
                "accelerator": "hpt",
                "workload.mode": "training",
                "workload.trainable": "lora:4",
            }
        )
    )
    assert not any(name.startswith("gpu.") for name in step.busy)
    everything = run(
        columns_of({"model": "bert-tiny", "accelerator": "hpt", "workload.mode": "training"})
    )
    assert all(name.startswith("gpu.") for name in everything.busy)
    alone = run(
        columns_of(
            {"model": "bert-tiny", "accelerator": "a100-pcie-40gb", "workload.mode": "training"}
        )
    )
    assert everything.seconds == alone.seconds


def test_a_design_that_cannot_run_has_no_trace() -> None:
    settings = {"model": "bert-large", "accelerator": "t4-16gb", "workload.mode": "training"}
    with pytest.raises(InfeasibleError, match="the largest batch that fits is"):
        trace(columns_of({**settings, "workload.batch": 512}), "t")


def test_too_many_jobs_are_refused() -> None:
    settings = {"model": "gpt2-xl", "accelerator": "systolic", "workload.generate": 896}
    with pytest.raises(InputError, match="jobs"):
        run(columns_of({**settings, "accelerator.memory_capacity": 1e12}))
