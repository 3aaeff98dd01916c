"""Intervals of a front, and which of its neighbours can be told apart."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from search_fakes import SMALL, fake

import elector
import transcode
from elector.base.errors import InputError
from elector.studies.error_widths import widths
from elector.studies.uncertainty import Sampling
from transcode import pareto, runs
from transcode.cli import main
from transcode.plot import picture
from transcode.runs import intervals, neighbours
from transcode.search import Result

SPACE: dict[str, Any] = {
    "name": "tiny",
    "model": {"base": "encoder", "layers": [2, 4], "hidden": [128, 256], "heads": [2]},
    "accelerator": [
        {"base": "systolic", "rows": [32, 128], "sram": ["1 MB", "4 MB"]},
        {"base": "a100-sxm-40gb"},
    ],
    "workload": {"task": "sst2", "sequence_length": 128},
    "define": {"edp": "energy_j * latency_s"},
    "objectives": {"accuracy": "max", "latency_s": "min", "edp": "min"},
    "record": ["area_mm2"],
}
SAMPLES = 60


def search(out: Path, space: Any = SPACE, **options: Any) -> Result:
    options = {"uncertainty": True, "samples": SAMPLES, **options}
    return transcode.search(space, out=out, jobs=1, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    search(out)
    return out


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "front.csv")


def run(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


# ---- intervals


def test_every_result_of_a_front_has_its_interval(folder: Path) -> None:
    front = table(folder)
    for name in ("accuracy", "latency_s", "edp", "area_mm2", "energy_j"):
        if name in front:
            inside = (front[f"{name}_low"] < front[name]) & (front[name] < front[f"{name}_high"])
            assert inside.all(), name
            place = list(front).index(name)
            assert list(front)[place + 1 : place + 3] == [f"{name}_low", f"{name}_high"]
    assert "accuracy_std_low" not in front
    told = json.loads((folder / "front.json").read_text())
    point = told["points"][0]["values"]
    assert point["edp_high"] == front["edp_high"][0]
    assert told["uncertainty"]["samples"] == SAMPLES and told["uncertainty"]["interval"] == 0.9


def test_they_are_those_of_a_sweep_of_the_front(folder: Path) -> None:
    front = table(folder)
    swept = elector.sweep(front, uncertainty=True, samples=SAMPLES)
    for name in ("latency_s", "area_mm2"):
        for end in ("low", "high"):
            assert (swept[f"{name}_{end}"] == front[f"{name}_{end}"]).all()
    assert (swept["edp_low"] == front["edp_low"]).all()  # only the space knows it: passed through


def test_a_front_keeps_to_limits_and_printed_dies(tmp_path: Path) -> None:
    """Boards at their limits, in a search as in a sweep: watts end there, a die is exact."""
    limits = {"h100-sxm-80gb": 700.0, "a100-sxm-80gb": 400.0, "l4-24gb": 72.0}
    space = {
        "name": "boards",
        "model": [{"base": "bert-large"}],
        "accelerator": [{"base": name} for name in limits],
        "workload": {"batch": 128},
        "objectives": {"latency_s": "min", "power_w": "min", "area_mm2": "min"},
    }
    search(tmp_path / "boards", space)
    front = table(tmp_path / "boards")
    limit = front["accelerator"].map(limits)
    assert len(front) > 1 and (front["power_w"] > 0.99 * limit).any()
    assert (front["power_w_high"] <= limit).all()
    assert "area_mm2_low" not in front or (front["area_mm2_low"] == front["area_mm2_high"]).all()


def test_an_accuracy_is_drawn_from_its_deviation(folder: Path) -> None:
    many = transcode.front(folder, uncertainty=True, samples=4000)
    expected = many["accuracy"] + 1.645 * many["accuracy_std"]
    assert many["accuracy_high"].to_numpy() == pytest.approx(expected.clip(upper=100), abs=0.15)


def test_the_same_draws_every_time_and_for_any_front(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    search(again)
    for name in ("front.csv", "front.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    whole = table(folder).set_index("id")
    some = transcode.front(
        folder, where="accelerator.rows == 32", uncertainty=True, samples=SAMPLES
    ).set_index("id")
    both = whole.index.intersection(some.index)
    assert len(both) and len(some) < len(whole)
    assert (whole.loc[both, "edp_low"] == some.loc[both, "edp_low"]).all()
    other = transcode.front(folder, uncertainty=True, samples=SAMPLES, seed=1)
    # (a low end may stand at what peak and main memory allow, whatever is drawn)
    assert (other["latency_s_high"] != table(folder)["latency_s_high"]).all()


def test_several_workloads_and_a_training_run_have_them(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "name": "two",
        "accelerator": {"base": "systolic", "rows": [32, 64, 128]},
        "workloads": {"serve": {"mode": "inference"}, "tune": {"mode": "training"}},
        "define": {},
        "objectives": {"serve.latency_s": "min", "tune.energy_j": "min", "area_mm2": "min"},
        "record": [],
        "workload": {"sequence_length": 64},
    }
    search(tmp_path / "two", space)
    front = table(tmp_path / "two")
    swept = elector.sweep(front, uncertainty=True, samples=SAMPLES)
    for name in ("serve.latency_s_low", "tune.energy_j_high", "area_mm2_low"):
        assert (swept[name] == front[name]).all()


def test_parameters_by_the_dozen_are_drawn_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A problem asks for some of its designs at a time; an evaluator of draws needs all."""
    space = {key: value for key, value in SPACE.items() if key != "workload"}
    space["workload"] = {"sequence_length": 128}
    result = search(tmp_path / "run", space | {"objectives": {"latency_s": "min", "edp": "min"}})
    usual = intervals.draw(result.space, result.front, Sampling.of(None, 50, 0))
    monkeypatch.setattr("transcode.objective._ASKED", 7 * len(result.space.parameters))
    few = intervals.draw(result.space, result.front, Sampling.of(None, 50, 0))
    for name, values in usual.values.items():
        np.testing.assert_array_equal(few.values[name], values)


def test_draws_in_which_a_design_cannot_run_leave_numbers(tmp_path: Path) -> None:
    """A power limit near what the memory takes at rest: no NaN in any file."""
    space = {
        "name": "limited",
        "model": {"base": "encoder", "layers": [2, 4], "hidden": [256, 768]},
        "accelerator": {"base": "gpu", "power_limit": ["80 W", "90 W", "120 W"]},
        "workload": {"batch": 1, "sequence_length": 128},
        "objectives": {"latency_s": "min", "energy_j": "min", "parameters": "max"},
    }
    result = search(tmp_path / "run", space, samples=200)
    text = (result.folder / "front.json").read_text("utf-8")
    assert "NaN" not in text and json.loads(text)["uncertainty"]["neighbours"]
    assert np.isfinite(table(result.folder).filter(regex="_low|_high").to_numpy()).all()
    assert "cannot" not in run("front", result.folder, "--uncertainty").stdout


def test_a_search_without_them_takes_them_away(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    search(tmp_path / "run", uncertainty=False)
    assert "latency_s_low" not in table(tmp_path / "run")
    shown = run("front", tmp_path / "run", "--uncertainty", "--samples", SAMPLES, "--format", "csv")
    assert shown.stdout == (folder / "front.csv").read_text()
    assert "latency_s_low" not in table(tmp_path / "run"), "a question writes nothing"


def test_what_has_no_constants_to_draw_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an evaluator of your own"):
        transcode.search(SMALL, out=tmp_path / "own", evaluator=fake, uncertainty=True)
    assert not (tmp_path / "own").exists()
    transcode.search(SMALL, out=tmp_path / "own", evaluator=fake, budget=50)
    with pytest.raises(InputError, match="recorded with another simulator"):
        transcode.front(tmp_path / "own", uncertainty=True, samples=SAMPLES)


# ---- neighbours


def slow_neighbours(points: np.ndarray) -> list[tuple[int, int]]:
    """By the definition: no third point in the box of two."""
    pairs = []
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            low, high = np.minimum(points[i], points[j]), np.maximum(points[i], points[j])
            inside = ((low <= points) & (points <= high)).all(axis=1)
            inside[[i, j]] = False
            if not inside.any():
                pairs.append((i, j))
    return pairs


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_nothing_lies_between_neighbours(objectives: int) -> None:
    points = np.random.default_rng(objectives).random((200, objectives))
    front = points[pareto.nondominated(points)]
    pairs = neighbours.neighbours(front)
    assert pairs == slow_neighbours(front)
    if objectives == 2:  # those next to each other along the staircase
        order = np.argsort(front[:, 0])
        expected = {tuple(sorted(pair)) for pair in itertools.pairwise(order.tolist())}
        assert set(pairs) == expected
    assert neighbours.neighbours(front[:1]) == []


def compared(folder: Path, keep: list[int], samples: int = 600) -> neighbours.NeighbourComparison:
    """The comparison of some designs of the run, whatever front they are of."""
    recorded = runs.query.opened(folder)
    answer = runs.query.front(recorded, [" or ".join(f"id == {i}" for i in keep)], None)
    return neighbours.compare(answer.space, answer.archive, Sampling.of(None, samples))


def test_what_two_designs_share_cancels(folder: Path) -> None:
    """The interval of a ratio is narrower than the two intervals of the designs allow."""
    front = runs.query.front(runs.query.opened(folder), (), None)
    sampling = Sampling.of(None, 600)
    comparison = neighbours.compare(front.space, front.archive, sampling)
    alone = intervals.draw(front.space, front.archive, sampling).values["latency_s"]
    machines = dict(zip(table(folder)["id"], table(folder)["accelerator"], strict=True))
    narrower, shared = 0, widths()["*", "*", "*"].shared
    # of two errors that share nothing the root of two; constants that cancel make it less
    most = np.sqrt(2.0 * (1.0 - shared))
    assert most < 0.9 * np.sqrt(2.0)
    for pair in comparison.pairs:
        step = next(s for s in pair.steps if s.objective == "latency_s")
        if machines[pair.a] == machines[pair.b] and not step.equal:
            width = np.ptp(np.quantile(np.log(alone), (0.05, 0.95), axis=0), axis=0).max()
            assert np.log(step.high / step.low) < 1.1 * most * width  # widths of 600 draws
            narrower += 1
    assert narrower


def test_of_a_large_front_some_designs_are_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = runs.query.front(runs.query.opened(folder), (), None)
    size, sampling = len(front.archive), Sampling.of(None, 40)
    assert not neighbours.compare(front.space, front.archive, sampling).thinned
    monkeypatch.setattr(neighbours, "MOST", size - 2)
    comparison = neighbours.compare(front.space, front.archive, sampling)
    assert comparison.thinned and comparison.designs == size - 2
    # in pieces as all together
    whole = intervals.with_intervals(front.space, front.archive, sampling).results
    monkeypatch.setattr("elector.studies.uncertainty._TOGETHER", 80)
    monkeypatch.setattr(neighbours, "_TOGETHER", 2)
    apart = intervals.with_intervals(front.space, front.archive, sampling).results
    assert all(np.array_equal(values, apart[name]) for name, values in whole.items())
    again = neighbours.compare(front.space, front.archive, sampling)
    assert [s.name for s in again.sources] == [s.name for s in comparison.sources]


def test_verdicts_follow_their_steps() -> None:
    def pair(*betters: int | None) -> neighbours.Pair:
        steps = [
            neighbours.NeighbourStep("x", "ratio", 1, 0.5, 2, better, False) for better in betters
        ]
        return neighbours.Pair(1, 2, tuple(steps))

    assert pair(None, None).verdict == neighbours.OPEN
    assert pair(1, 2, None).verdict == neighbours.APART
    assert pair(1, None).verdict == "1 may beat it"
    equal = replace(pair(1, None), steps=(*pair(1).steps, replace(pair(None).steps[0], equal=True)))
    assert equal.verdict == neighbours.APART


def test_a_source_that_is_known_exactly_settles_what_it_explains(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without errors of the model only constants and accuracies are left to be measured."""
    recorded = runs.query.opened(folder)
    front = runs.query.front(recorded, (), "latency_s,edp,area_mm2")
    before = neighbours.compare(front.space, front.archive, Sampling.of(None, 400))
    assert before.sources[0].kind == "cases" and before.open > 0
    assert 0 < sum(s.share for s in before.sources) <= 1.1
    exact = 1.0 + 1e-9
    monkeypatch.setattr(
        "elector.studies.uncertainty.width_of",
        lambda kind: (_width(exact), kind),
    )
    after = neighbours.compare(front.space, front.archive, Sampling.of(None, 400))
    assert after.open < before.open
    assert all(source.kind == "constant" for source in after.sources)
    assert after.counts[neighbours.APART] > before.counts[neighbours.APART]


def _width(factor: float) -> Any:
    from elector.studies.error_widths import Width

    return Width(factor, factor, 10, 0.5)


# ---- what is shown


def test_the_command_shows_what_the_search_wrote(folder: Path) -> None:
    shown = run("front", folder, "--uncertainty").stdout
    assert "nine times of ten between" in shown and "pairs of neighbours" in shown
    assert "what would settle most" in shown
    below = shown.partition("nine times of ten between")[2].splitlines()
    assert max(map(len, below)) <= 80
    told = json.loads(run("front", folder, "--uncertainty", "--format", "json").stdout)
    assert told == json.loads((folder / "front.json").read_text())
    drawn = run("front", folder, "--uncertainty", "--samples", SAMPLES, "--format", "json").stdout
    assert json.loads(drawn)["uncertainty"] == told["uncertainty"]
    four = "area_mm2,edp,latency_s,accuracy"
    asked = run("front", folder, "--uncertainty", "--samples", "40", "--objectives", four).stdout
    below = asked.partition("nine times of ten between")[2]
    assert "area_mm2" in below and max(map(len, below.splitlines())) <= 80


def test_the_search_shows_them_and_the_picture_has_bars(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(SPACE))
    shown = run(
        "search", path, "--out", tmp_path / "run", "--uncertainty", "--samples", SAMPLES, "--quiet"
    ).stdout
    assert "pairs of neighbours" in shown and (tmp_path / "run" / "front.png").exists()
    columns = {
        name: list(column)
        for name, column in zip(
            *(lambda rows: (rows[0], zip(*rows[1:], strict=True)))(
                list(csv.reader((folder / "front.csv").open()))
            ),
            strict=True,
        )
    }
    info = picture.info(columns, json.loads((folder / "front.json").read_text()))
    assert info.intervals and set(info.bars) == {"accuracy", "latency_s", "edp"}
    axis = next(a for a in info.axes if a.name == "latency_s")
    low = (axis.values - info.bars["latency_s"][0]) * axis.size
    assert low == pytest.approx(np.array(columns["latency_s_low"], dtype=float))


def test_the_page_has_them(folder: Path, tmp_path: Path) -> None:
    from transcode.pages.content import gathered

    page = gathered(folder, None)
    assert set(page.told["bars"]) == {"accuracy", "latency_s", "edp"}
    assert {"low:edp", "high:latency_s", "between:edp"} <= set(page.columns.index)
    assert transcode.report(folder, out=tmp_path / "page.html")
    assert "intervals of 90 %" in (tmp_path / "page.html").read_text()


def test_a_front_that_was_damaged(folder: Path, tmp_path: Path) -> None:
    """Intervals are drawn again, and a cut file is named."""
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "front.json"
    text = path.read_text()
    path.write_text(text[:200])
    result = run("front", path.parent, "--uncertainty")
    assert "note: front.json is damaged; intervals are drawn again" in result.stderr
    assert "pairs of neighbours" in result.stdout
    told = json.loads(text)
    told["uncertainty"] = {"samples": "many"}
    path.write_text(json.dumps(told))
    assert "pairs of neighbours" in run("front", path.parent, "--uncertainty").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--uncertainty", "--samples", "0"], "--samples"),
        (["--uncertainty", "--seed", "-1"], "--seed"),
        (["--uncertainty", "--weights", "edp=1"], "does not go with --weights"),
    ],
)
def test_bad_input(folder: Path, words: list[str], said: str) -> None:
    assert said in run("front", folder, *words, code=2).output


def test_options_without_effect_are_refused(folder: Path) -> None:
    for option in ("--samples", "--seed"):
        shown = run("front", folder, option, "50", code=2)
        assert f"{option}: is for the draws of --uncertainty" in shown.output
    with pytest.raises(InputError, match="samples: must be a whole number"):
        transcode.search(SPACE, out=folder, uncertainty=True, samples=0)
