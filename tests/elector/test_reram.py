"""ReRAM crossbars: published sums, hand-counted cases, writes, wear, the ends of the schema."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.base.errors import InputError
from elector.base.table import schema
from elector.evaluation.path import inspect
from elector.evaluation.resolve import resolve
from elector.machines.reram import geometry
from elector.studies.simulation import columns_of
from elector.technology import Technology


def units(name: str, **settings: object) -> elector.machines.contract.Units:
    cells = {"model": "bert-mini", "accelerator": name}
    cells |= {f"accelerator.{key}": value for key, value in settings.items()}
    return next(iter(resolve(columns_of(cells), 1))).units


def simulate(model: str = "bert-mini", name: str = "isaac", **settings: object) -> dict:
    return elector.simulate(
        model, name, settings={k.replace("__", "."): v for k, v in settings.items()}
    )


READS = ("array", "dac", "sample", "adc", "shift", "register", "tile")
#: Product of one matrix that fills all crossbars of a chip: rows and columns of weights.
FULL = {"isaac": (126 * 128, 128 * 16), "puma": (138 * 128, 128 * 16)}


def watts(name: str, folder: Path) -> float:
    """Power of the parts a publication counts, with every crossbar busy."""
    k, n = FULL[name]
    path = folder / "full.csv"
    path.write_text(f"name,M,N,K\nfull,10000,{n},{k}\n", encoding="utf-8")
    result = simulate(str(path), name, accelerator__memory="hbm3", accelerator__bandwidth=8e12)
    assert result["feasible"] and result["utilization"] == pytest.approx(1.0, rel=1e-4)
    spent = result["energy_by_part_j"]
    return sum(spent[part] for part in READS) / result["latency_s"]


def square_mm(name: str) -> dict[str, float]:
    """Area of the parts the publication counts."""
    area = simulate(name=name)["area_by_part_mm2"]
    parts = ("crossbar", "dac", "sample", "adc", "unit", "tile", "buffer", "link")
    return {k: area[k] for k in parts}


# ---- published sums ----


def test_isaac_sums(tmp_path: Path) -> None:
    power, area = watts("isaac", tmp_path), square_mm("isaac")
    link = area.pop("link")
    assert power == pytest.approx(55.4, rel=0.02)
    assert power / 168 == pytest.approx(0.330, rel=0.02)
    assert power + 10.4 == pytest.approx(65.8, rel=0.02)
    assert sum(area.values()) == pytest.approx(62.5, rel=0.02)
    assert sum(area.values()) / 168 == pytest.approx(0.372, rel=0.02)
    assert sum(area.values()) + link == pytest.approx(85.4, rel=0.02)


def test_isaac_capacity_and_throughput() -> None:
    x = geometry.crossbars(units("isaac"))
    weights = float((x.total * x.rows * x.cols / x.columns)[0])
    assert weights == pytest.approx(33.0e6, rel=0.002)
    assert math.ceil(37.8e6 / (weights / 168)) == 193
    peak = simulate()["peak_ops_per_s"]
    assert peak == pytest.approx(41.3e12, rel=0.002)
    # 479 published, 483 from the figures as they stand
    assert peak / 85.4 / 1e9 == pytest.approx(483, rel=0.002)
    assert peak / 65.8 / 1e9 == pytest.approx(627, rel=0.002)


def test_puma_sums(tmp_path: Path) -> None:
    power, area = watts("puma", tmp_path), square_mm("puma")
    link = area.pop("link")
    # the published tile leaves out its share of the network: 0.571 W and 1.622 mm2 in all
    assert (power - 0.571) / 138 == pytest.approx(0.3738, rel=0.02)
    assert power + 10.4 == pytest.approx(62.5, rel=0.02)
    # the components add up to 3.3 % more than the total as it is remembered
    assert (sum(area.values()) - 1.622) / 138 == pytest.approx(0.479, rel=0.035)
    assert sum(area.values()) + link == pytest.approx(90.6, rel=0.025)


# ---- by hand ----


def vector(rows: float = 128.0, **settings: object) -> float:
    """Seconds of one vector through a matrix of so many rows on ISAAC."""
    return float(geometry.crossbars(units("isaac", **settings)).vector(np.array([rows]))[0])


def test_time_of_a_vector() -> None:
    # 16 phases of one bit; 128 columns on one converter at 1.28 GS/s: 100 ns
    assert vector() == pytest.approx(1.6e-6)
    assert vector(adcs_per_crossbar=0.5) == pytest.approx(3.2e-6)
    # three converters: 43 columns each at 50 M/s take 0.86 us
    assert vector(adcs_per_crossbar=3, adc_rate=5e7) == pytest.approx(16 * 0.86e-6)
    assert vector(adc_rate=1e12) == pytest.approx(1.6e-6)
    # two bits at once need ten converter bits instead of eight
    assert vector(dac_bits=2, adc_bits=10) == pytest.approx(0.8e-6)
    assert vector(input_bits=8) == pytest.approx(0.8e-6)


def test_rows_are_driven_in_groups_that_the_converters_resolve() -> None:
    # seven bits and the one that inverted columns save: sums to 255, cells to 3: 85 rows
    assert vector(adc_bits=7) == pytest.approx(2 * 1.6e-6)
    assert vector(85, adc_bits=7) == pytest.approx(1.6e-6)
    assert vector(86, adc_bits=7) == pytest.approx(2 * 1.6e-6)
    # whatever a crossbar holds, more groups than its rows fall into are never driven
    assert vector(1000, adc_bits=7) == pytest.approx(2 * 1.6e-6)
    # a sum that is cut, because all rows are driven all the same
    assert vector(adc_bits=7, active_rows=128) == pytest.approx(1.6e-6)
    for bits, rows in ((8, 128), (7, 85), (6, 42), (5, 21), (2, 2)):
        assert units("isaac", adc_bits=bits).number("active_rows")[0] == rows


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 60),
    st.integers(0, 40),
)
def test_groups_of_a_growing_operand_are_summed_up(
    side: int, group: int, first: int, span: int
) -> None:
    group = min(group, side)

    def one(k: int) -> int:
        return k // side * math.ceil(side / group) + math.ceil(k % side / group)

    x = geometry.crossbars(units("isaac"))
    x = dataclasses.replace(x, driven=np.array([float(group)]))
    middle, length = np.array([first + span / 2]), np.array([float(span)])
    total = x.conversions(middle, np.array([float(side)]), length)[0]
    assert total * (span + 1) == pytest.approx(sum(one(first + i) for i in range(span + 1)))


def test_crossbars_of_a_matrix() -> None:
    x = geometry.crossbars(units("isaac"))
    one = np.array([1.0])
    assert x.of(128 * one, 16 * one)[0] == 1  # 16 weights of eight columns
    assert x.of(129 * one, 16 * one)[0] == 2
    assert x.of(256 * one, 256 * one)[0] == 2 * 16
    pair = geometry.crossbars(units("isaac", encoding="differential"))
    assert pair.of(256 * one, 256 * one)[0] == 2 * 32
    # eight columns of seven each: nine whole weights to a crossbar of 64 columns
    odd = geometry.crossbars(units("isaac", cols=64, weight_bits=14))
    assert odd.of(128 * one, 9 * one)[0] == 1 and odd.of(128 * one, 10 * one)[0] == 2
    wide = geometry.crossbars(units("isaac", cols=4))
    assert wide.of(128 * one, 3 * one)[0] == 6
    # read in both directions, each slice of a weight has crossbars of its own
    both = geometry.crossbars(units("isaac", transposed_read="bidirectional"))
    assert both.stored(128 * one, 16 * one)[0] == 8 and both.of(128 * one, 16 * one)[0] == 1
    assert both.stored(256 * one, 256 * one)[0] == 2 * 2 * 8


@pytest.mark.parametrize(
    ("changes", "bits"),
    [
        # 128 rows x 3 levels x 1: 384, nine bits; flipped saves one: ISAAC's eight
        ({}, 8),
        ({"encoding": "bias"}, 9),
        ({"encoding": "differential"}, 9),
        ({"encoding": "bias", "cell_bits": 1}, 8),  # 128: 129 values
        ({"encoding": "bias", "cell_bits": 1, "rows": 127}, 7),
        ({"encoding": "bias", "dac_bits": 2}, 11),  # 128 x 3 x 3 = 1152
        ({"encoding": "bias", "active_rows": 16}, 6),  # 48
        ({"dac_bits": 8}, 14),  # sixteen would be needed: the widest there is
    ],
)
def test_converters_cut_no_sum_unless_told(changes: dict[str, object], bits: int) -> None:
    unit = units("reram", **changes)
    assert unit.number("adc_bits")[0] == bits
    assert geometry.effective_bits(unit)[0] == 16


def test_effective_precision() -> None:
    assert simulate()["effective_bits"] == 16
    # fewer bits of a converter cost time, or, where all rows are driven all the same, precision
    assert simulate(accelerator__adc_bits=6)["effective_bits"] == 16
    cut = {"accelerator__active_rows": 128}
    assert simulate(accelerator__adc_bits=6, **cut)["effective_bits"] == 14
    assert (
        simulate(accelerator__adc_bits=8, accelerator__encoding="bias", **cut)["effective_bits"]
        == 15
    )
    assert simulate(accelerator__adc_bits=12)["effective_bits"] == 16
    lost = simulate(accelerator__adc_bits=1, accelerator__cell_bits=4)
    assert not lost["feasible"] and "does not resolve a single row" in lost["reason"]


def test_narrower_converters_are_no_free_lunch() -> None:
    times = [simulate(accelerator__adc_bits=b)["latency_s"] for b in (4, 5, 6, 7, 8, 9)]
    assert times == sorted(times, reverse=True) and times[0] > 5 * times[-1]
    assert times[-1] == times[-2]


def test_converter_bits_of_zero_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        simulate(accelerator__adc_bits=0)
    assert caught.value.field == "accelerator.adc_bits"


@pytest.mark.parametrize(("datapath", "bits"), [("fixed16", 16), ("int8", 8)])
def test_weights_and_inputs_have_the_bits_of_the_datapath(datapath: str, bits: int) -> None:
    unit = units("reram", datapath=datapath)
    assert unit.number("weight_bits")[0] == unit.number("input_bits")[0] == bits
    set_ = units("reram", datapath=datapath, weight_bits=12, input_bits=5)
    assert (set_.number("weight_bits")[0], set_.number("input_bits")[0]) == (12, 5)
    assert geometry.crossbars(unit).columns[0] == bits / 2


def test_weights_are_stored_with_no_more_bits_than_they_have() -> None:
    """More cells of a weight never speed a design up, whichever number is asked for."""
    results = [
        simulate(accelerator__weight_bits=bits, accelerator__datapath="int8")
        for bits in (8, 15, 16)
    ]
    assert [f["latency_s"] for f in results] == [results[0]["latency_s"]] * 3
    assert [f["energy_j"] for f in results] == [results[0]["energy_j"]] * 3
    assert [f["effective_bits"] for f in results] == [8] * 3
    said = "weights are stored with the 8 bits that the workload gives them, not with "
    assert [f["notes"] for f in results] == [[], [said + "15"], [said + "16"]]
    assert simulate(accelerator__weight_bits=5)["effective_bits"] == 5
    assert simulate()["notes"] == []


def test_an_eight_bit_machine_is_one_throughout() -> None:
    wide, narrow = (simulate(name="reram", accelerator__datapath=d) for d in ("fixed16", "int8"))
    assert narrow["latency_s"] < 0.6 * wide["latency_s"]
    assert narrow["area_by_part_mm2"]["digital"] < 0.5 * wide["area_by_part_mm2"]["digital"]
    assert narrow["energy_by_part_j"]["adc"] == pytest.approx(
        wide["energy_by_part_j"]["adc"] / 4  # half the columns, half the phases
    )


def test_energy_of_one_product_by_hand() -> None:
    settings = {"model": "bert-mini", "accelerator": "isaac", "workload.batch": 1}
    chunk = inspect(columns_of(settings), Technology.load())
    r = next(i for i, row in enumerate(chunk.ops.rows) if row.name == "query")
    counts = {name: count.each()[r, 0] for name, count in chunk.activity.counts.items()}
    phases = 4 * 128 * 16  # layers, tokens, bits
    assert counts["array"] == phases * 256 * 256 * 8
    assert counts["dac"] == phases * 256 * 16
    assert counts["adc"] == counts["shift"] == counts["sample"] == phases * 256 * 8 * 2
    assert counts["tile"] == counts["register"] == phases * (256 * 16 + 256 * 8 * 2)


def test_conversions_of_a_gradient_read_from_the_columns() -> None:
    """Every slice is summed and converted apart: as many conversions as forward."""
    settings = {
        "model": "bert-mini",
        "accelerator": "reram",
        "workload.mode": "training",
        "workload.attention": "unfused",
    }
    for how in ("bidirectional", "copy"):
        settings["accelerator.transposed_read"] = how
        chunk = inspect(columns_of(settings), Technology.load())
        rows = {row.name: i for i, row in enumerate(chunk.ops.rows)}
        counts = {name: count.each()[:, 0] for name, count in chunk.activity.counts.items()}
        there, back = rows["feed-forward out"], rows["feed-forward out input gradient"]
        phases = 4 * 128 * 16
        # 1024 x 256 forward; its gradient drives 256 columns, 1024 rows are converted
        assert counts["adc"][there] == phases * 256 * 8 * 8
        assert counts["adc"][back] == phases * 1024 * 8 * 2
        beside = 1024 // 128 * 8 if how == "bidirectional" else 1024 // 16
        assert counts["dac"][back] == phases * 256 * beside
        assert counts["array"][there] == counts["array"][back] == phases * 1024 * 256 * 8


# ---- writes ----


TRAINING = {"workload__mode": "training", "workload__optimizer": "sgd"}


def test_lifetime_by_hand() -> None:
    # every stored cell is written once a step, by two pulses
    result = simulate("bert-mini", "reram", **TRAINING)
    years = 1e9 / 2 * result["latency_s"] / (365.25 * 86400)
    assert result["lifetime_years"] == pytest.approx(years)
    longer = simulate("bert-mini", "reram", accelerator__endurance=1e12, **TRAINING)
    assert longer["lifetime_years"] == pytest.approx(1000 * years)


def test_inference_on_a_digital_unit_wears_nothing() -> None:
    assert simulate("bert-mini", "reram")["lifetime_years"] is None
    assert simulate("bert-mini", "isaac")["lifetime_years"] > 0  # scores are written


def test_the_write_power_budget_sets_the_pace() -> None:
    wide = simulate("bert-mini", "reram", accelerator__write_power=1e6, **TRAINING)
    tight = simulate("bert-mini", "reram", accelerator__write_power=0.01, **TRAINING)
    joules = tight["energy_by_part_j"]["write"]
    assert joules == pytest.approx(wide["energy_by_part_j"]["write"])
    assert tight["latency_s"] >= joules / 0.01
    assert tight["latency_s"] > 1.5 * wide["latency_s"]


@pytest.mark.parametrize(("bits", "pulses"), [(1, 1), (2, 1), (3, 3), (4, 5), (8, 85)])
def test_finer_cells_take_more_pulses(bits: int, pulses: int) -> None:
    """As many as there are levels above the lowest, over the three of two bits."""
    assert pulses == math.ceil((2**bits - 1) / 3)
    assert geometry.pulses(units("isaac", cell_bits=bits))[0] == pulses
    assert geometry.pulses(units("isaac", cell_bits=bits, write_verify=7))[0] == 7 * pulses


def test_writing_an_hpt_encoder_at_once_takes_what_physics_says() -> None:
    # 302.6 M cells in 10.97 us: 36 W at 1.3 pJ, 1,320 W at 48 pJ
    price = Technology.load().price("reram", "write", 32.0).value
    assert 36 <= 302.6e6 * price / 10.97e-6 <= 1320


def test_a_copy_for_transposed_reads_takes_twice_the_cells_and_writes() -> None:
    both = simulate("bert-mini", "reram", accelerator__transposed_read="bidirectional", **TRAINING)
    copy = simulate("bert-mini", "reram", accelerator__transposed_read="copy", **TRAINING)
    assert both["feasible"] and copy["feasible"]
    small = {"accelerator__tiles": 60, **TRAINING}
    assert simulate("bert-mini", "reram", **small)["feasible"]
    area = {
        k: simulate("bert-mini", "reram", accelerator__transposed_read=k)["area_mm2"]
        for k in ("none", "copy", "bidirectional")
    }
    assert area["none"] == area["copy"] < area["bidirectional"]


def moved(**settings: object) -> float:
    """Bytes of main memory of one step on crossbars that hold all weights."""
    cells = {"model": "bert-mini", "accelerator": "reram"}
    cells |= {key.replace("__", "."): value for key, value in settings.items()}
    counts = inspect(columns_of(cells), Technology.load()).activity.counts
    return float(counts["main memory"].total()[0])


@pytest.mark.parametrize("short", [0.0, 0.001, 0.1])
def test_buffers_keep_what_they_have_room_for(short: float) -> None:
    """A byte too many sent the whole tensor through main memory: a low-rank step of hpt-snow on hpt
    took 83 ms with 8 sequences, and 638 ms with 10. By hand: of the tensor before the activation of
    each of four layers, and of the one behind it, what has no room is written and read."""
    tensor = 8 * 128 * 1024 * 2.0
    half = tensor / float(units("reram").number("tiles")[0])
    room, less = (
        moved(workload__batch=8, accelerator__buffer=2.0 * half * x) for x in (1.0, 1.0 - short)
    )
    assert less - room == pytest.approx(4 * 4 * short * tensor, abs=1.0)


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_more_buffers_move_no_more(mode: str) -> None:
    sizes = [moved(workload__mode=mode, accelerator__buffer=2.0**i) for i in range(10, 24)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_gradient_without_a_unit_is_infeasible() -> None:
    result = simulate("bert-mini", "isaac", accelerator__dynamic="write", **TRAINING)
    assert not result["feasible"] and "transposed_read" in result["reason"]
    assert simulate("bert-mini", "reram", accelerator__transposed_read="none", **TRAINING)[
        "feasible"
    ]  # the digital unit takes it


# ---- the ends of the schema ----


@given(st.data())
def test_no_design_inside_the_schema_gives_nan_or_a_negative(data: st.DataObject) -> None:
    settings: dict[str, object] = {}
    for key, field in schema("reram").items():
        if key in ("node", "memory") or not data.draw(st.booleans()):
            continue
        if field.choices:
            settings[f"accelerator.{key}"] = data.draw(st.sampled_from(field.choices))
        elif field.type == "int" and field.low is not None and field.high is not None:
            settings[f"accelerator.{key}"] = data.draw(st.integers(int(field.low), int(field.high)))
        elif field.type == "float" and field.low is not None and field.high is not None:
            settings[f"accelerator.{key}"] = data.draw(st.floats(field.low, field.high))
    settings["workload.mode"] = data.draw(st.sampled_from(("inference", "training")))
    result = elector.simulate("bert-tiny", "reram", settings=settings)
    if result["feasible"]:
        for key in ("latency_s", "energy_j", "power_w", "area_mm2", "utilization"):
            assert result[key] is not None and math.isfinite(result[key]) and result[key] >= 0, key
