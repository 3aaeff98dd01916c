"""A training run as a result of a search: it is the run that `elector run` computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elector.base.errors import InputError
from elector.evaluation.path import evaluate
from elector.studies import training_run as plan
from transcode import objective
from transcode.space import Space, describe, load, restore

SPACE: dict[str, Any] = {
    "model": "bert-tiny",
    "accelerator": {"base": "hpt", "units.tier.tiles": [336, 500]},
    "workload": {"mode": "training", "batch": 2},
    "workloads": {"full": {"trainable": "all"}, "low": {"trainable": "lora:4"}},
    "run": {"phases": {"full": 300, "low": 700}, "window": 20, "windows": 3, "beside": "low"},
    "objectives": {"run.latency_s": "min", "run.energy_j": "min"},
    "record": ["run.writes_per_cell", "run.lifetime_years", "run.lifetime_runs", "low.latency_s"],
}


def costs(space: Space) -> dict[str, Any]:
    codes = np.array(list(np.ndindex(*[p.size for p in space.parameters])))
    return objective.costs_of(space, lambda columns, size: evaluate(columns, size), codes)


@pytest.mark.parametrize(
    ("base", "endurance"), [("hpt", 1e9), ("hpt", 1e6), ("reram+systolic", 1e6)]
)
def test_a_run_in_a_search_is_the_run_of_the_simulator(base: str, endurance: float) -> None:
    own: dict[str, Any] = {"units.tier.endurance": endurance}
    if base == "reram+systolic":
        own["units.tier.transposed_read"] = "bidirectional"
    space = load({**SPACE, "accelerator": {"base": base, **own}})
    run = costs(space)["run"]
    written = {"model": "bert-tiny", "workload": {"batch": 2}}
    # the same chip as a file, so that both read the same settings
    phases = [
        {"name": n, "steps": s, "trainable": t, "accelerator": base}
        for n, s, t in (("full", 300, "all"), ("low", 700, "lora:4"))
    ]
    read = plan.read_plan(
        {**written, "phases": phases, "switch": {"step": 300, "window": 20, "windows": 3}}
    )
    chip = replace(
        read.phases[0].accelerator, settings={**read.phases[0].accelerator.settings, **own}
    )
    read = replace(read, phases=tuple(replace(p, accelerator=chip) for p in read.phases))
    total: Any = plan.run(read)["total"]
    for name in ("latency_s", "energy_j", "writes_per_cell", "lifetime_years"):
        assert run.scalar(name)[0] == pytest.approx(total[name], rel=1e-12), name
    assert run.scalar("lifetime_runs")[0] == pytest.approx(
        endurance / total["writes_per_cell"], rel=1e-12
    )


def test_a_run_is_made_of_its_steps() -> None:
    by_step = costs(load({**SPACE, "run": {"phases": {"low": 10}}}))
    np.testing.assert_array_equal(
        by_step["run"].scalar("latency_s"), 10.0 * by_step["low"].scalar("latency_s")
    )
    # nothing is switched, nothing written, nothing wears
    assert (by_step["run"].scalar("writes_per_cell") == 0).all()
    assert np.isnan(by_step["run"].scalar("lifetime_years")).all()


def test_beside_is_the_first_phase_unless_said() -> None:
    written = dict(SPACE["run"])
    del written["beside"]
    given, default = (
        costs(load({**SPACE, "run": r}))["run"].scalar("latency_s")
        for r in ({**written, "beside": "full"}, written)
    )
    np.testing.assert_array_equal(given, default)
    shorter = costs(load({**SPACE, "run": {**written, "window": 0}}))
    full = shorter["full"].scalar("latency_s")
    np.testing.assert_allclose(default, shorter["run"].scalar("latency_s") + 60 * full, rtol=1e-12)


def test_a_copy_that_trains_beside_wears_cells_too() -> None:
    reram = {"base": "reram", "endurance": 1e6}
    run = {"phases": {"full": 300, "low": 700}, "beside": "low", "windows": 3}
    alone, beside = (
        costs(load({**SPACE, "accelerator": reram, "run": {**run, "window": window}}))
        for window in (0, 20)
    )
    worn = beside["low"].scalar("writes_per_cell")
    assert (worn > 0).all()
    before = alone["run"].scalar("writes_per_cell")
    np.testing.assert_allclose(beside["run"].scalar("writes_per_cell"), before + 60 * worn)


def test_an_infeasible_phase_leaves_no_run() -> None:
    space = load({**SPACE, "accelerator": {"base": "hpt", "units.tier.tiles": [1, 336]}})
    problem = objective.Problem(space, lambda columns, size: evaluate(columns, size))
    codes = np.array(list(np.ndindex(*[p.size for p in space.parameters])))
    outcome = problem.assess(codes)
    assert outcome.feasible.tolist() == [False, True]
    assert np.isnan(outcome.results["run.latency_s"][0])
    assert "low: " in str(outcome.reasons[0])


def test_a_run_survives_the_manifest() -> None:
    space = load(SPACE)
    assert restore(describe(space)).run == space.run
    assert "run" not in describe(
        load(
            {k: v for k, v in SPACE.items() if k not in ("run", "objectives", "record")}
            | {"objectives": {"low.latency_s": "min"}}
        )
    )


@pytest.mark.parametrize(
    ("run", "field"),
    [
        (3, "run"),
        ({}, "run.phases"),
        ({"phases": {"full": 0}}, "run.phases.full"),
        ({"phases": {"full": "many"}}, "run.phases.full"),
        ({"phases": {"middle": 5}}, "run.phases"),
        ({"phases": {"full": 5, "low": 5}, "window": 6}, "run.window"),
        ({"phases": {"low": 5}, "window": 2}, "run.window"),
        ({"phases": {"full": 5, "low": 5}, "beside": "middle"}, "run.beside"),
        ({"phases": {"full": 5}, "steps": 6}, "run"),
    ],
)
def test_bad_runs(run: object, field: str) -> None:
    with pytest.raises(InputError) as caught:
        load({**SPACE, "run": run})
    assert caught.value.field == field


def test_results_of_a_run_need_a_run() -> None:
    with pytest.raises(InputError, match="name of one"):
        load({k: v for k, v in SPACE.items() if k != "run"})
    with pytest.raises(InputError, match="no name for a workload"):
        load({**SPACE, "workloads": {"run": {}}})
    space = load({**SPACE, "objectives": {"run.latency": "min"}})
    with pytest.raises(InputError, match="unknown result"):
        objective.bound(space, objective.names_of(space, costs(space)))
