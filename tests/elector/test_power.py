"""The clock under a power limit: the one place where joules reach time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.base.table import Column
from elector.cost.power import CLOSE, Pace, _largest, voltage
from elector.cost.schedule import rows_by_stage
from elector.describe.workload import PROMPTS
from elector.evaluation.path import evaluate, inspect
from elector.events.timeline import timeline
from elector.machines.contract import Clocked
from elector.studies.simulation import columns_of
from elector.technology import Technology

#: More than any board takes.
LIMITLESS = {"accelerator.power_limit": 10000}
HEAVY = {
    "model": "bert-large",
    "workload.mode": "training",
    "workload.precision": "fp16-amp",
    "workload.batch": 8,
    "workload.sequence_length": 384,
}


def curve(limits: list[float], **other: str) -> elector.cost.pricing.Cost:
    asked = {**HEAVY, "accelerator": "v100-pcie-32gb", **other}
    columns = columns_of(asked, len(limits))
    columns["accelerator.power_limit"] = Column.of(limits)
    return evaluate(columns, len(limits))


def test_power_stays_below_every_limit_and_time_follows() -> None:
    limits = [90.0, 100.0, 125.0, 150.0, 175.0, 200.0, 225.0, 250.0, 1000.0]
    # Of a training step the update, which waits for memory, stays below most limits.
    training, cost = curve(limits), curve(limits, **{"workload.mode": "inference"})
    assert (training.scalars["power_w"] <= np.array(limits) * (1 + 1e-6)).all()
    watts, seconds = cost.scalars["power_w"], cost.scalars["latency_s"]
    assert (watts <= np.array(limits) * (1 + 1e-6)).all()
    # where the limit bites it is used, to the precision of the clock
    bites = seconds > seconds[-1]
    assert bites[:4].all() and not bites[-1]
    assert watts[bites] == pytest.approx(np.array(limits)[bites], rel=1e-4)
    assert (np.diff(seconds) <= 0).all()


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    cost = curve([5000.0, 6000.0])
    assert cost.scalars["latency_s"][0] == cost.scalars["latency_s"][1]
    assert cost.scalars["energy_j"][0] == cost.scalars["energy_j"][1]


def test_a_lower_clock_saves_energy_until_idle_power_eats_it() -> None:
    limits = [75.0 + 5.0 * i for i in range(40)]
    joules = curve(limits).scalars["energy_j"]
    best = int(np.argmin(joules))
    assert 0 < best < len(limits) - 1


def test_traffic_is_not_slowed_by_the_clock() -> None:
    ask = {
        "workload.generate": 64,
        "workload.implementation": "fastertransformer",
        "accelerator.power_limit": 300,
    }
    slow = elector.simulate(
        "llama-2-7b", "a100-sxm-80gb", settings={**ask, "accelerator.clock": "1000 MHz"}
    )
    full = elector.simulate("llama-2-7b", "a100-sxm-80gb", settings=ask)
    assert slow["time_per_output_token_s"] < 1.1 * full["time_per_output_token_s"]


def test_a_limit_that_idling_exceeds_is_infeasible() -> None:
    """No clock helps; above it a board leaves out pulses, and stays within its limit."""
    cost = curve([1.0, 24.0, 46.0, 65.0])
    assert not cost.feasible[:2].any() and cost.feasible[2:].all()
    assert str(cost.reason(0)) == "power: needs 36.0 W without a clock, has 1.00 W"
    assert np.isnan(cost.scalars["latency_s"][0])
    assert (cost.scalars["power_w"][2:] <= np.array([46.0, 65.0]) * (1 + 1e-6)).all()
    assert cost.scalars["latency_s"][2] > 2.5 * cost.scalars["latency_s"][3]


def test_later_tokens_do_not_decide_how_fast_a_prompt_is_read() -> None:
    """A board at its limit has a clock for the prompt and one for the tokens after it."""
    ask = {"workload.batch": 8, "workload.sequence_length": 512}
    first, several, many = (
        elector.simulate("llama-3.1-8b", "l4-24gb", settings={**ask, "workload.generate": n})
        for n in (1, 100, 1000)
    )
    seconds = [float(r["time_to_first_token_s"]) for r in (first, several, many)]
    assert seconds == pytest.approx([seconds[0]] * 3, rel=1e-9)
    assert first["power_w"] == pytest.approx(72.0, rel=1e-4)  # the prompt is what meets the limit
    assert many["power_w"] < several["power_w"] < 72.0
    free = elector.simulate(
        "llama-3.1-8b", "l4-24gb", settings={**ask, "workload.generate": 1} | LIMITLESS
    )
    assert float(free["time_to_first_token_s"]) < 0.9 * seconds[0]


def test_a_design_of_one_stage_has_the_same_bits_beside_one_of_two() -> None:
    """Alone it has no row of the later tokens, in the batch it has some that it does not run."""
    each = {"workload.generate": [1, 64] * 6, "workload.batch": [1, 3, 8] * 4}
    columns = columns_of({"model": "llama-3.1-8b", "accelerator": "l4-24gb"}, 12)
    columns |= {key: Column.of(values) for key, values in each.items()}
    columns["accelerator.power_limit"] = Column.of([40.0] * 6 + [72.0] * 6)
    together = evaluate(columns, 12, level="groups")
    for i in range(12):
        own = {key: column.take(np.array([i])).compact() for key, column in columns.items()}
        alone = evaluate(own, 1, level="groups")
        for name in alone.names():
            np.testing.assert_array_equal(alone.scalar(name)[0], together.scalar(name)[i], name)


def test_each_stage_is_explained_at_its_own_voltage() -> None:
    ask = {"workload.batch": 8, "workload.sequence_length": 512, "workload.generate": 100}
    told = elector.explain("llama-3.1-8b", "l4-24gb", "energy_j", settings=ask)
    terms = {str(term["name"]): term for term in told["terms"]}
    for name in ("mac", "cache", "path", "running"):
        (factor,) = [f for f in terms[name]["factors"] if "voltage" in f["name"]]
        assert "in step, 1.000 in decode" in factor["name"] and 0.7 < factor["value"] < 1.0
        value = terms[name]["count"] * terms[name]["price"] * factor["value"]
        assert terms[name]["value"] == pytest.approx(value, rel=1e-12)
    # The prompt has nearly all products, and a small part of the traffic.
    assert terms["mac"]["factors"][-1]["value"] < terms["path"]["factors"][-1]["value"]
    assert sum(float(t["value"]) for t in told["terms"]) == pytest.approx(told["value"], rel=1e-12)


def test_the_event_model_runs_each_stage_at_its_own_clock() -> None:
    ask = {"workload.batch": 8, "workload.sequence_length": 512, "workload.generate": 4}
    chunk = inspect(
        columns_of({"model": "llama-3.1-8b", "accelerator": "l4-24gb", **ask}, 1),
        Technology.load(),
    )
    power = chunk.activity.power
    assert power is not None and power.speed is not None
    speed = {row.phase: power.speed[r, 0] for r, row in enumerate(chunk.ops.rows)}
    assert speed["prefill"] < 0.9 and speed["decode"] == 1.0
    line = timeline(chunk)
    for stage in ("step", "decode"):
        assert line.stages[stage] == pytest.approx(chunk.timing.stages[stage][0], rel=0.1)


@pytest.mark.parametrize("batch", [1, 8, 171, 214])
def test_a_limit_that_idling_takes_whole_leaves_nothing_for_work(batch: int) -> None:
    """Whether rounding finds a rest, and with it ages of time, or not."""
    own = {"accelerator.power_limit": 1e6, "accelerator.idle_power": 1e6, "workload.batch": batch}
    result = elector.simulate("gpt2", "a100-sxm-80gb", settings=own)
    assert not result["feasible"] and str(result["reason"]).startswith("power")


def test_a_lower_clock_lowers_the_voltage() -> None:
    """Energy of the core falls with the square of it, and no clock above the highest is run."""
    ask = {"workload.batch": 64, "accelerator.power_limit": 1e4}
    by_clock = {
        clock: elector.simulate(
            "bert-base", "a100-sxm-40gb", settings={**ask, "accelerator.clock": clock}
        )
        for clock in ("1410 MHz", "1058 MHz", "705 MHz", "1411 MHz")
    }
    mac = [by_clock[c]["energy_by_part_j"]["mac"] for c in ("1410 MHz", "1058 MHz", "705 MHz")]
    assert mac[1] / mac[0] == pytest.approx((1 - 0.6 * (1 - 1058 / 1410)) ** 2)
    assert mac[2] / mac[0] == pytest.approx(0.49)
    slower = [by_clock[c]["latency_s"] for c in ("705 MHz", "1058 MHz", "1410 MHz")]
    assert slower == sorted(slower, reverse=True)
    above = by_clock["1411 MHz"]
    assert not above["feasible"] and "boost_clock" in above["reason"]


def _clocked(knee: float, least: float) -> Clocked:
    one = np.ones((1, 1))
    return Clocked(
        "device", one, one, one, 0.0, np.ones(1), 0.1 * np.ones(1), (knee, least), np.ones(1)
    )


@given(speed=st.floats(0.1, 1.0))
def test_voltage_rises_from_its_floor_to_one(speed: float) -> None:
    clocked = _clocked(0.5, 0.7)
    volts = voltage(clocked, np.array([speed]))[0]
    assert 0.7 <= volts <= 1.0
    assert voltage(clocked, np.array([1.0]))[0] == 1.0
    assert voltage(clocked, np.array([0.5]))[0] == pytest.approx(0.7)
    assert (volts == 0.7) or speed >= 0.5


def test_a_batch_under_limits_equals_each_alone() -> None:
    limits = [100.0, 150.0, 400.0]
    whole = curve(limits)
    for i, watts in enumerate(limits):
        one = curve([watts])
        assert one.scalars["latency_s"][0] == whole.scalars["latency_s"][i]
        assert one.scalars["energy_j"][0] == whole.scalars["energy_j"][i]


@pytest.mark.parametrize(
    ("accelerator", "watts", "other"),
    [
        # Bandwidth as wide as the cache at .8 of the clock: what passes grows no further.
        ("b200-sxm-192gb", 500, {"workload.generate": 32}),
        ("b200-sxm-192gb", 400, {"workload.generate": 32, "workload.precision": "fp8"}),
        ("a100-sxm-80gb", 150, {"workload.generate": 32, "workload.weights": "int4"}),
        ("h200-sxm-141gb", 300, {"workload.mode": "training", "workload.trainable": "lora:8"}),
    ],
)
def test_a_clock_that_a_limit_sets_is_that_clock(
    accelerator: str, watts: float, other: dict[str, object]
) -> None:
    """However it came to it, a device at one clock takes one time: of each stage."""
    ask = {
        "model": "llama-3.1-8b",
        "accelerator": accelerator,
        "workload.batch": 8,
        "workload.sequence_length": 512,
        **other,
    }
    constants = Technology.load()
    limited = inspect(columns_of({**ask, "accelerator.power_limit": watts}, 1), constants)
    power, units = limited.activity.power, limited.units
    assert power is not None and power.speed is not None
    by_stage = {
        stage: float(power.speed[rows[0], 0]) for stage, rows in rows_by_stage(limited.ops).items()
    }
    assert min(by_stage.values()) < 0.6
    for stage, speed in by_stage.items():
        clock = speed * float(units.number("boost_clock")[0])
        own = {**ask, **LIMITLESS, "accelerator.clock": clock}
        given = inspect(columns_of(own, 1), constants)
        seconds = float(given.timing.stages[stage][0])
        assert float(limited.timing.stages[stage][0]) == pytest.approx(seconds, rel=1e-9)


#: A server under its power limit: passes of one prompt and of two, each with a start by the host.
SERVED = {
    "model": "llama-3.1-8b",
    "accelerator": "h100-sxm-80gb",
    "workload.generate": 16,
    "workload.prefill_chunk": 256,
    "workload.serving": "continuous",
    "workload.sequence_length": 1000,
}


def test_the_start_of_a_pass_stands_in_its_stage() -> None:
    """Passes of one number of prompts take one time, whatever other passes there are."""
    constants, seconds = Technology.load(), {}
    for batch in (15, 16, 29, 30):
        asked = {**SERVED, **LIMITLESS, "workload.batch": batch}
        chunk = inspect(columns_of(asked, 1), constants)
        workload, stages = chunk.workload, chunk.timing.stages
        for phase, stage in zip(PROMPTS, ("step", "prefill_more"), strict=True):
            passes = float(workload.passes(phase)[0])
            if passes:
                each = float(stages[stage][0]) / passes
                prompts = float(workload.prompts(phase)[0])
                assert seconds.setdefault(prompts, each) == pytest.approx(each, rel=1e-9)
        whole = sum(float(took[0]) for took in stages.values())
        assert whole == pytest.approx(float(chunk.timing.seconds[0]), rel=1e-12)
    assert sorted(seconds) == [1.0, 2.0] and seconds[1.0] < seconds[2.0] < 2.0 * seconds[1.0]


def test_the_event_model_has_the_starts_of_passes_where_these_are() -> None:
    few = {"workload.generate": 3, "workload.batch": 3, "model.layers": 2}
    chunk = inspect(columns_of({**SERVED, **few}, 1), Technology.load())
    line = timeline(chunk)
    assert set(line.stages) == {"step", "prefill_more", "decode"}
    for stage, took in chunk.timing.stages.items():
        assert line.stages[stage] == pytest.approx(float(took[0]), rel=0.1)


def test_one_request_more_is_never_faster_under_a_limit() -> None:
    batches = list(range(1, 64))
    columns = columns_of(dict(SERVED), len(batches))
    columns["workload.batch"] = Column.of(batches)
    cost = evaluate(columns, len(batches))
    for name in ("latency_s", "energy_j"):
        assert (np.diff(cost.scalars[name]) > 0).all()
    for batch in (29, 30):
        own = {k: v for k, v in SERVED.items() if k.startswith("workload")}
        told = elector.explain(
            "llama-3.1-8b",
            "h100-sxm-80gb",
            "latency_s",
            settings={**own, "workload.batch": batch},
        )
        took = {stage: account["seconds"] for stage, account in told["accounts"].items()}
        assert took == pytest.approx(told["stages_s"], rel=1e-12)


@pytest.mark.parametrize("watts", [400, 120, 90, 75])
@pytest.mark.parametrize("host", [0.5, 1.0, 8.0])
def test_whether_the_host_decides_is_told_at_the_clock_that_is_held(
    watts: float, host: float
) -> None:
    """A slower device waits for its host no longer; a faster host starts a step sooner, too."""
    ask = {
        "workload.batch": 8,
        "workload.implementation": "eager",
        "accelerator.power_limit": watts,
        "accelerator.host_speed": host,
    }
    result = elector.simulate("bert-base", "a100-sxm-80gb", settings=ask)
    told = elector.explain("bert-base", "a100-sxm-80gb", "host_bound", settings=ask)
    started = sum(account["start_s"] for account in told["accounts"].values())
    longer = told["loads_s"]["host"] + started > told["loads_s"]["device"]
    assert result["host_bound"] == told["value"] == longer
    if host == 1.0:
        assert longer == (watts > 100)


#: Boards and limits [W] that a prompt, later tokens or both exceed; the last leaves out pulses.
LIMITED = {
    "l4-24gb": 45,
    "a100-sxm-80gb": 150,
    "h100-sxm-80gb": 250,
    "b200-sxm-192gb": 400,
    "mi300x": 350,
    "rtx-4090": 120,
    "v100-sxm-32gb": 75,
}
SERVE = {"workload.batch": 8, "workload.sequence_length": 512, "workload.generate": 32}


def test_the_clock_is_the_largest_that_fits_in_each_stage() -> None:
    """At a clock asked for, no larger one needs less than the limit: none of a fine grid."""
    constants = Technology.load()
    for board, watts in LIMITED.items():
        ask = {"model": "llama-2-7b", "accelerator": board, **SERVE}
        chunk = inspect(columns_of({**ask, "accelerator.power_limit": watts}, 1), constants)
        power, boost = chunk.activity.power, float(chunk.units.number("boost_clock")[0])
        assert power is not None and power.speed is not None
        stages = rows_by_stage(chunk.ops)
        assert set(stages) == {"step", "decode"}
        for stage, phase in (("step", "prefill"), ("decode", "decode")):
            speed = float(power.speed[stages[stage][0], 0])
            above = speed * (1.0 + 1e-7) if speed < 1.0 else 1.0
            speeds = np.concatenate(([speed], np.geomspace(above, 1.0, 40)))
            columns = columns_of({**ask, **LIMITLESS}, speeds.size)
            columns["accelerator.clock"] = Column.of(list(speeds * boost))
            cost = evaluate(columns, speeds.size, level="groups")
            first = cost.scalar("time_to_first_token_s")
            seconds = first if stage == "step" else cost.scalar("latency_s") - first
            needed = cost.scalar(f"energy_by_phase_j.{phase}") / seconds
            assert needed[0] <= watts * (1.0 + 1e-12), (board, stage)
            assert speed == 1.0 or (needed[1:] > watts).all(), (board, stage)


def test_a_clock_is_found_in_some_dozen_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each stage, and of those designs alone that are over their limit."""
    sizes: list[int] = []
    watts = Pace.watts

    def counted(pace: Pace, speed: np.ndarray) -> np.ndarray:
        sizes.append(speed.size)
        return watts(pace, speed)

    monkeypatch.setattr(Pace, "watts", counted)
    curve([90.0, 100.0, 150.0, 200.0, 5000.0, 6000.0])
    stages = sizes.count(6)
    assert stages == 2 and all(size <= 4 for size in sizes if size != 6)
    assert len(sizes) <= stages * 13


@pytest.mark.parametrize("steep", [0.01, 1.0, 100.0])
def test_a_clock_at_a_kink_is_as_close_as_any(steep: float) -> None:
    """Where compute and memory take turns in deciding, leaps come nearer but slowly."""
    kink = np.linspace(-2.3, -1e-6, 2000)
    low, high = np.full(kink.size, -2.3), np.zeros(kink.size)

    def excess(place: np.ndarray) -> np.ndarray:
        slope = np.where(place > kink, steep, np.linspace(0.1, 1.0, kink.size))
        return np.asarray(slope * (place - kink))

    below = kink - _largest(excess, (low, excess(low)), (high, excess(high)))
    assert (below >= 0).all() and (below <= CLOSE).all()


def test_cycles_are_those_of_the_clock_that_is_held() -> None:
    """A row that waits for memory has fewer of them, one that computes as many."""
    ask = {"workload.batch": 8, "workload.sequence_length": 512, "workload.generate": 4}
    slow, full = (
        elector.simulate("llama-3.1-8b", "l4-24gb", settings={**ask, **own}, operations=True)
        for own in ({"accelerator.power_limit": 45}, LIMITLESS)
    )
    clocks = {row["phase"]: set[float]() for row in slow["operations"]}
    for held, free in zip(slow["operations"], full["operations"], strict=True):
        assert held["cycles"] <= free["cycles"] * (1 + 1e-9)
        if held["seconds"]:
            clocks[held["phase"]].add(round(held["cycles"] / held["seconds"] / 1e6, 3))
    assert all(len(each) == 1 for each in clocks.values())  # one clock in each stage
    assert max(clocks["prefill"] | clocks["decode"]) < 2040.0


@pytest.mark.parametrize("generate", [0, 4])
def test_explain_says_which_clock_a_limit_leaves(generate: int) -> None:
    """Cycles of an operation over its seconds are that share of 1,410 MHz."""
    settings = {"accelerator.power_limit": 120, "workload.generate": generate}
    told = elector.explain("gpt2", "a100-sxm-80gb", settings=settings, result="latency_s")
    clocks: Any = told["clocks"]
    assert [clock["stage"] for clock in clocks] == (["step", "decode"] if generate else ["step"])
    phases = {"step": ("forward", "prefill"), "decode": ("decode",)}
    for clock in clocks:
        assert clock["unit"] == "" and clock["watts"] == 120 and 0.1 < clock["share"] < 1
        terms: Any = [t for t in told["terms"] if t["phase"] in phases[clock["stage"]]]  # type: ignore[attr-defined]
        own = [t for t in terms if t["bound"] == "device"]
        for term in own:
            held = term["cycles"] / term["busy_s"]["device"] / 1410e6
            assert held == pytest.approx(clock["share"], rel=1e-6)
        assert own
    free = elector.explain("gpt2", "a100-sxm-80gb", result="latency_s")
    assert free["clocks"] == []


def test_explain_names_the_unit_that_keeps_to_its_limit() -> None:
    settings = {
        "workload.mode": "training",
        "workload.batch": 64,
        "accelerator.units.gpu.power_limit": 100,
    }
    told = elector.explain("hpt-weather", "hpt", settings=settings, result="latency_s")
    clocks: Any = told["clocks"]
    assert {clock["unit"] for clock in clocks} == {"gpu"} and clocks[0]["watts"] == 100
