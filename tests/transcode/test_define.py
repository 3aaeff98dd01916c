"""Objectives, constraints and records that are expressions of results and settings."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import InputError
from elector.cli.commands import main as elector
from transcode import plot
from transcode.cli import main
from transcode.space import describe, load, quantities, registry_of, restore, unit_text

DEFINED = {
    **{key: value for key, value in SMALL.items() if key != "constraints"},
    "define": {
        "edp": "energy_j * latency_s",
        "density": "1 / latency_s / area_mm2",
        "score": "edp * accelerator.rows + 2 * max(edp, 1e-9)",
    },
    "objectives": {"edp": "min", "density": "max"},
    "constraints": ["edp <= 300 nJ*s", "area_mm2 <= 120"],
    "record": ["score"],
}


def run(folder: Path, space: dict[str, Any] | None = None, **options: Any) -> transcode.Result:
    options = {"budget": 300, "sampler": "random", "seed": 1, **options}
    space = space or DEFINED
    return transcode.search(space, out=folder, evaluator=options.pop("evaluator", fake), **options)


def front_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "front.csv")


def test_defined_results_are_those_of_a_hand_computation_bit_for_bit(tmp_path: Path) -> None:
    run(tmp_path / "r")
    designs = pd.read_parquet(tmp_path / "r" / "designs")
    runs = designs["latency_s"].notna()
    assert len(designs) == 300 and runs.any() and not runs.all()
    for frame in (designs[runs], front_of(tmp_path / "r")):
        edp = frame["energy_j"] * frame["latency_s"]
        assert (frame["edp"] == edp).all()
        assert (frame["density"] == 1 / frame["latency_s"] / frame["area_mm2"]).all()
        rows = frame["accelerator.rows"].astype(float)
        assert (frame["score"] == edp * rows + 2 * np.maximum(edp, 1e-9)).all()
    assert designs[~runs]["edp"].isna().all()
    assert (front_of(tmp_path / "r")["edp"] <= 300e-9).all()


def test_the_front_is_that_of_the_expressions(tmp_path: Path) -> None:
    result = run(tmp_path / "r", sampler="enumerate", budget=None)
    designs = pd.read_parquet(tmp_path / "r" / "designs")
    good = designs[designs["feasible"]]
    points = good[["edp", "density"]].to_numpy() * [1.0, -1.0]
    beaten = [((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]
    assert sorted(good["id"][~np.array(beaten)]) == sorted(result.front.ids.tolist())


def test_units_are_derived(tmp_path: Path) -> None:
    run(tmp_path / "r", {**DEFINED, "record": ["score"]})
    front = json.loads((tmp_path / "r" / "front.json").read_text())
    units = {o["name"]: o["unit"] for o in front["objectives"]}
    assert units == {"edp": "J*s", "density": "1/s/mm2"}
    space = restore(json.loads((tmp_path / "r" / "manifest.json").read_text())["space"])
    assert registry_of(space).show("edp", 1.2e-8) == "12.0 nJ s"
    assert unit_text(space, "score") == "J*s"
    mixed = load(
        {**DEFINED, "define": {"edp": "energy_j + latency_s", "density": "3"}, "record": []}
    )
    assert unit_text(mixed, "edp") == "" and unit_text(mixed, "density") == ""
    assert "edp" in (done := CliRunner().invoke(main, ["front", str(tmp_path / "r")])).stdout
    assert "J s" in done.stdout


def test_resumed_repeated_and_warm_runs_give_the_same(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", budget=120)
    run(tmp_path / "parts")
    for name in ("front.csv", "front.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    warm = run(
        tmp_path / "warm", sampler="evolve", warm_start=tmp_path / "whole" / "front.csv", budget=40
    )
    assert warm.manifest["warm_start"]["designs"] == len(whole.front)
    best = {i: v for i, v in zip(warm.front.ids, warm.front.results["edp"], strict=True)}
    assert min(best.values()) <= whole.front.results["edp"].min()


def test_runs_share_a_storage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for name, budget in (("a", 6), ("b", 12), ("a", 12)):
        result = run(tmp_path / name, sampler="nsga2", budget=budget, storage=url)
        assert result.manifest["designs"] == budget
    a, b = (pd.read_parquet(tmp_path / name / "designs") for name in "ab")
    assert sorted(a["edp"].dropna()) == sorted(b["edp"].dropna())
    same = (a["edp"] == a["energy_j"] * a["latency_s"]) | a["edp"].isna()
    assert same.all()


def test_questions_plots_and_sweeps_know_the_names(tmp_path: Path) -> None:
    small = {
        "name": "real",
        "model": {"base": "encoder", "layers": [1, 2], "hidden": [128, 256], "heads": 2},
        "accelerator": {"base": "systolic", "rows": [16, 32]},
        "workloads": {"serve": {"batch": 2}, "tune": {"mode": "training"}},
        "define": {"work": "serve.latency_s * tune.energy_j", "thrift": "work / area_mm2"},
        "objectives": {"work": "min", "area_mm2": "min"},
        "record": ["thrift"],
    }
    folder = tmp_path / "r"
    transcode.search(small, out=folder)
    front = front_of(folder)
    assert (front["work"] == front["serve.latency_s"] * front["tune.energy_j"]).all()
    assert (front["thrift"] == front["work"] / front["area_mm2"]).all()
    bound = float(front["work"].median())
    words = [
        "front",
        str(folder),
        "--where",
        f"work <= {bound!r}",
        "--objectives",
        "thrift,area_mm2",
    ]
    done = CliRunner().invoke(main, [*words, "--format", "csv"])
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert done.exit_code == 0 and rows and all(float(row["work"]) <= bound for row in rows)
    checked = CliRunner().invoke(main, ["check", str(folder), "--require", "work <= 1 kJ*s"])
    assert checked.exit_code == 0, checked.output
    picture = plot.plot_run(folder, tmp_path / "front.png")
    assert picture.stat().st_size > 10_000
    for table, out in (("r/front.csv", "once.csv"), ("once.csv", "twice.csv")):
        words = ["sweep", str(tmp_path / table), "--out", str(tmp_path / out)]
        assert CliRunner().invoke(elector, words).exit_code == 0
    swept = pd.read_csv(tmp_path / "twice.csv")
    for name in ("work", "thrift", "serve.latency_s", "tune.energy_j", "area_mm2"):
        assert front[name].equals(swept[name]), name


def test_an_objective_may_be_an_expression_itself(tmp_path: Path) -> None:
    text = "energy_j * latency_s"
    named = run(tmp_path / "a", {**DEFINED, "objectives": {"edp": "min", "area_mm2": "min"}})
    own = {k: v for k, v in DEFINED.items() if k not in ("define", "record", "constraints")}
    own["constraints"] = ["energy_j * latency_s <= 300 nJ*s", "area_mm2 <= 120"]
    plain = run(tmp_path / "b", {**own, "objectives": {text: "min", "area_mm2": "min"}})
    assert named.front.ids.tolist() == plain.front.ids.tolist()
    assert named.front.results["edp"].tolist() == plain.front.results[text].tolist()


def test_a_space_without_definitions_keeps_its_fingerprint() -> None:
    assert "define" not in describe(load(SMALL))
    assert describe(restore(describe(load(DEFINED)))) == describe(load(DEFINED))


def test_a_product_of_very_many_factors_is_a_plain_number(tmp_path: Path) -> None:
    """Its unit was derived factor by factor: 2 ** 60 of them."""
    powers = {f"p{i}": f"p{i - 1} * p{i - 1}" for i in range(1, 60)}
    space = {**SMALL, "define": {"p0": "energy_j", **powers}, "record": ["p4", "p59"]}
    results = run(tmp_path / "r", space).front.results
    assert results["p4"].tolist() == pytest.approx(results["energy_j"] ** 16)
    assert (results["p59"] == 0).all()
    units = quantities(load(space), ["energy_j"])
    assert units["p2"].unit == "J*J*J*J" and units["p59"].unit == ""


@pytest.mark.parametrize(
    ("define", "more", "words"),
    [
        ({"edp": "energy_j * latncy_s"}, {}, "define.edp: unknown name .*did you mean latency_s"),
        ({"edp": "energy_j *"}, {}, "define.edp: cannot be read: it ends too soon"),
        ({"edp": "energy_j <= 5"}, {}, "define.edp: is a condition, not a number"),
        ({"edp": "-(not energy_j)"}, {}, "define.edp: is a condition, not a number"),
        ({"edp": "(energy_j and 2) * 2"}, {}, "define.edp: is a condition, not a number"),
        ({"edp": "accelerator.dataflow * 2"}, {}, "define.edp: text can only be compared"),
        ({"edp": "energy_j + 5 MB"}, {}, "define.edp: is not in J"),
        ({"edp": "5 ms"}, {}, "define.edp: the unit of '5 ms' does not follow"),
        ({"edp": "other + 1", "other": "edp * 2"}, {}, "define.edp: is made of itself"),
        ({"latency_s": "energy_j"}, {}, "define.latency_s: is a result already"),
        ({"a b": "energy_j"}, {}, "define: is no name for an expression"),
        ({"feasible": "energy_j"}, {}, "define: is no name for an expression"),
        ({"energy_j_low": "energy_j"}, {}, "define.energy_j_low: is what an end of the interval"),
        ({"edp": "energy_j", "edp_high": "2 * edp"}, {}, "an end of the interval of edp"),
        ({"edp": "5"}, {}, "objectives: is the same number for every design"),
        ({"edp": "two * 3", "two": "2"}, {}, "objectives: is the same number for every design"),
        ({}, {"objectives": {"1 + 1": "min"}}, "objectives: is the same number for every design"),
        ({"edp": ["energy_j"]}, {}, "define.edp: an expression is text"),
        ({"edp": "energy_j"}, {"objectives": {"edq": "min"}}, "unknown result .*did you mean edp"),
        ({"edp": "energy_j"}, {"objectives": {"edp": "min"}, "record": ["epd"]}, "record: unknown"),
        ({"edp": "energy_j"}, {"constraints": ["edp <= 5 s"]}, "constraints: is not in J"),
        (
            {"edp": "latency_s"},
            {"workloads": {"serve": {"batch": 2}}, "objectives": {"edp": "min"}},
            "define.edp: with several workloads a result needs the name of one",
        ),
    ],
)
def test_what_cannot_be_defined_is_refused(
    tmp_path: Path, define: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    space = {**SMALL, "objectives": {"edp": "min"}, "define": define, **more}
    if "edp" not in define and "objectives" not in more:
        space["objectives"] = {"energy_j": "min"}
    with pytest.raises(InputError, match=words):
        run(tmp_path / "r", space)
    assert not (tmp_path / "r").exists()


def test_a_design_that_breaks_a_constraint_says_which(tmp_path: Path) -> None:
    run(tmp_path / "r")
    designs = pd.read_parquet(tmp_path / "r" / "designs")
    assert designs[designs["feasible"]]["reason"].isna().all()
    rest = designs[~designs["feasible"]]
    assert rest["reason"].notna().all()
    for text, holds in (
        ("edp <= 300 nJ*s", rest["edp"] <= 300e-9),
        ("area_mm2 <= 120", rest["area_mm2"] <= 120),
    ):
        said = rest["reason"] == f"constraint: {text}"
        assert said.any() and not holds[said].any()
    lost = rest["latency_s"].isna()
    assert lost.any() and rest[lost]["reason"].str.startswith("main memory").all()
    other = {**DEFINED, "constraints": ["area_mm2 <= 1e-9"]}
    done = run(tmp_path / "none", other)
    assert len(done.front) == 0
    assert done.rejections.counts["area_mm2 <= 1e-9"] == 300
    assert not [name for name in done.rejections.counts if name.startswith("constraint")]


def test_a_name_that_nothing_uses_harms_nothing(tmp_path: Path) -> None:
    """The search had run to its end before its front could not be described."""
    space = {
        **{key: value for key, value in SMALL.items() if key != "constraints"},
        "define": {"total": "energy_j + 0 J", "wide": "model.hidden + 0"},
        "objectives": {"latency_s": "min", "area_mm2": "min"},
    }
    run(tmp_path / "r", space, budget=8)
    assert (tmp_path / "r" / "front.json").exists()


def test_runs_with_expressions_are_merged(tmp_path: Path) -> None:
    """What a space defines is worked out again; what nobody asked for need not be recorded."""
    space = {
        "name": "s",
        "model": {"base": "bert-tiny"},
        "accelerator": {"base": "systolic", "rows": [16, 32, 64]},
        "define": {"edp": "energy_j * latency_s", "twice": "2 * edp", "idle": "power_w * 2"},
        "objectives": {"twice": "min", "area_mm2 * accelerator.cols": "min"},
        "constraints": ["edp > 0", "accelerator.arrays <= 9"],
    }
    for seed in (1, 2):
        transcode.search(space, out=tmp_path / str(seed), seed=seed, budget=2, sampler="random")
    whole = transcode.search(space, out=tmp_path / "whole", sampler="enumerate")
    runs = [str(tmp_path / str(seed)) for seed in (1, 2)]
    done = CliRunner().invoke(main, ["merge", *runs, "--out", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    merged = pd.read_parquet(tmp_path / "one" / "designs").set_index("accelerator.rows")
    every = pd.read_parquet(whole.folder / "designs").set_index("accelerator.rows")
    assert len(merged) >= 2
    pd.testing.assert_frame_equal(
        merged.drop(columns="id"), every.loc[merged.index, merged.columns].drop(columns="id")
    )
