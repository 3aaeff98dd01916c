"""Intervals around results."""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import math
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import run

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, Column
from elector.studies.error_widths import (
    ANY,
    candidates,
    kinds_of,
    regime_of,
    spreads,
    width_of,
    widths,
)
from elector.studies.simulation import columns_of
from elector.studies.uncertainty import Sampling, interval, sample
from elector.studies.validation_cases import ValidationCase, load_cases
from elector.studies.watt_limits import watt_limits
from elector.technology import EVIDENCE, Technology

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "error_widths.py")))
RESULTS = ("latency_s", "energy_j", "power_w", "area_mm2", "throughput_sequences_per_s")
ROWS: list[dict[str, object]] = [
    {"model": "bert-tiny", "accelerator": "systolic", "accelerator.rows": 32},
    {"model": "bert-tiny", "accelerator": "a100-sxm-80gb", "workload.batch": 8},
    {"model": "bert-tiny", "accelerator": "isaac"},
    {"model": "gpt2", "accelerator": "h100-sxm-80gb", "workload.generate": 8},
    {"model": "gpt2", "accelerator": "reram+systolic"},
    {"model": "bert-large", "accelerator": "a100-sxm-80gb", "workload.batch": 100_000},
]


def test_every_evidence_has_a_spread() -> None:
    assert set(spreads()) == set(EVIDENCE)
    assert all(factor > 1 for factor in spreads().values())
    assert spreads()["measured"] < spreads()["published"] < spreads()["scaled"]
    assert spreads()["scaled"] < spreads()["assumed"]


def test_groups_widen_until_there_are_cases() -> None:
    assert candidates(("ampere", "eager", "bert"))[0] == ("ampere", "eager", "bert")
    assert candidates(("ampere", "eager", "bert"))[-1] == ANY
    assert all(key[0] == "reram" or key == ANY for key in candidates(("reram", "eager", "bert")))
    for width in widths().values():
        assert width.time > 1 and width.power > 1 and 0 < width.shared < 1
    assert regime_of("ampere / eager / language model decode") == "language"
    assert regime_of("volta / eager / training power") == "training"
    assert regime_of("ampere / eager / language model prefill") == "prompts"
    assert regime_of("hopper / vllm / products bf16") == "products"
    assert regime_of("ampere / tensorrt-llm / products int8") == "products of 8 bits"
    assert regime_of("blackwell / vllm / products nvfp4") == "products of 4 bits"


def test_few_cases_are_no_surer_than_more() -> None:
    """Of fewer than nine none is of the rank that a tenth stays below nine times of ten."""
    for key, width in widths().items():
        wider = [widths()[k] for k in candidates(key) if k in widths()]
        if width.cases < 9:
            assert all(width.time >= w.time for w in wider if w.cases >= 9)
    assert widths()["tpu", "*", "*"].cases < 9
    assert widths()["tpu", "*", "*"].time >= widths()[ANY].time  # no other chip is of its kind
    powers = [case for case in left_out() if case.metric in SCRIPT.POWERS]
    if len(powers) < 9:
        assert {width.power for width in widths().values()} == {widths()[ANY].power}


def test_chips_of_one_kind_speak_for_any_of_it() -> None:
    assert ("*", "*", "language") in candidates(("*", "sglang", "language"))
    assert ("*", "*", "language") not in candidates(("tpu", "sglang", "language"))


def test_cases_that_set_widths_are_half_of_each_document() -> None:
    """The hash that draws rows for the table is not the one that halves them: a draw of the lowest
    digests had 62 of 75 products of one family set widths, and 13 count."""
    groups: dict[str, list[bool]] = {}
    for case in left_out():
        groups.setdefault(case.group, []).append(SCRIPT.sets_widths(case.case))
    large = [halves for halves in groups.values() if len(halves) >= 20]
    assert len(large) >= 5
    for halves in large:
        # within three standard deviations of a fair coin
        assert abs(np.mean(halves) - 0.5) < 1.5 / math.sqrt(len(halves))
    every = [of for halves in groups.values() for of in halves]
    assert abs(np.mean(every) - 0.5) < 1.5 / math.sqrt(len(every))


def left_out() -> list[ValidationCase]:
    """Outcomes that no constant was fitted on."""
    return [
        case
        for case in load_cases(DATA / "published.csv")
        if case.kind == "outcome" and case.unseen
    ]


@pytest.mark.parametrize("regime", ["bert", "language", "training", "products"])
def test_what_nothing_validates_is_not_surer_than_what_is(regime: str) -> None:
    width, group = width_of(("reram", "eager", regime))
    assert group == ANY
    pooled = widths()["*", "*", regime]
    assert width.time >= max(pooled.time, widths()[ANY].time)
    assert width.power >= max(pooled.power, widths()[ANY].power)


def test_kinds_of_designs() -> None:
    columns = {
        "model": Column.of(["bert-tiny", "gpt2", "bert-tiny", "bert-tiny", "bert-tiny"]),
        "accelerator": Column.of(
            ["a100-sxm-80gb", "h100-sxm-80gb", "h100-sxm-80gb", "tpu-v3", "isaac"]
        ),
        "workload.generate": Column.of([None, 8, None, None, None]),
        "workload.mode": Column.of([None, None, "training", None, None]),
        "workload.implementation": Column.constant("eager", 5),
    }
    kinds, codes = kinds_of(columns, 5)
    assert [kinds[code] for code in codes] == [
        ("ampere", "eager", "bert"),
        ("hopper", "eager", "language"),
        ("hopper", "eager", "training"),
        ("tpu", "eager", "bert"),
        ("reram", "eager", "bert"),
    ]


@pytest.mark.parametrize(
    ("model", "accelerator"),
    [
        ("bert-tiny", "tpu-v3"),
        ("bert-tiny", "a100-sxm-80gb"),
        ("bert-tiny", "isaac"),
        ("bert-tiny", "acceltran-edge"),
        ("bert-tiny", "reram+systolic"),
    ],
)
def test_a_result_lies_in_its_interval(model: str, accelerator: str) -> None:
    plain = elector.simulate(model, accelerator)
    result = elector.simulate(model, accelerator, uncertainty=True, samples=60)
    assert {key: result[key] for key in plain if key != "notes"} == {
        key: value for key, value in plain.items() if key != "notes"
    }
    for name in RESULTS:
        low, value, high = (result[n] for n in (f"{name}_low", name, f"{name}_high"))
        assert isinstance(low, float) and isinstance(value, float) and isinstance(high, float)
        if name == "area_mm2" and accelerator == "a100-sxm-80gb":  # printed in a data sheet
            assert low == value == high
        else:
            assert 0 < low < value < high
    assert "macs_low" not in result and "parameters_low" not in result
    highest = result["utilization_high"]
    assert isinstance(highest, float) and highest <= 1


def test_times_follow_the_width_of_their_group() -> None:
    result = elector.simulate("bert-base", "a100-sxm-80gb", uncertainty=True)
    width = width_of(("ampere", "tensorrt", "bert"))[0]
    for end, sign in (("low", -1), ("high", 1)):
        latency, bound = result["latency_s"], result[f"latency_s_{end}"]
        assert isinstance(latency, float) and isinstance(bound, float)
        assert math.log(bound / latency) == pytest.approx(sign * math.log(width.time), rel=0.1)
    notes = result["notes"]
    assert isinstance(notes, list) and any("published cases" in note for note in notes)


def test_what_nothing_validates_says_so() -> None:
    notes = elector.simulate("bert-tiny", "isaac", uncertainty=True, samples=60)["notes"]
    assert isinstance(notes, list)
    assert any("no published case validates such a design" in note for note in notes)


def test_a_sweep_has_the_intervals_of_each_design_alone() -> None:
    """The same columns whatever stands beside a design, and those of simulate, bit for bit."""
    frame = elector.sweep(ROWS, uncertainty=True, samples=50, seed=3)
    names = [name for name in frame if name.endswith(("_low", "_high"))]
    assert "latency_s_low" in names and "energy_j_high" in names and "area_mm2_low" in names
    for i, row in enumerate(ROWS):
        settings = {key: value for key, value in row.items() if "." in key}
        single = elector.simulate(
            str(row["model"]), str(row["accelerator"]), settings=settings,
            uncertainty=True, samples=50, seed=3,
        )  # fmt: skip
        both = {n: float(frame.iloc[i][n]) for n in names if math.isfinite(frame.iloc[i][n])}
        assert both == {n: v for n, v in single.items() if n.endswith(("_low", "_high"))}
        said = frame.iloc[i]["notes"]
        assert "; ".join(single["notes"]) == (said if isinstance(said, str) else "")  # type: ignore[arg-type]
    place = list(frame).index("latency_s")
    assert list(frame)[place + 1 : place + 3] == ["latency_s_low", "latency_s_high"]
    assert frame.iloc[5]["feasible"] == False  # noqa: E712
    assert math.isnan(frame.iloc[5]["latency_s_low"]) and frame.iloc[5]["area_mm2_low"] > 0


def test_many_designs_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = elector.sweep(ROWS, uncertainty=True, samples=40)
    monkeypatch.setattr("elector.studies.uncertainty._TOGETHER", 80)
    assert whole.equals(elector.sweep(ROWS, uncertainty=True, samples=40))


def test_samples_follow_their_seed() -> None:
    def low(seed: int) -> object:
        return elector.simulate("bert-tiny", "gpu", uncertainty=True, samples=40, seed=seed)[
            "energy_j_low"
        ]

    assert low(1) == low(1) != low(2)


def test_constants_that_two_designs_share_cancel() -> None:
    """Two batches of one array: constants and group are shared, so their ratio hardly varies."""
    columns = columns_of({"model": "bert-tiny", "accelerator": "systolic"}, 2)
    columns["workload.batch"] = Column.of([8, 16])
    sampling = Sampling.of(None, 400)
    shared = np.log(sample(columns, 2, sampling).values["energy_j"])
    alone = shared.std(axis=0)
    assert np.diff(shared, axis=1).std() < 0.3 * alone.min()
    apart = np.log(sample(columns, 2, sampling, apart=True).values["latency_s"])
    width = width_of(("tpu", "eager", "bert"))[0]
    sigma = math.log(width.time) / 1.645
    assert apart.std(axis=0) == pytest.approx([sigma, sigma], rel=0.12)
    expected = sigma * math.sqrt(2 * (1 - width.shared))
    assert np.diff(apart, axis=1).std() == pytest.approx(expected, rel=0.12)


def test_a_row_that_was_measured_narrows_what_rests_on_it(tmp_path: Path) -> None:
    """A row that is measured instead of assumed makes the interval narrower."""
    own = tmp_path / "own.csv"
    text = "register,energy,4,fJ/bit,7,bench,measured\n"
    own.write_text("part,quantity,value,unit,node_nm,source,evidence\n" + text)
    parts = []
    for technology in (None, Technology.load(own)):
        values = sample(columns_of(ROWS[0]), 1, Sampling.of(technology, 400)).values
        parts.append(np.log(values["energy_by_part_j.register"] / values["latency_s"]).std())
    assert parts[1] < parts[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("samples", 0), ("samples", 5), ("samples", 2.5), ("samples", 10**6), ("seed", -1),
     ("seed", "1"), ("samples", True)],
)  # fmt: skip
def test_draws_without_meaning(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{key}: .*whole number"):
        elector.simulate("bert-tiny", "gpu", uncertainty=True, **{key: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{key}: .*whole number"):
        elector.sweep(ROWS[:1], uncertainty=True, **{key: value})  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "designs.csv"
    path.write_text("model,accelerator\nbert-tiny,systolic\nbert-tiny,isaac\n")
    return path


def test_the_commands_refuse_them_and_what_has_no_effect(table: Path) -> None:
    for option, value in (("--samples", "0"), ("--seed", "-1"), ("--samples", "ten")):
        for command in (["simulate", "bert-tiny", "gpu"], ["sweep", str(table), "--out", "-"]):
            result = run(*command, "--uncertainty", option, value)
            assert result.exit_code == 2 and option in result.stderr
    for command in (["simulate", "bert-tiny", "gpu"], ["sweep", str(table), "--out", "-"]):
        for option in ("--samples", "--seed"):
            result = run(*command, option, "50")
            assert result.exit_code == 2
            assert f"{option}: is for the draws of --uncertainty" in result.output


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_files_of_a_sweep_have_them(table: Path, ending: str) -> None:
    out = table.with_name(f"costs.{ending}")
    run("sweep", str(table), "--uncertainty", "--samples", "30", "--out", str(out))
    if ending == "csv":
        rows: list[dict[str, object]] = list(csv.DictReader(out.open()))
    elif ending == "json":
        rows = json.loads(out.read_text())
    else:
        import pandas as pd

        frame = pd.read_parquet(out)
        assert frame["latency_s_low"].dtype == float
        rows = frame.to_dict("records")
    expected = elector.simulate("bert-tiny", "systolic", uncertainty=True, samples=30)
    assert float(str(rows[0]["energy_j_high"])) == expected["energy_j_high"]
    again = table.with_name(f"again.{ending}")
    if ending == "csv":  # results of an earlier sweep are computed again, ends of intervals too
        run("sweep", str(out), "--out", str(again))
        assert "energy_j_high" not in again.read_text().partition("\n")[0].split(",")


def test_the_tables_show_them(table: Path) -> None:
    shown = run("simulate", "bert-tiny", "systolic", "--uncertainty", "--samples", "40").stdout
    block = shown.partition("nine times of ten between")[2]
    assert "latency" in block and "energy" in block and "area" in block
    shown = run("sweep", str(table), "--uncertainty", "--samples", "40", "--format", "table").stdout
    block = shown.partition("nine times of ten between")[2]
    assert block.count("mm2") >= 2 and "latency_s" in block
    assert max(map(len, shown.splitlines())) <= 80


def test_draws_that_cannot_run_are_counted() -> None:
    """A power limit near what the memory draws at rest: intervals of the draws that run."""
    close = {"settings": {"accelerator.power_limit": 80.0}, "uncertainty": True, "samples": 200}
    said = elector.simulate("bert-base", "gpu", **close)
    assert said["latency_s_low"] < said["latency_s"] < said["latency_s_high"]
    assert any("of 200 draws the design cannot run" in note for note in said["notes"])
    close["settings"] = {"accelerator.power_limit": 60.0}
    none = elector.simulate("bert-base", "gpu", **close)
    assert not none["feasible"] and "latency_s_low" not in none and "area_mm2_low" in none


def test_a_row_is_drawn_within_its_own_spread() -> None:
    """5 % of the draws lie below its low, 5 % above its high, half below its value."""
    technology = Technology.load()
    row = technology.row("register:energy@7")
    assert (row.low, row.high) == pytest.approx((0.9e-15 * 8, 4e-15 * 8))
    drawn = float(row.value) * Sampling.of(technology, samples=20_000).factors(row)
    quantiles = np.quantile(drawn, (0.05, 0.5, 0.95))
    assert quantiles == pytest.approx([row.low, row.value, row.high], rel=0.05)


@pytest.mark.parametrize("row", ["overhead:idle_clock", "reram.adc_8:energy_factor"])
def test_what_holds_by_definition_is_not_drawn(row: str) -> None:
    """A reference has no error of its own: what refers to it has."""
    technology = Technology.load()
    assert (Sampling.of(technology, samples=200).factors(technology.row(row)) == 1.0).all()


def test_the_page_names_python_that_takes_the_intervals() -> None:
    page = (Path(__file__).parents[2] / "docs" / "uncertainty.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| Python |")]
    named = re.findall(r"`((?:elector|transcode)\.\w+)`", line)
    assert named
    for name in named:
        module, _, function = name.partition(".")
        called = getattr(importlib.import_module(module), function)
        assert {"uncertainty", "samples", "seed"} <= inspect.signature(called).parameters.keys()


LIMITED = [
    ("llama-3.1-8b", "h100-sxm-80gb", {"batch": 64, "sequence_length": 1024, "generate": 64}),
    ("llama-3.1-8b", "h200-sxm-141gb", {"batch": 64, "sequence_length": 1024, "generate": 64}),
    ("llama-3.1-8b", "b200-sxm-192gb", {"batch": 64, "sequence_length": 1024, "generate": 64}),
    ("bert-large", "a100-sxm-80gb", {"batch": 128}),
    ("bert-base", "t4-16gb", {"batch": 64}),
    ("bert-base", "v100-sxm-32gb", {"batch": 8, "mode": "training"}),
    ("bert-tiny", "isaac", {"batch": 8}),
    ("bert-large", "tpu-v4i", {"batch": 64}),
    ("bert-tiny", "reram+systolic", {}),
]


@pytest.mark.parametrize("seed", [0, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("model", "accelerator", "workload"), LIMITED)
def test_no_draw_breaks_what_is_possible(
    model: str, accelerator: str, workload: dict[str, object], seed: int
) -> None:
    """No board draws more than its limit, nothing is faster than its peak; sums stay sums."""
    settings = {f"workload.{key}": value for key, value in workload.items()}
    columns = columns_of({"model": model, "accelerator": accelerator, **settings})
    values = sample(columns, 1, Sampling.of(None, 200, seed)).values
    limit = watt_limits(columns, 1).whole
    energy, latency, power = (values[name] for name in ("energy_j", "latency_s", "power_w"))
    assert (power <= limit).all() and (energy <= limit * latency * (1 + 1e-12)).all()
    assert power == pytest.approx(energy / latency)
    assert values["utilization"].max() <= 1 and values["bandwidth_utilization"].max() <= 1
    parts = [values[name] for name in values if name.startswith("energy_by_part_j.")]
    assert sum(parts) == pytest.approx(energy)
    said = elector.simulate(
        model, accelerator, settings=settings, uncertainty=True, samples=200, seed=seed
    )
    busy = max(float(said[f"{name}utilization"]) for name in ("", "bandwidth_"))  # type: ignore[arg-type]
    least = float(said["latency_s"]) * busy  # type: ignore[arg-type]
    assert float(said["latency_s_low"]) >= least * (1 - 1e-9)  # type: ignore[arg-type]
    assert float(said["power_w_high"]) <= limit[0]  # type: ignore[arg-type]
    for name in RESULTS[:3]:
        assert said[f"{name}_low"] <= said[name] <= said[f"{name}_high"]  # type: ignore[operator]


def test_a_board_at_its_limit_still_has_the_error_of_its_time() -> None:
    """Energy gives way to the limit, not the time: the published times of such boards say so."""
    settings = {"workload.batch": 128}
    said = elector.simulate("bert-large", "a100-sxm-80gb", settings=settings, uncertainty=True)
    assert said["power_w"] == pytest.approx(400)
    width = width_of(("ampere", "tensorrt", "bert"))[0].time
    assert float(said["latency_s_high"]) / float(said["latency_s"]) == pytest.approx(width, rel=0.1)  # type: ignore[arg-type]
    assert said["power_w_high"] == pytest.approx(400)


def _hybrid(folder: Path, units: list[str]) -> str:
    """A hybrid that gives all its work to the first of the units, which are linked in a row."""
    names = [f"u{i}" for i in range(len(units))]
    lines = ["description: all on the first unit", "source: a test", "units:"]
    lines += [f"  {name}: {{base: {base}}}" for name, base in zip(names, units, strict=True)]
    if len(units) > 1:
        lines.append("links:")
    lines += [
        f"  - {{between: [u0, {name}], kind: package, bandwidth: 400 GB/s, latency: 100 ns}}"
        for name in names[1:]
    ]
    path = folder / f"{'-and-'.join(units)}.yaml"
    path.write_text("\n".join([*lines, "assignment:", "  - {unit: u0}", ""]))
    return str(path)


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("unit", ["h100-sxm-80gb", "a100-sxm-80gb", "tpu-v4i", "isaac"])
def test_a_hybrid_of_one_unit_has_the_interval_of_the_unit(
    unit: str, seed: int, tmp_path: Path
) -> None:
    """At the limit of an H100 too."""
    model, batch = ("bert-large", 256) if unit == "h100-sxm-80gb" else ("bert-tiny", 4)
    settings = {"workload.batch": batch}
    both = [
        elector.simulate(model, name, settings=settings, uncertainty=True, samples=100, seed=seed)
        for name in (unit, _hybrid(tmp_path, [unit]))
    ]
    names = [name for name in both[0] if name.endswith(("_low", "_high"))]
    assert "latency_s_low" in names and "power_w_high" in names
    for name in names:
        assert both[1][name] == pytest.approx(both[0][name], rel=1e-9), name


@pytest.mark.parametrize("regime", ["bert", "language", "training", "products"])
@pytest.mark.parametrize("stack", ["vllm", "tensorrt-llm", "eager"])
@pytest.mark.parametrize("units", [("hopper", "tpu"), ("ada", "reram"), ("hopper", "hopper")])
def test_a_hybrid_is_not_surer_than_any_of_its_units(
    units: tuple[str, str], stack: str, regime: str
) -> None:
    width, _ = width_of((" + ".join(units), stack, regime))
    assert width.cases == 0
    for family in (*units, "reram"):
        own = width_of((family, stack, regime))[0]
        assert width.time >= own.time and width.power >= own.power


@pytest.mark.parametrize("other", ["systolic", "isaac", "h100-sxm-80gb"])
def test_a_hybrid_that_gives_a_gpu_all_is_not_surer_than_the_gpu(
    other: str, tmp_path: Path
) -> None:
    settings = {"workload.batch": 1, "workload.sequence_length": 128, "workload.generate": 8}
    ends = []
    for name in ("h100-sxm-80gb", _hybrid(tmp_path, ["h100-sxm-80gb", other])):
        said = elector.simulate("gpt2", name, settings=settings, uncertainty=True, samples=300)
        assert any("no published case" in note for note in said["notes"]) == bool(ends)  # type: ignore[attr-defined]
        low, value, high = (float(said[f"latency_s{end}"]) for end in ("_low", "", "_high"))  # type: ignore[arg-type]
        ends.append((low / value, high / value))
    assert ends[1][0] <= ends[0][0] * (1 + 1e-9) and ends[1][1] >= ends[0][1] * (1 - 1e-9)


def test_no_unit_of_a_hybrid_draws_more_than_its_limit(tmp_path: Path) -> None:
    """All of a prompt's work on the H100: what it draws, and what the other draws idle."""
    path = _hybrid(tmp_path, ["h100-sxm-80gb", "systolic"])
    settings = {"workload.batch": 64, "workload.sequence_length": 1024, "workload.generate": 64}
    columns = columns_of({"model": "llama-3.1-8b", "accelerator": path, **settings})
    values = sample(columns, 1, Sampling.of(None, 200)).values
    names = [name for name in values if name.startswith("energy_by_part_j.u0.")]
    busy = sum(values[name] for name in names) / values["latency_s"]
    assert len(names) > 3 and busy.max() <= 700
    assert (values["utilization"] <= 1).all()
    whole = watt_limits(
        columns_of({"model": "gpt2", "accelerator": _hybrid(tmp_path, ["gpu", "gpu"])}), 1
    )
    assert whole.whole == pytest.approx([800])


@pytest.mark.parametrize("seed", [0, 3])
def test_what_a_data_sheet_prints_is_exact(seed: int) -> None:
    """The area of a printed die has no interval; of one that is taken, that of its evidence."""
    printed = ["h100-sxm-80gb", "a100-sxm-80gb", "rtx-4090", "mi210", "t4-16gb", "gpu"]
    taken = {"b200-sxm-192gb": "assumed", "b300-sxm-288gb": "assumed", "mi250": "derived"}
    rows: list[dict[str, object]] = [
        {"model": "bert-tiny", "accelerator": name} for name in (*printed, *taken)
    ]
    rows.append({**rows[0], "accelerator.die": "900 mm2"})
    frame = elector.sweep(rows, uncertainty=True, samples=400, seed=seed)
    exact = frame["area_mm2_low"] == frame["area_mm2_high"]
    assert exact.tolist() == [True] * len(printed) + [False] * len(taken) + [True]
    assert (frame["area_mm2_low"] == frame["area_mm2"])[exact].all()
    for place, evidence in enumerate(taken.values(), len(printed)):
        for end in ("low", "high"):
            ratio = frame[f"area_mm2_{end}"][place] / frame["area_mm2"][place]
            assert abs(math.log(ratio)) == pytest.approx(math.log(spreads()[evidence]), rel=0.2)


def test_the_parts_of_a_stated_die_are_drawn_together() -> None:
    """Die and overhead differ from draw to draw, and make up what is stated in each."""
    for name in ("h100-sxm-80gb", "b200-sxm-192gb"):
        columns = columns_of({"model": "bert-tiny", "accelerator": name})
        values = sample(columns, 1, Sampling.of(None, 200)).values
        parts = [values[f"area_by_part_mm2.{n}"] for n in ("die", "beyond the die", "overhead")]
        assert parts[0].std() > 0 and parts[2].std() > 0 and (parts[1] == 0).all()
        assert sum(parts) == pytest.approx(values["area_mm2"])


def test_what_a_die_has_no_room_for_is_drawn() -> None:
    """A cache that the die cannot hold has the spread of what it rests on."""
    settings = {"accelerator.l2": "2 GB"}
    said = elector.simulate(
        "bert-tiny", "h100-sxm-80gb", settings=settings, uncertainty=True, samples=200
    )
    assert said["area_by_part_mm2"]["beyond the die"] > 0  # type: ignore[index]
    assert said["area_mm2_low"] < said["area_mm2"] < said["area_mm2_high"]  # type: ignore[operator]


def test_the_die_of_a_unit_is_exact_too(tmp_path: Path) -> None:
    both = _hybrid(tmp_path, ["h100-sxm-80gb", "systolic"])
    columns = [columns_of({"model": "bert-tiny", "accelerator": n}) for n in (both, "systolic")]
    drawn, other = (sample(one, 1, Sampling.of(None, 100)).values["area_mm2"] for one in columns)
    die = float(elector.simulate("bert-tiny", "h100-sxm-80gb")["area_mm2"])  # type: ignore[arg-type]
    assert drawn - other == pytest.approx(np.full((100, 1), die))


def test_a_share_of_its_own_keeps_its_own_draws(tmp_path: Path) -> None:
    """Only what is 1 / (1 + overhead) follows the overhead."""
    own = tmp_path / "own.csv"
    row = "gpu.die,area,0.8,1,,bench,assumed\n"
    own.write_text("part,quantity,value,unit,node_nm,source,evidence\n" + row)
    whole = []
    for technology in (Technology.load(), Technology.load(own)):
        price = Sampling.of(technology, 100).drawn.price
        share = price("gpu.die", "area", 7.0).value
        whole.append(np.asarray(share * (1.0 + price("overhead", "area_fraction", 7.0).value)))
    assert whole[0] == pytest.approx(np.full(100, 1.0), rel=1e-3)
    assert whole[1].std() > 0.05


def test_groups_of_two_facts_speak_before_those_of_one() -> None:
    own = candidates(("ampere", "tensorrt", "bert"))
    hidden = [sum(part == "*" for part in key) for key in own]
    assert hidden == sorted(hidden) and len(own) == 8


def test_ends_of_intervals_have_ten_digits() -> None:
    """Last digits of exponentials follow a processor's vector instructions."""
    draws = np.exp(np.random.default_rng(0).normal(size=(200, 3))) * np.array([1e-9, 1.0, 1e12])
    low, high = interval(draws)
    other_low, other_high = interval(draws * (1.0 + 1e-15))
    assert (low == other_low).all() and (high == other_high).all()
    assert all(float(f"{end:.9e}") == end for end in (*low, *high))
    exact = np.full((200, 1), 1.0 / 3.0)
    assert interval(exact) == (exact[0], exact[0])
