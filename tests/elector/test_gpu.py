"""GPUs: kernels, stacks, number formats, memory, laws; error bars against measurements."""

from __future__ import annotations

import csv
import importlib
import itertools
import math
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from builders import inside
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, Column
from elector.evaluation.accelerators import devices, load_accelerator
from elector.evaluation.data_sheets import data_sheets
from elector.evaluation.path import evaluate, inspect
from elector.evaluation.resolve import resolve
from elector.machines.gpu import kernels as gpu_kernels
from elector.machines.gpu import machine as gpu
from elector.machines.gpu import stacks as gpu_stacks
from elector.operations import build
from elector.studies.simulation import columns_of
from elector.technology import Technology

DEVICES = sorted(devices())
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def simulate(model: str = "bert-base", device: str = "a100-sxm-40gb", **settings: object) -> dict:
    named = {key.replace("__", "."): value for key, value in settings.items()}
    return elector.simulate(model, device, settings=named)


def numbers(size: int, **varied: object) -> elector.evaluate.__class__:
    """Costs of a column of designs."""
    columns = columns_of({"model": "bert-small", "accelerator": "a100-sxm-40gb"}, size)
    for key, values in varied.items():
        columns[key.replace("__", ".")] = Column.of(values)
    return evaluate(columns, size)


# ---- devices ----


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_runs_and_states_its_source(device: str) -> None:
    result = simulate("bert-tiny", device)
    assert result["feasible"] and result["latency_s"] > 0
    loaded = load_accelerator(device)
    assert loaded.source and loaded.description
    assert result["area_mm2"] == pytest.approx(1e6 * loaded.settings["die"], rel=1e-3)
    assert result["power_w"] <= loaded.settings["power_limit"] * (1 + 1e-6)


#: Totals of nvidia-smi and rocm-smi [MiB].
TOTALS = {
    "a100-sxm-80gb": 81920,
    "a100-sxm-40gb": 40536,
    "v100-sxm-16gb": 16160,
    "t4-16gb": 15360,
    "a10-24gb": 23028,
    "l4-24gb": 23034,
    "rtx-3090": 24576,
    "h100-sxm-80gb": 81559,
    "gh200-96gb": 97871,
    "h200-sxm-141gb": 143771,
    "b200-sxm-192gb": 183359,
    "l40s": 46068,
    "mi300x": 196592,
}


def test_memory_is_what_the_driver_reports() -> None:
    """Chips are built in powers of two; ECC and firmware take a part of some."""
    for device, total in TOTALS.items():
        assert load_accelerator(device).settings["memory_capacity"] == total * 2**20
    for device in DEVICES:
        capacity = float(str(load_accelerator(device).settings["memory_capacity"]))
        assert capacity % 2**20 == 0
        if (named := re.search(r"-(\d+)gb$", device)) and device != "b200-sxm-192gb":
            assert 0.92 < capacity / (int(named[1]) * 2**30) <= 1.01 or "h" in device


def test_a_published_batch_fits() -> None:
    """NVIDIA publishes 1,928 tokens/s for this batch on this board."""
    result = simulate(
        "llama-2-7b",
        "a100-sxm-80gb",
        workload__precision="fp16",
        workload__batch=60,
        workload__sequence_length=128,
        workload__generate=2048,
    )
    assert result["feasible"]


def test_every_figure_of_a_data_sheet_has_evidence() -> None:
    known = data_sheets()
    assert {name for name, _ in known} == {*DEVICES, "gpu"}
    for device in DEVICES:
        assert {(device, "*"), (device, "memory_capacity"), (device, "idle_power")} <= set(known)
    for name, setting in known:
        assert setting == "*" or setting in gpu.GPU.fields, (name, setting)


@pytest.mark.reference
def test_every_device_of_the_facts_is_there(reference_dir: Path) -> None:
    path = reference_dir.parent / "facts" / "gpu_specs.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {r["device"].lower().replace(" ", "-") for r in rows} <= set(DEVICES)
    for r in rows:
        name = r["device"].lower().replace(" ", "-")
        settings = load_accelerator(name).settings
        share = 0.5 if r["device"] == "MI250" else 1.0  # one process sees one of two dies
        for column, key, scale in (
            ("fp32_tflops", "fp32_rate", 1e12),
            ("mem_gbs", "bandwidth", 1e9),
            ("tdp_w", "power_limit", 1.0),
            ("sms", "sms", 1.0),
        ):
            # What is quoted at another clock than the rest is derived here.
            if key != "fp32_rate" or (name, key) not in data_sheets():
                assert settings[key] == pytest.approx(share * scale * float(r[column]), rel=1e-3)


def test_stacks_are_those_of_the_table() -> None:
    assert tuple(gpu_stacks.stacks()) == gpu_stacks.IMPLEMENTATIONS == gpu.GPU.implementations
    names = {frozenset(table) for table in gpu_stacks.stacks().values()}
    assert len(names) == 1, "every stack states every quantity"


# ---- bad input ----


def test_a_precision_the_device_lacks_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        simulate(device="v100-sxm-16gb", workload__precision="bf16")
    assert caught.value.field == "workload.precision"
    assert "bf16" in str(caught.value) and "fp16" in str(caught.value)


def test_an_unknown_stack_is_refused() -> None:
    with pytest.raises(InputError, match="implementation"):
        simulate(workload__implementation="onnx")


def test_a_stack_on_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match="software stack"):
        simulate(device="tpu-v4i", workload__implementation="compiled")


def test_a_batch_beyond_memory_says_the_largest_that_fits() -> None:
    ask = {"workload__mode": "training", "workload__precision": "fp16-amp"}
    result = simulate("bert-large", "v100-sxm-16gb", workload__batch=512, **ask)
    assert not result["feasible"] and result["latency_s"] is None
    largest = int(result["reason"].rsplit(" ", 1)[1])
    assert simulate("bert-large", "v100-sxm-16gb", workload__batch=largest, **ask)["feasible"]
    assert not simulate("bert-large", "v100-sxm-16gb", workload__batch=largest + 1, **ask)[
        "feasible"
    ]


def test_a_model_beyond_memory_fits_at_no_batch() -> None:
    result = simulate("llama-2-7b", "p4-8gb", workload__precision="fp32")
    assert not result["feasible"] and "no batch fits" in result["reason"]


# ---- steps ----


def test_the_host_decides_where_the_device_is_ahead() -> None:
    eager = {"workload__implementation": "eager"}
    small = simulate("bert-base", "h100-sxm-80gb", **eager)
    quick = simulate("bert-base", "h100-sxm-80gb", accelerator__host_speed=4, **eager)
    assert quick["latency_s"] < 0.5 * small["latency_s"]
    large = {"workload__batch": 256, "workload__sequence_length": 512}
    assert simulate(device="t4-16gb", accelerator__host_speed=4, **large)[
        "latency_s"
    ] == pytest.approx(simulate(device="t4-16gb", **large)["latency_s"], rel=0.01)


def test_flash_is_faster_and_smaller_than_unfused_at_long_sequences() -> None:
    ask = {
        "workload__batch": 4,
        "workload__sequence_length": 1024,
        "workload__mode": "training",
        "workload__precision": "bf16-amp",
    }
    kinds = {
        a: simulate("gpt2-medium", workload__attention=a, **ask)
        for a in ("unfused", "fused", "flash")
    }
    times = [kinds[a]["latency_s"] for a in ("unfused", "fused", "flash")]
    assert times[0] > times[1] > times[2]
    assert (
        kinds["flash"]["memory_bytes"]["activations"]
        < 0.8 * (kinds["unfused"]["memory_bytes"]["activations"])
    )


def _flash(device: str, **settings: object) -> dict[str, float]:
    """Seconds of a long attention's products and of its softmax, without a power limit."""
    asked = {
        "workload.attention": "flash",
        "workload.sequence_length": 8192,
        "model.positions": 8192,
        "accelerator.power_limit": "1 MW",
        **{f"accelerator.{key}": value for key, value in settings.items()},
    }
    rows = elector.simulate("bert-base", device, settings=asked, operations=True)["operations"]
    return {name: sum(o["seconds"] for o in rows if o["name"] == name) for name in FLASH}


FLASH = ("scores", "softmax", "context")


def test_blackwell_ultra_has_twice_the_special_functions_of_blackwell() -> None:
    # NVIDIA, Making Softmax More Efficient with Blackwell Ultra; no other device has.
    twice, half = _flash("b300-sxm-288gb"), _flash("b300-sxm-288gb", special_per_cycle=16)
    assert half["scores"] == twice["scores"]
    # an exponential for each of 12 layers, 12 heads, 8192 queries and 8192 keys, and a division
    # for each query; 16 of them a clock on each of 148 SMs at 2.032 GHz, and what else a softmax of
    # Blackwell takes beside them (flash_special)
    number, clocks = 1.2 * 12 * 12 * 8192 * 8192, 148 * 2.032e9
    assert half["softmax"] == pytest.approx(number / (16 * clocks), rel=0.01)
    # twice as many, until the lanes decide: five operations for each, 77 Tflop/s
    lanes = 5 * number / (77e12 / 2)
    assert twice["softmax"] == pytest.approx(max(number / (32 * clocks), lanes), rel=0.01)
    for device, row in devices().items():
        if row["architecture"] in ("volta", "turing", "ampere", "ada", "hopper"):
            assert float(row["special_per_cycle"]) == 16, device


def test_more_special_functions_than_the_lanes_feed_are_worth_nothing() -> None:
    most = 0.25 * 128  # a quarter of the lanes of an SM
    here, beyond = (_flash("h100-sxm-80gb", special_per_cycle=n) for n in (most, 4 * most))
    assert beyond["softmax"] == pytest.approx(here["softmax"], rel=0.02)


def test_mixed_precision_casts_its_weights_in_every_inference() -> None:
    ask = {"workload__implementation": "fastertransformer"}
    pure = simulate("bert-large", workload__precision="fp16", **ask)
    mixed = simulate("bert-large", workload__precision="fp16-amp", **ask)
    assert mixed["macs"] == pure["macs"]
    assert mixed["memory_bytes"]["weights"] == 3 * pure["memory_bytes"]["weights"]
    assert mixed["latency_s"] > pure["latency_s"]


def test_a_plain_optimizer_is_slower_than_a_fused_one() -> None:
    ask = {"workload__mode": "training", "workload__precision": "fp32"}
    times = [
        simulate("bert-large", workload__optimizer_kernels=o, **ask)["latency_s"]
        for o in ("fused", "plain")
    ]
    assert times[1] > times[0] + 0.05


def test_tensor_formats_beat_fp32_in_time_and_energy() -> None:
    ask = {"workload__batch": 32, "workload__sequence_length": 384}
    slow, fast = (simulate(workload__precision=p, **ask) for p in ("fp32", "bf16"))
    assert fast["latency_s"] < 0.5 * slow["latency_s"]
    assert fast["energy_j"] < 0.5 * slow["energy_j"]


def test_decoding_is_bound_by_memory() -> None:
    result = simulate(
        "llama-2-7b",
        "h100-sxm-80gb",
        workload__generate=64,
        workload__implementation="fastertransformer",
    )
    weights = 6.74e9 * 2 / 3350e9
    assert weights < result["time_per_output_token_s"] < 2.5 * weights


# ---- laws ----


def test_a_design_alone_is_the_design_in_a_batch() -> None:
    rng = np.random.default_rng(1)
    names = [str(rng.choice(DEVICES)) for _ in range(40)]
    batch = [int(b) for b in rng.integers(1, 64, 40)]
    whole = numbers(40, accelerator=names, workload__batch=batch)
    order = rng.permutation(40)
    mixed = numbers(
        40, accelerator=[names[i] for i in order], workload__batch=[batch[i] for i in order]
    )
    for key in ("latency_s", "energy_j"):
        assert (mixed.scalars[key] == whole.scalars[key][order]).all()
        for i in (0, 17, 39):
            one = numbers(1, accelerator=[names[i]], workload__batch=[batch[i]])
            assert one.scalars[key][0] == whole.scalars[key][i]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("accelerator.bandwidth", [1e11 * 1.5**i for i in range(12)]),
        ("accelerator.l2", [2.0**i * 1e6 for i in range(12)]),
        ("accelerator.bf16_rate", [1e13 * 1.5**i for i in range(12)]),
        ("accelerator.power_limit", [80.0 * 1.3**i for i in range(12)]),
        ("accelerator.host_speed", [0.25 * 1.5**i for i in range(12)]),
    ],
)
def test_more_of_anything_is_never_slower(key: str, values: list[float]) -> None:
    cost = numbers(12, **{key: values, "workload.batch": [16] * 12})
    assert (np.diff(cost.scalars["latency_s"]) <= 1e-12).all()


def test_training_costs_more_than_inference_and_more_tokens_more() -> None:
    ask = {"workload__batch": 8}
    assert simulate(workload__mode="training", **ask)["energy_j"] > simulate(**ask)["energy_j"]
    times = [simulate(workload__sequence_length=n, **ask)["latency_s"] for n in (64, 128, 256, 512)]
    assert times == sorted(times)


def test_time_and_energy_stay_above_their_bounds() -> None:
    for device in DEVICES:
        cells = {"model": "bert-base", "accelerator": device, "workload.batch": 16}
        group = next(iter(resolve(columns_of(cells), 1)))
        ops = build(group.models, group.workload)
        compute = ops.format.compute
        result = simulate(device=device, workload__batch=16)
        settings = {k: v[0] for k, v in group.units.numbers.items()}
        assert result["latency_s"] >= 2 * ops.macs[0] / settings[f"{compute}_rate"]
        assert result["latency_s"] >= ops.memory["weights"][0] / settings["bandwidth"] * 0.5
        assert result["utilization"] < 1
        assert result["energy_j"] == pytest.approx(sum(result["energy_by_part_j"].values()))


@given(st.data())
def test_no_design_inside_the_schema_gives_nan_or_a_negative(data: st.DataObject) -> None:
    from elector.base.table import schema

    settings = {}
    for key, field in schema("gpu").items():
        if field.type == "float" and field.low is not None and data.draw(st.booleans()):
            low, high = max(field.low, 1e-9), field.high
            settings[f"accelerator.{key}"] = data.draw(st.floats(low, high))
    settings["accelerator.bf16_rate"] = data.draw(st.floats(1e6, 1e18))
    result = elector.simulate("bert-tiny", "gpu", settings=settings)
    if result["feasible"]:
        for key in ("latency_s", "energy_j", "power_w", "area_mm2", "utilization"):
            assert math.isfinite(result[key]) and result[key] >= 0, key


@pytest.mark.parametrize(
    "stack", [s for s in gpu_stacks.IMPLEMENTATIONS if s not in gpu_stacks.SERVING_ONLY]
)
def test_training_is_never_faster_than_the_inference_it_contains(stack: str) -> None:
    """Every device, in its own precision of inference, with little or all of it trained."""
    cases = list(
        itertools.product(DEVICES, ("heads", "lora:8", "all"), (1, 32), ("native", "fp32"))
    )
    keys = ("accelerator", "workload.trainable", "workload.batch", "workload.precision")
    shared = {key: [case[place] for case in cases] for place, key in enumerate(keys)}
    shared |= {
        "accelerator.memory_capacity": [1e15] * len(cases),
        "workload.implementation": [stack] * len(cases),
    }
    both = [
        numbers(len(cases), **shared, **{"workload.mode": [mode] * len(cases)})
        for mode in ("inference", "training")
    ]
    for result in ("latency_s", "energy_j"):
        inference, training = (cost.scalars[result] for cost in both)
        slower = training >= inference  # False of what is not a number, too
        assert slower.all(), (result, cases[slower.argmin()])


def test_a_batch_of_the_issue_trains_slower_than_it_infers() -> None:
    ask = {"workload__batch": 32, "workload__trainable": "heads", "workload__precision": "bf16"}
    inference, training = (
        simulate(device="a100-sxm-80gb", workload__mode=mode, **ask)["latency_s"]
        for mode in ("inference", "training")
    )
    assert training > inference


@pytest.mark.parametrize("device", ["a100-sxm-80gb", "h100-sxm-80gb", "t4-16gb"])
def test_a_lower_clock_is_never_faster(device: str) -> None:
    boost = float(str(load_accelerator(device).settings["boost_clock"]))
    clocks = [boost * share for share in np.linspace(0.05, 1.0, 40)]
    cost = numbers(
        40, accelerator=[device] * 40, **{"accelerator.clock": clocks, "workload.batch": [8] * 40}
    )
    seconds = cost.scalars["latency_s"]  # under a power limit to a ten-millionth
    assert cost.feasible.all() and (np.diff(seconds) <= 1e-6 * seconds[1:]).all()


def test_eager_copies_its_cache_for_every_token_and_compiled_stacks_do_not() -> None:
    """torch.cat: keys and values read and written once more, beside the pass of attention."""
    ask = {"workload__batch": 64, "workload__sequence_length": 256, "workload__generate": 512}
    ask["workload__precision"] = "fp16"
    shares = {}
    for stack in ("eager", "compiled"):
        whole = elector.simulate(
            "llama-2-7b",
            "a100-sxm-80gb",
            settings={k.replace("__", "."): v for k, v in ask.items()}
            | {"workload.implementation": stack},
            operations=True,
        )
        rows = [r for r in whole["operations"] if r["phase"] == "decode"]
        append = next(r for r in rows if r["name"] == "cache append")
        attention = [r for r in rows if r["name"] in ("scores", "context")]
        shares[stack] = append["dram_bytes"] / sum(r["dram_bytes"] for r in attention)
    assert shares["eager"] == pytest.approx(2.0, rel=0.02)
    assert shares["compiled"] < 0.02


# ---- measurements ----


def _benchmark(name: str) -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.reference
def test_steps_are_within_their_bars_and_a_third_of_a_roofline(reference_dir: Path) -> None:
    report = _benchmark("gpu_error")
    rows = report.steps(reference_dir)
    rows = rows.take(~report.suspect(rows))
    assert len(rows.records) == 571
    ours, plain = report.step_errors(rows, report.compile_steps(rows))
    figures = report.step_figures(rows, ours)
    assert figures["all"][1] <= 0.08
    assert figures["mode train"][1] <= 0.08
    assert figures["mode infer"][1] <= 0.08
    assert all(median <= 0.08 for _, median, _ in figures.values()), figures
    assert figures["all"][1] <= report.summary(plain)[1] / 3


@pytest.mark.reference
def test_operations_are_within_their_bars(reference_dir: Path) -> None:
    ours, plain = _benchmark("gpu_error").operation_figures(reference_dir)
    assert ours["products kept out"][1] <= 0.12
    assert ours["operations kept out"][1] <= 0.12
    assert ours["products kept out"][1] <= plain["products kept out"][1] / 3


@pytest.mark.reference
def test_power_and_power_limits_are_within_their_bars(reference_dir: Path) -> None:
    figures = _benchmark("gpu_error").power_figures(reference_dir)
    for device in ("V100", "Quadro"):
        assert figures[f"{device} watts"][1] <= 0.12
        assert figures[f"{device} slowdown under limits"][1] <= 0.10


def test_the_data_files_hold_every_constant() -> None:
    assert gpu_kernels.constants().reserved > 0
    for name in ("gpu.csv", "implementations.csv"):
        with (DATA / name).open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                assert row["source"] and row["unit"], row
                assert row["evidence"] in {"derived", "assumed", "published"}, row


def test_clocks_and_schedulers_follow_the_clock() -> None:
    """A clock 28 times as slow takes no 28 times the joules: as many cycles, and fewer waits."""
    own = {"model": "bert-large", "accelerator": "a100-sxm-80gb", "workload.batch": 16}
    joules = {}
    for clock in (1410e6, 600e6, 50e6):
        cells = {**own, "accelerator.clock": clock}
        counts = inspect(columns_of(cells), Technology.load()).activity.counts
        joules[clock] = float(counts["running"].total()[0])
    # but for cycles of waiting for main memory, of which a slow clock has fewer
    assert joules[50e6] < joules[600e6] < joules[1410e6] < 5.0 * joules[50e6]


def test_special_functions_that_lanes_cannot_keep_up_with_are_said() -> None:
    for functions, said in ((16, False), (4096, True)):
        settings = {"accelerator.special_per_cycle": functions}
        notes = elector.simulate("bert-tiny", "a100-sxm-80gb", settings=settings)["notes"]
        assert any("special functions a clock" in note for note in notes) is said


def test_probabilities_inside_a_kernel_are_not_quantised_by_another() -> None:
    """A prompt in fp8 takes no longer than in 16 bits where attention is one kernel."""
    long = {"workload.sequence_length": 8192, "workload.generate": 2, "workload.batch": 1}
    for stack in ("vllm", "sglang", "tensorrt-llm"):
        own = {**long, "workload.implementation": stack, "workload.attention": "flash"}
        first = [
            elector.simulate(
                "llama-3.1-8b", "h100-sxm-80gb", settings=own | {"workload.precision": precision}
            )["time_to_first_token_s"]
            for precision in ("fp8", "bf16")
        ]
        assert first[0] < first[1]


def test_products_alone_are_kernels_and_no_step_of_a_model(tmp_path: Path) -> None:
    """A host prepares a step of a model; a table of products has none around it."""
    table = tmp_path / "products.csv"
    table.write_text("name,M,N,K\na,512,1024,2048\nb,4096,4096,4096\n")
    for stack in ("eager", "vllm", "compiled"):
        settings = {"workload.implementation": stack, "workload.residency": "none"}
        chunk = inside(str(table), "a100-sxm-80gb", **settings)
        assert chunk.activity.start[0] == 0
        assert chunk.timing.seconds[0] < 1e-3
    assert inside("bert-tiny", "a100-sxm-80gb").activity.start[0] > 0
