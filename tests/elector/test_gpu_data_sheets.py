"""Figures of the boards' data sheets agree with one another."""

from __future__ import annotations

import csv
from typing import Any

import pytest

import elector
from elector.base.errors import InputError
from elector.base.table import DATA
from elector.base.units import parse
from elector.evaluation.data_sheets import data_sheets
from elector.machines.gpu.kernels import constants, lane_rate
from elector.studies.weights import weights

with (DATA / "accelerators" / "gpus.csv").open(newline="", encoding="utf-8") as stream:
    BOARDS = {row["name"]: row for row in csv.DictReader(stream)}

#: Lanes of fp32 of an SM or compute unit, by family: CUDA C++ programming guide, arithmetic
#: instructions; data sheets of AMD.
LANES = {
    "pascal": 128,
    "volta": 64,
    "turing": 64,
    "ampere": 128,
    "ada": 128,
    "hopper": 128,
    "blackwell": 128,
    "blackwell-rtx": 128,
    "cdna": 64,
}
#: Chips of families that have other lanes elsewhere; a lane of CDNA3 and 4 does two operations at
#: once.
OTHERS = {"GP100": 64, "GA100": 64, "CDNA3": 128, "CDNA4": 128}
#: Boards whose matrix cores multiply in fp32, too, and by how much faster than lanes.
MATRIX = {"mi100": 2.0, "mi210": 2.0, "mi250": 2.0}
#: Data sheets round to two digits (80 for 79.6) or three.
ROUNDED = 0.01


def quoted(row: dict[str, str]) -> float:
    """Operations a second in fp32 by lanes and clock."""
    chips = (lanes for chip, lanes in OTHERS.items() if f" {chip}" in row["description"])
    lanes = next(chips, LANES[row["architecture"]])
    return 2.0 * lanes * float(row["sms"]) * float(parse(row["boost_clock"], "Hz"))


@pytest.mark.parametrize("name", BOARDS)
def test_fp32_is_what_the_lanes_do_at_the_clock_of_the_rates(name: str) -> None:
    row = BOARDS[name]
    most = quoted(row) * MATRIX.get(name, 1.0)
    assert float(row["fp32_rate"]) <= most * (1.0 + ROUNDED)
    assert float(row["fp32_rate"]) == pytest.approx(most, rel=ROUNDED)


@pytest.mark.parametrize("name", BOARDS)
def test_element_wise_work_is_never_above_the_rate_of_the_lanes(name: str) -> None:
    row = BOARDS[name]
    stated = {key: float(row[key]) for key in ("fp32_rate", "vector_rate")}
    assert float(lane_rate(stated)) <= quoted(row) * (1.0 + ROUNDED)
    # and as simulated, where neither memory nor cache nor special functions keep lanes waiting
    fast: dict[str, Any] = {"accelerator.bandwidth": 1e16, "accelerator.special_per_cycle": 4096}
    fast |= {"workload.implementation": "eager", "workload.attention": "unfused"}
    fast |= {"workload.batch": 64, "workload.sequence_length": 512}
    ran: Any = elector.simulate("bert-base", name, settings=fast, operations=True)
    gelu = next(o for o in ran["operations"] if o["kind"] == "activation")
    elements = gelu["m"] * gelu["count"]
    assert elements == 12 * 64 * 512 * 3072
    assert gelu["seconds"] >= elements / (quoted(row) / 2.0)


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_matrix_cores_do_products_alone(name: str) -> None:
    """Products in fp32 keep the rate of matrix cores; softmax and norms have that of lanes."""
    said = "accelerator.vector_rate counts as accelerator.fp32_rate at most"
    kinds = []
    for rate in (0.0, float(BOARDS[name]["vector_rate"]), 1e18):
        settings: dict[str, Any] = {"accelerator.vector_rate": rate, "workload.batch": 64}
        settings |= {"workload.precision": "fp32", "workload.attention": "flash"}
        settings["accelerator.power_limit"] = 1e6  # which a faster softmax would reach sooner
        result: Any = elector.simulate("bert-base", name, settings=settings)
        assert (said in result["notes"]) is (rate == 1e18)
        kinds.append(result["latency_by_kind_s"])
    products, own, beyond = kinds
    assert own["linear"] == pytest.approx(products["linear"], rel=1e-4)
    assert own["softmax"] > 1.2 * products["softmax"]
    assert beyond == products


@pytest.mark.parametrize("name", sorted(MATRIX))
def test_matrix_cores_in_fp32_stand_in_for_slower_ones(name: str) -> None:
    """Where no format of 16 bits is faster than fp32, products are done in fp32, by the unit that
    is quoted for it: slower lanes (vector_rate) made products in fp16 take 1.4 times as long."""
    row = BOARDS[name]
    rates = {"accelerator.fp16_rate": float(row["fp32_rate"]), "accelerator.power_limit": 1e6}
    seconds = {}
    for precision in ("fp16", "fp32"):
        for lanes in (0.0, float(row["vector_rate"]), 0.1 * float(row["vector_rate"])):
            settings = rates | {"accelerator.vector_rate": lanes, "workload.precision": precision}
            result: Any = elector.simulate("gemm:4096x4096x4096", name, settings=settings)
            seconds[precision, lanes] = result["latency_s"]
            assert result["latency_s"] == seconds[precision, 0.0]
            assert seconds["fp16", lanes] <= seconds[precision, lanes]


@pytest.mark.parametrize("name", ["h100-sxm-80gb", "h200-sxm-141gb", "gh200-96gb"])
def test_hopper_is_quoted_at_the_clock_of_its_tensor_rates(name: str) -> None:
    """67 Tflop/s hold at 1,980 MHz: at 1,830 MHz 132 SMs of 128 lanes do 61.8."""
    assert pytest.approx(67e12, rel=2e-3) == 2 * 128 * 132 * 1980e6
    assert float(BOARDS[name]["fp32_rate"]) == pytest.approx(2 * 128 * 132 * 1830e6, rel=1e-3)
    assert "1,980 MHz" in data_sheets()[name, "fp32_rate"].text


# ---- tensor cores ----

#: Families whose boards differ in SMs and clock, and by half where a product is held back.
CONSUMER = ("turing", "ampere", "ada", "blackwell-rtx")
#: Boards of these families whose tensor cores run at half of the rate, in every format.
HELD_BACK = ("l20", "l40")
GEFORCE = [
    n for n in BOARDS if n.startswith("rtx-") and n.split("-")[1].isdigit() and "ada" not in n
]


def per_clock(name: str, number: str) -> float:
    """Operations of a format in a clock and SM, by the data sheet."""
    row = BOARDS[name]
    return float(row[f"{number}_rate"]) / (
        float(row["sms"]) * float(parse(row["boost_clock"], "Hz"))
    )


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, r in BOARDS.items()
        if r["architecture"] in CONSUMER and "GA100" not in r["description"]
    ],
)
def test_tensor_cores_of_a_family_do_the_same_in_a_clock(name: str) -> None:
    """1,024 operations an SM in fp16 and twice that in int8 since Turing; L40S quotes 362 and
    366 Tflop/s in one table."""
    share = 0.5 if name in HELD_BACK else 1.0
    assert per_clock(name, "fp16") == pytest.approx(1024 * share, rel=0.015)
    assert per_clock(name, "int8") == pytest.approx(2048 * share, rel=0.015)


@pytest.mark.parametrize("name", GEFORCE)
def test_boards_of_geforce_halve_products_with_sums_in_fp32(name: str) -> None:
    """fp16 with sums in fp16 is what libraries take; bf16, tf32 and fp8 have none of these."""
    row = BOARDS[name]
    assert row["ecc"] == "off" and "GeForce" in data_sheets()[name, "ecc"].text
    fp16, halved = float(row["fp16_rate"]), 0.0 if row["architecture"] == "turing" else 0.5
    assert float(row["bf16_rate"]) == pytest.approx(halved * fp16, rel=2e-3)
    assert float(row["tf32_rate"]) == pytest.approx(halved / 2 * fp16, rel=3e-3)
    assert float(row["fp8_rate"]) in (0.0, pytest.approx(fp16, rel=2e-3))


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("a800-sxm-80gb", "a100-sxm-80gb"),
        ("h800-sxm-80gb", "h100-sxm-80gb"),
        ("mi325x", "mi300x"),
        ("titan-rtx", "quadro-rtx-6000"),
    ],
)
def test_boards_of_one_chip_and_clock_have_its_rates(name: str, like: str) -> None:
    """Links between boards, memory and power are what these differ in."""
    for key in ("sms", "boost_clock", "die", "node", "l2", "special_per_cycle"):
        assert BOARDS[name][key] == BOARDS[like][key], key
    for number in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "nvfp4", "mxfp4"):
        assert per_clock(name, number) == pytest.approx(per_clock(like, number), rel=1e-3)


# ---- error correction ----

#: Chips of memory come in these sizes for whole boards [MiB]: GB of a data sheet.
FULL = tuple(1024 * gigabytes for gigabytes in (8, 10, 11, 12, 16, 20, 24, 32, 48, 96))


@pytest.mark.parametrize("name", [n for n, r in BOARDS.items() if r["memory"].startswith("gddr")])
def test_inline_error_correction_is_what_the_capacity_says(name: str) -> None:
    """It keeps its bits among the data: a sixteenth of what nvidia-smi would count."""
    row = BOARDS[name]
    counted = float(row["memory_capacity"].removesuffix(" MiB"))
    share = counted / min(full for full in FULL if full >= counted)
    assert (row["ecc"] == "inline") == (share <= 15 / 16), share
    assert row["ecc"] != "beside" or name == "rtx-pro-6000", "GDDR7"
    assert (name, "ecc") in data_sheets()


def test_boards_with_memory_on_the_package_keep_the_bits_beside() -> None:
    assert {r["ecc"] for r in BOARDS.values() if r["memory"].startswith("hbm")} == {"beside"}


def test_without_inline_correction_memory_is_a_fifteenth_faster() -> None:
    settings = {"workload.generate": 64, "workload.precision": "fp16"}

    def token(ecc: str) -> float:
        given = settings | {"accelerator.ecc": ecc, "workload.implementation": "tensorrt-llm"}
        result: Any = elector.simulate("llama-2-7b", "a40", settings=given)
        return float(result["time_per_output_token_s"])

    inline, off = token("inline"), token("off")
    assert 1.0 < inline / off <= constants().ecc_off == pytest.approx(16 / 15, rel=1e-3)
    assert inline / off == pytest.approx(16 / 15, rel=0.02)  # weights are nearly all of a token
    assert token("beside") == inline


def test_both_models_of_time_see_it() -> None:
    """The event model follows what the closed form says of one token."""
    ratios = []
    for ecc in ("inline", "off"):
        given = {"accelerator.ecc": ecc, "workload.generate": 4, "workload.precision": "fp16"}
        closed: Any = elector.simulate("gpt2", "a40", settings=given)["latency_s"]
        ratios.append(elector.trace("gpt2", "a40", settings=given).timeline.seconds / closed)
    assert ratios[0] == pytest.approx(ratios[1], rel=0.01)


def test_a_board_without_cites_what_it_gains() -> None:
    def names(device: str) -> set[str]:
        explained: Any = elector.explain("gpt2", device, "latency_s", settings={})
        return {str(constant["name"]) for constant in explained["constants"]}

    assert "gpu.ecc_off" in names("rtx-4090") and "gpu.ecc_off" not in names("l40s")


# ---- evidence ----


@pytest.mark.parametrize("name", BOARDS)
def test_a_fifth_of_the_energy_at_most_rests_on_what_is_assumed(name: str) -> None:
    """As docs/technology.md says of all boards."""
    shares: Any = weights(name)["evidence"]
    assert shares["assumed"] <= 0.2


# ---- names ----


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("rtx 4080", "rtx-4080"),
        ("RTX 4080", "rtx-4080"),
        ("NVIDIA GeForce RTX 4080", "rtx-4080"),
        ("NVIDIA RTX A5000", "rtx-a5000"),
        ("NVIDIA H20", "h20"),
        ("h20-96gb", "h20"),
        ("l20-48gb", "l20"),
        ("L40 48GB", "l40"),
        ("a2-16gb", "a2"),
        ("rtx-5090-32gb", "rtx-5090"),
        ("rtx-3080", "rtx-3080-ti"),
        ("rtx-4080-super", "rtx-4080"),
        ("h800", "h800-sxm-80gb"),
        ("NVIDIA A800-SXM4-80GB", "a800-sxm-80gb"),
        ("v100s", "v100s-pcie-32gb"),
        ("AMD Instinct MI355X", "mi355x"),
        ("2080ti", "rtx-2080-ti"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80gb"),
        ("NVIDIA H100 PCIe", "h100-pcie-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("NVIDIA GH200 120GB", "gh200-96gb"),
        ("Tesla T4", "t4-16gb"),
        ("NVIDIA L4", "l4-24gb"),
        ("NVIDIA B300 SXM6 AC", "b300-sxm-288gb"),
        ("AMD Instinct MI300X OAM", "mi300x"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
        ("NVIDIA GeForce RTX 3080", "rtx-3080-10gb"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "rtx-4070-ti"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "rtx-5090"),
    ],
)
def test_what_people_call_a_board_leads_to_it(asked: str, meant: str) -> None:
    """h20-96gb led to gh200-96gb, l20-48gb to a30-24gb, what nvidia-smi calls a board nowhere,
    H100 PCIe to v100-pcie-32gb, GH200 120GB to gb200-192gb."""
    with pytest.raises(InputError) as raised:
        elector.simulate("gpt2", asked)
    assert f"did you mean {meant}?" in str(raised.value)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_as_it_is_sold_is_no_reason_for_a_note(name: str) -> None:
    assert not elector.simulate("bert-base", name)["notes"]
