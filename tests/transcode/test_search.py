"""The loop and the run folder: the true front, never lost, never mixed with another run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from search_fakes import SMALL, FakeCost, fake

import transcode
from elector.base.errors import EvaluationError, InputError
from elector.base.table import Column
from transcode import pareto, runs
from transcode.objective import Problem, bound
from transcode.search import Progress, Result, prepare
from transcode.space import load


def run(out: Path, space: Any = SMALL, **options: Any) -> Result:
    """A search with the simulator of a few lines."""
    return transcode.search(
        space,
        out=out,
        evaluator=options.pop("evaluator", fake),
        sampler=options.pop("sampler", "auto"),
        budget=options.pop("budget", None),
        time=options.pop("time", None),
        seed=options.pop("seed", 0),
        fresh=options.pop("fresh", False),
        batch=options.pop("batch", None),
        progress=options.pop("progress", None),
        # A long batch is shared out to copies of the evaluator, which count for themselves.
        jobs=1,
        # Whoever else uses this machine: how often the simulator is probed follows the clock.
        clock=itertools.count(0.0, 1e-6).__next__,
    )


def front_bytes(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "front.csv").read_bytes(), (folder / "front.json").read_bytes()


#: Calls of the simulator before the first batch: names, a small sample, a larger one.
PROBED = 3


class Interrupting:
    """A simulator that is interrupted at its n-th call (the probe's calls included)."""

    def __init__(self, calls: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.error = calls, error

    def __call__(self, columns: Mapping[str, Column], size: int) -> FakeCost:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return fake(columns, size)


def test_the_whole_space_gives_the_true_front(tmp_path: Path) -> None:
    result = run(tmp_path / "r", batch=500)
    space = load(SMALL)
    problem = Problem(bound(space, ["latency_s", "energy_j", "area_mm2"]), fake)
    codes = space.designs(np.arange(space.cardinality))
    codes = codes[space.allowed(codes)]
    outcome = problem.assess(codes)
    good = np.flatnonzero(outcome.feasible)
    truth = codes[good[pareto.nondominated(outcome.objectives[good])]]
    assert set(space.key(truth).tolist()) == set(space.key(result.front.codes).tolist())
    assert result.manifest["designs"] == 3456 == len(codes)
    assert result.manifest["feasible"] == len(good)
    assert result.manifest["sampler"]["used"] == "enumerate"
    assert result.manifest["status"] == "finished: every design looked at"
    exact = pareto.hypervolume(
        result.front.objectives,
        np.array(list(result.manifest["reference_point"].values())),
    )
    assert result.manifest["hypervolume"] == pytest.approx(exact)


def test_the_run_folder_is_complete(tmp_path: Path) -> None:
    result = run(tmp_path / "r", budget=1000, batch=300, sampler="random", seed=7)
    names = {p.name for p in result.folder.iterdir()}
    assert {"manifest.json", "designs", "front.csv", "front.json", "study.log"} <= names
    designs = pd.read_parquet(result.folder / "designs")
    assert len(designs) == 1000 and designs["id"].tolist() == list(range(1000))
    assert designs["model.layers"].isin([2, 4, 6, 12]).all()
    assert set(designs["accelerator.dataflow"]) == {"ws", "os", "is"}
    assert designs["accelerator.sram"].dtype == float
    lost = designs["latency_s"].isna()
    assert (designs.loc[lost, "reason"] == "main memory").all() and lost.any()
    assert not designs.loc[lost, "feasible"].any()
    front = result.frame
    assert front.columns[:3].tolist() == ["id", "model", "accelerator"]
    assert front["feasible"].all() and "workload.batch" in front
    # the front is made of the recorded designs, to the last bit
    merged = front.merge(designs, on="id", suffixes=("", "_recorded"))
    for name in ("latency_s", "energy_j", "area_mm2", "model.feed_forward", "accelerator.sram"):
        assert (merged[name] == merged[f"{name}_recorded"]).all()
    document = json.loads((result.folder / "front.json").read_text())
    assert list(document) == [
        "space",
        "space_sha256",
        "seed",
        "reference_point",
        "hypervolume",
        "objectives",
        "points",
    ]
    assert document["objectives"][0] == {"name": "latency_s", "direction": "min", "unit": "s"}
    assert [p["id"] for p in document["points"]] == front["id"].tolist()
    assert document["points"][0]["values"]["latency_s"] == front["latency_s"][0]
    assert document["points"][0]["parameters"]["model.layers"] == front["model.layers"][0]
    manifest = json.loads((result.folder / "manifest.json").read_text())
    for key in (
        "space",
        "space_sha256",
        "versions",
        "seed",
        "command",
        "sampler",
        "batch",
        "islands",
        "reference_point",
        "simulator",
    ):
        assert key in manifest
    assert manifest["sampler"]["why"]


@pytest.mark.parametrize(
    "sampler",
    [
        *("enumerate", "random", "nsga2", "tpe"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("qmc", "nsga3")),
    ],
)
def test_interrupted_and_resumed_is_as_if_never_interrupted(tmp_path: Path, sampler: str) -> None:
    options: dict[str, Any] = {"sampler": sampler, "budget": 120, "batch": 20, "seed": 3}
    run(tmp_path / "whole", **options)
    for calls in (2, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", evaluator=Interrupting(PROBED + calls), **options)
        manifest = json.loads((tmp_path / "cut" / "manifest.json").read_text())
        assert manifest["status"] == "interrupted"
    assert 0 < manifest["designs"] <= 100
    run(tmp_path / "cut", **options)
    assert front_bytes(tmp_path / "cut") == front_bytes(tmp_path / "whole")
    first, second = (pd.read_parquet(tmp_path / name / "designs") for name in ("whole", "cut"))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("sampler", ["enumerate", "random", "nsga2"])
def test_same_seed_same_front(tmp_path: Path, sampler: str) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, sampler=sampler, budget=150, seed=seed)
    assert front_bytes(tmp_path / "a") == front_bytes(tmp_path / "b")
    if sampler != "enumerate":
        assert front_bytes(tmp_path / "a") != front_bytes(tmp_path / "c")


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "a", sampler="random", budget=500, batch=200)
    again = run(tmp_path / "a", sampler="random", budget=1200, batch=200)
    assert again.manifest["designs"] == 1200
    run(tmp_path / "b", sampler="random", budget=1200, batch=200)
    columns = ["model.layers", "accelerator.rows", "latency_s"]
    first, second = (pd.read_parquet(tmp_path / n / "designs") for n in "ab")
    pd.testing.assert_frame_equal(first[columns], second[columns])


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    run(tmp_path / "r", budget=300, sampler="random")
    before = front_bytes(tmp_path / "r")
    run(tmp_path / "r", budget=300, sampler="random", evaluator=Interrupting(PROBED))
    assert front_bytes(tmp_path / "r") == before


# ---- what a crash leaves behind


def test_a_part_cut_in_the_middle(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "nsga2", "budget": 200, "batch": 25}
    run(tmp_path / "whole", **options)
    result = run(tmp_path / "cut", **options)
    part = result.folder / "designs" / "part-000004.parquet"
    part.write_bytes(part.read_bytes()[:900])
    (result.folder / "designs" / ".part-000009.parquet.tmp").write_bytes(b"half")
    resumed = run(tmp_path / "cut", **options)
    text = " ".join(resumed.notes)
    assert "part-000004.parquet is not whole" in text and "going on from batch 4" in text
    assert "1 unfinished part file" in text
    assert front_bytes(tmp_path / "cut") == front_bytes(tmp_path / "whole")
    assert len(pd.read_parquet(result.folder / "designs")) == 200


def test_a_missing_part(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "random", "budget": 500, "batch": 100}
    run(tmp_path / "whole", **options)
    result = run(tmp_path / "cut", **options)
    (result.folder / "designs" / "part-000001.parquet").unlink()
    run(tmp_path / "cut", **options)
    assert front_bytes(tmp_path / "cut") == front_bytes(tmp_path / "whole")


def test_a_full_disk_stops_with_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = runs.parts.write, []

    def write(folder: Path, batch: runs.Batch) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(real(folder, batch))

    monkeypatch.setattr(runs.parts, "write", write)
    with pytest.raises(EvaluationError, match=r"No space left.*3 batches are safe"):
        run(tmp_path / "r", sampler="random", budget=500, batch=100)
    monkeypatch.undo()
    run(tmp_path / "r", sampler="random", budget=500, batch=100)
    run(tmp_path / "whole", sampler="random", budget=500, batch=100)
    assert front_bytes(tmp_path / "r") == front_bytes(tmp_path / "whole")


# ---- refusals


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    run(tmp_path / "r", budget=100, sampler="random")
    before = front_bytes(tmp_path / "r")
    other = {**SMALL, "model": {**SMALL["model"], "layers": [2, 4]}}
    with pytest.raises(InputError) as caught:
        run(tmp_path / "r", other, budget=100, sampler="random")
    assert "model.layers: [2, 4, 6, 12] there, [2, 4] asked for" in str(caught.value)
    with pytest.raises(InputError, match="seed: 0 there, 1 asked for"):
        run(tmp_path / "r", budget=100, sampler="random", seed=1)
    with pytest.raises(InputError, match="sampler: random there, qmc asked for"):
        run(tmp_path / "r", budget=100, sampler="qmc")
    with pytest.raises(InputError, match="batch"):
        run(tmp_path / "r", budget=100, sampler="random", batch=7)
    assert front_bytes(tmp_path / "r") == before
    assert run(tmp_path / "r", budget=200).manifest["sampler"]["used"] == "random"


def test_another_simulator_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "r", budget=100, sampler="random")
    monkeypatch.setattr(runs.manifest, "simulator", lambda: {"version": "0.2", "sha256": "0" * 64})
    with pytest.raises(InputError, match=r"simulator\.sha256"):
        run(tmp_path / "r", budget=100, sampler="random")


def test_fresh_replaces_the_run_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path / "r", budget=300, sampler="random", batch=50)
    (tmp_path / "r" / "notes.txt").write_text("mine")
    result = run(tmp_path / "r", budget=40, sampler="nsga2", fresh=True)
    assert result.manifest["designs"] == 40
    assert len(pd.read_parquet(tmp_path / "r" / "designs")) == 40
    assert (tmp_path / "r" / "notes.txt").read_text() == "mine"


def test_a_folder_is_held_by_one_search(tmp_path: Path) -> None:
    def second(progress: Progress) -> None:
        with pytest.raises(InputError, match="another search is writing here"):
            run(tmp_path / "r", sampler="random", budget=200, batch=100)

    run(tmp_path / "r", sampler="random", budget=200, batch=100, progress=second)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objectives": {"latency": "min"}}, "did you mean latency_s"),
        ({"record": ["powr_w"]}, "unknown result"),
        ({"constraints": ["area <= 5"]}, "did you mean area_mm2"),
        ({"constraints": ["latency_s <= 5 MB"]}, "is not in s"),
        ({"constraints": ["area_mm2 <= 50", "area_mm2 >= 80"]}, "cannot both hold"),
        ({"where": ["model.hidden > 5000"]}, "rejects every design"),
    ],
)
def test_bad_spaces_write_nothing(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path / "r", {**SMALL, **change})
    assert words in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 0},
        {"budget": 2.5},
        {"seed": -1},
        {"batch": 0},
        {"time": "5 MB"},
        {"time": "0s"},
        {"sampler": "nsga4"},
    ],
)
def test_bad_options_write_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        run(tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError):
        run(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "file" / "below")


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "front.csv").write_text("mine")
    with pytest.raises(InputError, match="no manifest"):
        run(tmp_path / "r")
    (tmp_path / "r" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        run(tmp_path / "r")
    assert (tmp_path / "r" / "front.csv").read_text() == "mine"


# ---- nothing feasible, several workloads, accuracy, records


def test_nothing_feasible_names_what_rejects_most(tmp_path: Path) -> None:
    from transcode.cli.report import nothing_feasible

    space = {**SMALL, "constraints": ["latency_s <= 1 ns", "area_mm2 <= 60"]}
    result = run(tmp_path / "r", space)
    assert len(result.front) == 0 and result.frame.empty
    text = nothing_feasible(result)
    assert "none of 3,456 designs is feasible" in text
    first = text.splitlines()[1]
    assert "latency_s <= 1 ns" in first and "3,456" in first
    assert "nearest miss" in text and "missed by" in text
    assert json.loads((result.folder / "front.json").read_text())["points"] == []


def test_several_workloads(tmp_path: Path) -> None:
    space = {
        **SMALL,
        "workloads": {"serve": {"mode": "inference"}, "tune": {"mode": "training", "batch": 8}},
        "objectives": {"serve.latency_s": "min", "tune.energy_j": "min", "area_mm2": "min"},
        "constraints": ["serve.latency_s <= 5 ms"],
    }
    result = run(tmp_path / "r", space, budget=200, sampler="random")
    front = result.frame
    assert front["workloads.tune.mode"].eq("training").all()
    assert front["workloads.tune.batch"].eq(8).all() and front["workload.batch"].eq(1).all()
    one = fake(
        {n: Column.of(front[n].tolist()) for n in front if n.startswith(("model", "acc"))},
        len(front),
    )
    assert np.array_equal(front["serve.latency_s"], one.scalar("latency_s"))
    assert (front["tune.energy_j"] > 2.0 * one.scalar("energy_j")).all()  # training does more


def test_accuracy_comes_with_its_deviation_and_its_error(tmp_path: Path) -> None:
    space = {
        **SMALL,
        "workload": {"task": "sst2"},
        "objectives": {"accuracy": "max", "latency_s": "min"},
        "constraints": ["accuracy >= 85"],
        "record": ["energy_j"],
    }
    result = run(tmp_path / "r", space)
    front = result.frame
    assert (front["accuracy"] >= 85).all() and (front["accuracy_std"] > 0).all()
    assert front["accuracy"].iloc[0] == front["accuracy"].max()  # best first
    assert "energy_j" in front
    record = result.manifest["accuracy"]
    assert record["task"] == "sst2" and record["mae"] > 0 and "leave-one-out" in record["text"]
    with pytest.raises(InputError, match="no accuracy surrogate"):
        run(tmp_path / "s", {**space, "workload": {"task": "chess"}})


def test_a_reference_point_of_the_users_own(tmp_path: Path) -> None:
    result = run(tmp_path / "r", {**SMALL, "reference_point": {"latency_s": "5 ms"}})
    reference = result.manifest["reference_point"]
    assert reference["latency_s"] == 5e-3 and reference["energy_j"] > 0


def test_all_samplers_of_a_space_share_the_reference_point(tmp_path: Path) -> None:
    points = [
        run(tmp_path / name, sampler=name, budget=60, seed=seed).manifest["reference_point"]
        for seed, name in enumerate(("random", "nsga2", "enumerate"))
    ]
    assert points[0] == points[1] == points[2]


def test_a_simulator_that_fails_leaves_the_run_resumable(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "random", "budget": 400, "batch": 100}
    with pytest.raises(RuntimeError):
        run(tmp_path / "r", evaluator=Interrupting(PROBED + 2, RuntimeError), **options)
    run(tmp_path / "r", **options)
    run(tmp_path / "whole", **options)
    assert front_bytes(tmp_path / "r") == front_bytes(tmp_path / "whole")


def test_time_limit_and_progress(tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    seen: list[Progress] = []
    result = transcode.search(
        SMALL,
        sampler="random",
        time="2 s",
        out=tmp_path / "r",
        batch=10,
        evaluator=fake,
        progress=seen.append,
        clock=clock,
    )
    assert result.manifest["status"] == "finished: time reached"
    assert 10 < result.manifest["designs"] < 1000
    assert [p.finished for p in seen] == [False] * (len(seen) - 1) + [True]
    assert all(a.designs < b.designs for a, b in itertools.pairwise(seen[:-1]))
    assert seen[-1].hypervolume == pytest.approx(result.manifest["hypervolume"])


@pytest.mark.parametrize(
    ("looks", "used"),
    [
        ([1e-6], "enumerate"),  # at once
        ([0.03, 1e-6], "enumerate"),  # a busy moment, then what it really takes
        ([0.03, 0.02], "evolve"),  # twice too long
        ([1.0], "guided"),  # far too long
    ],
)
def test_what_is_nearly_short_enough_is_timed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: list[float], used: str
) -> None:
    left = list(looks)
    monkeypatch.setattr(prepare, "seconds_each", lambda *_: left.pop(0))
    result = run(tmp_path / "r", time=60.0)
    assert result.manifest["sampler"]["used"] == used and not left


def test_a_clock_that_leaps_where_nothing_was_done() -> None:
    """A process may be stopped between two looks at the clock: no design took that time."""
    problem = Problem(load(SMALL), fake)
    leaps = iter([0.0, 100.0, 100.0, 100.5])
    assert prepare.seconds_each(problem, 4, lambda: next(leaps)) > 0.0


def test_pruning_by_another_models_table_is_noted(tmp_path: Path) -> None:
    space = {
        "name": "pruned",
        "model": "bert-base",
        "objectives": {"energy_j": "min"},
        "accelerator": {"base": "acceltran-server", "pe": [256, 512]},
        "workload": {"mode": "training", "batch": 4, "sparsity": "trained-digits"},
    }
    result = transcode.search(space, out=tmp_path / "r")
    said = "trained-digits was measured on encoder, not on bert-base"
    assert [said in note for note in result.notes] == [True]
    space |= {"model": "encoder"}
    assert transcode.search(space, out=tmp_path / "own").notes == ()


# ---- the study


def load_study(folder: Path, name: str = "small") -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.log"))
    return optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name=name)


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """The same space, as a user of Optuna would write it."""
    values = {
        "model.layers": trial.suggest_categorical("model.layers", [2, 4, 6, 12]),
        "model.hidden": trial.suggest_categorical("model.hidden", [128, 256, 512]),
        "accelerator.rows": trial.suggest_categorical("accelerator.rows", [16, 32, 64, 128]),
        "accelerator.dataflow": trial.suggest_categorical(
            "accelerator.dataflow", ["ws", "os", "is"]
        ),
        "accelerator.sram": trial.suggest_categorical(
            "accelerator.sram", [1e6, 2e6, 4e6, 8e6, 16e6, 32e6]
        ),
    }
    trial.suggest_categorical("model.heads", [2, 4, 12])
    trial.suggest_categorical("model.feed_forward/hidden", [2.0, 4.0])
    cost = fake({n: Column.constant(v, 1) for n, v in values.items()}, 1)
    if not cost.feasible[0]:
        raise optuna.TrialPruned
    return float(cost.scalar("latency_s")[0]), float(cost.scalar("energy_j")[0])


@pytest.mark.parametrize("sampler", ["enumerate", "nsga2"])
def test_optuna_reads_the_study_and_goes_on_from_it(tmp_path: Path, sampler: str) -> None:
    result = run(tmp_path / "r", sampler=sampler, budget=200)
    study = load_study(result.folder)
    assert study.metric_names == ["latency_s", "energy_j"]
    assert study.user_attrs["sampler"]["used"] == sampler
    trials = study.get_trials(deepcopy=False)
    assert len(trials) == len(result.front) if sampler == "enumerate" else len(trials) >= 200
    names = {"machine", "area_mm2 <= 120"} | ({"where"} if sampler == "nsga2" else set())
    assert all(set(t.constraints) == names for t in trials)
    best = {tuple(t.values) for t in study.best_trials}
    assert best == {tuple(v) for v in result.front.objectives.tolist()}
    for plain in (optuna.samplers.NSGAIISampler(seed=0), optuna.samplers.TPESampler(seed=0)):
        study.sampler = plain
        before = len(study.get_trials(deepcopy=False))
        study.optimize(objective, n_trials=5)
        assert len(study.get_trials(deepcopy=False)) == before + 5
    assert len(load_study(result.folder).trials) == len(trials) + 10


def test_a_long_front_is_thinned_in_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs.study, "LIMIT", 5)
    result = run(tmp_path / "r")
    assert len(load_study(result.folder).trials) == 5 < len(result.front)


def test_a_learner_that_has_seen_everything_stops(tmp_path: Path) -> None:
    space = {
        **SMALL,
        "model": {"base": "encoder", "layers": [2, 4]},
        "where": [],
        "accelerator": {"base": "systolic", "dataflow": ["ws", "os"]},
    }
    result = run(tmp_path / "r", space, sampler="nsga2", budget=50, batch=10)
    assert result.manifest["designs"] == 4
    assert result.manifest["status"] == "finished: every design looked at"
    again = run(tmp_path / "r", space, sampler="nsga2", budget=50, batch=10)
    assert again.manifest["designs"] == 4
    assert len(pd.read_parquet(result.folder / "designs")) == 4


def test_accelerators_of_different_accuracy_are_not_searched_with_it(tmp_path: Path) -> None:
    space = {
        **SMALL,
        "workload": {"task": "sst2"},
        "objectives": {"accuracy": "max"},
        "accelerator": {"base": ["tpu-v1", "tpu-v2"]},
        "constraints": [],
    }
    with pytest.raises(InputError, match="different accuracy"):
        run(tmp_path / "r", space)
    load({**space, "accelerator": {"base": ["tpu-v3", "tpu-v2"]}})
    load({**space, "objectives": {"latency_s": "min"}, "workload": {}})  # a task counts no more
