"""Products of 4 bits: what computes in them, what they store and move, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from builders import operations

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.describe.numbers import formats, precisions
from elector.machines.gpu.kernels import elements_of_vector
from elector.machines.gpu.stacks import as_timed, stacks
from elector.operations.roles import RowPart

FOUR = ("nvfp4", "mxfp4")
#: Dense operations a second in 4 bits of the data sheets.
RATES = {
    "b200-sxm-192gb": 9e15,
    "b300-sxm-288gb": 14e15,
    "gb200-192gb": 10e15,
    "gb300-288gb": 15e15,
    "rtx-5080": 9.004e14,
    "rtx-5090": 1.676e15,
    "rtx-pro-6000": 1.871e15,
}
#: Of CDNA 4, which has one of the two formats.
ONE = {"nvfp4": {}, "mxfp4": {"mi355x": 1.00663e16}}
#: Boards whose kernels in 4 bits have few tiles (timed on the first).
COARSE = ("rtx-pro-6000", "rtx-5080", "rtx-5090")
#: Llama 3.1 8B: parameters of matrices of layers (grouped heads, gated feed-forward), and all.
MATRICES = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
PARAMETERS = 8_030_261_248


def simulated(
    accelerator: str, precision: str, model: str = "llama-3.1-8b", **more: object
) -> dict:
    settings = {"workload.precision": precision, **more}
    return elector.simulate(model, accelerator, settings=settings)


@pytest.mark.parametrize("name", FOUR)
def test_devices_that_compute_in_four_bits_are_those_of_the_data_sheets(name: str) -> None:
    names, lines = read_csv(DATA / "accelerators" / "gpus.csv")
    rates = {cells[0]: float(cells[names.index(f"{name}_rate")]) for _, cells in lines}
    expected = RATES | ONE[name]
    assert {device: rate for device, rate in rates.items() if rate} == expected
    for device, rate in expected.items():
        assert simulated(device, name, "bert-tiny")["peak_ops_per_s"] == pytest.approx(rate)


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize(
    ("accelerator", "part"),
    [
        ("h100-sxm-80gb", "does not compute in"),
        ("mi300x", "does not compute in"),
        ("systolic", "built for bf16"),
        ("reram", "built for fixed16"),
        ("acceltran", "built for fixed20"),
        ("reram+systolic", "built for fixed16"),
    ],
)
def test_other_machines_refuse_it_with_what_they_can(
    name: str, accelerator: str, part: str
) -> None:
    with pytest.raises(InputError, match=part) as caught:
        simulated(accelerator, name, "bert-tiny")
    assert caught.value.field == "workload.precision"
    assert caught.value.allowed and name not in caught.value.allowed
    hint = caught.value.hint or ""
    assert "datapath" not in hint  # nothing is built for it
    assert (f"workload.weights: {name}" in hint) == ("reram" not in accelerator)


@pytest.mark.parametrize(("name", "bits"), [("nvfp4", 4 + 8 / 16), ("mxfp4", 4 + 8 / 32)])
def test_matrices_of_layers_are_stored_in_it_and_the_rest_in_16_bits(
    name: str, bits: float
) -> None:
    result = simulated("b200-sxm-192gb", name, **{"workload.generate": 4})
    wanted = MATRICES * bits / 8 + (PARAMETERS - MATRICES) * 2
    assert result["memory_bytes"]["weights"] == pytest.approx(wanted, rel=1e-12)
    # 128 tokens and 3 generated ones in 8 heads of 128, keys and values, 32 layers
    assert result["memory_bytes"]["cache"] == pytest.approx(32 * 2 * 8 * 128 * 131 * bits / 8)


@pytest.mark.parametrize("name", FOUR)
def test_nothing_is_unpacked_where_products_are_in_it(name: str) -> None:
    """Stored in it and multiplied in 16 bits, every value is unpacked."""
    built = operations("gpt2", accelerator="b200-sxm-192gb", precision=name)
    assert not any(row.part is RowPart.UNPACKED for row in built.rows)
    stored = operations("gpt2", accelerator="b200-sxm-192gb", precision="bf16", weights=name)
    assert any(row.part is RowPart.UNPACKED for row in stored.rows)
    assert np.array_equal(built.macs, stored.macs)


@pytest.mark.parametrize("stack", ["tensorrt-llm", "vllm", "sglang", "eager"])
@pytest.mark.parametrize(("batch", "length"), [(1, 128), (16, 2048)])
def test_four_bits_are_never_slower_than_eight(stack: str, batch: int, length: int) -> None:
    """No stack adds kernels for scales of blocks that it has not for those of tensors.

    On compute capability 12.0 vLLM's kernels in 4 bits have tiles of 128 x 128 at least: products
    of 256 rows and fewer, and 1,024 to 2,047 columns, were timed 1.5 to 2.3 times as long there as
    in 8 bits (aiconfigurator-core 0.12.0).
    """
    assert stacks()[stack]["quantise.group.kernels"] <= stacks()[stack]["quantise.kernels"]
    more = {
        "workload.implementation": stack,
        "workload.batch": batch,
        "workload.sequence_length": length,
        "workload.generate": 8,
    }
    for device in RATES:
        eight = simulated(device, "fp8", **more)
        for name in FOUR:
            four = simulated(device, name, **more)
            coarse = device in COARSE and as_timed(stacks()[stack]) and batch == 1
            for key in ("latency_s", "time_to_first_token_s", "energy_j"):
                most = 1.3 if coarse else 1.0
                assert four[key] <= most * eight[key], (device, name, key)


@pytest.mark.parametrize(("device", "rate"), list(RATES.items()))
def test_a_product_takes_no_less_than_its_operations(device: str, rate: float) -> None:
    result = simulated(
        device, "nvfp4", "gemm:65536x65536x65536", **{"workload.implementation": "tensorrt-llm"}
    )
    assert 0.3 * result["latency_s"] < 2 * 65536**3 / rate < result["latency_s"]


def test_a_step_in_four_bits_costs_what_was_published_once() -> None:
    more = {"workload.generate": 4}
    increase = simulated("b200-sxm-192gb", "nvfp4", **more)["perplexity_increase"]
    assert increase == pytest.approx(8.44 / 7.5472 - 1)
    said = simulated("b200-sxm-192gb", "nvfp4", **more, **{"workload.weights": "nvfp4"})
    assert said["perplexity_increase"] == increase  # it is what the precision stores by itself


def test_nothing_trains_in_it() -> None:
    with pytest.raises(InputError, match="nothing trains in nvfp4") as caught:
        simulated("b200-sxm-192gb", "nvfp4", "bert-tiny", **{"workload.mode": "training"})
    assert not set(FOUR) & set(caught.value.allowed or ())


def test_sixteen_bytes_hold_values_whose_scales_lie_apart() -> None:
    wanted = {"fp32": 4, "bf16": 8, "fp8": 16, "nvfp4": 32, "mxfp4": 32}
    for name, elements in wanted.items():
        assert elements_of_vector(np.array(formats()[name].width)) == elements
    assert all(precisions()[name].packed is precisions()[name].products for name in FOUR)
