"""Questions to finished runs: another front, a comparison, a check; and designs to begin with."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from search_fakes import SMALL, fake

import transcode
from elector.base import quantity
from elector.base.errors import InputError
from transcode import pareto, runs
from transcode.cli import main
from transcode.plot import plot_comparison
from transcode.search import Result
from transcode.space import describe, digest, load, restore

CONDITION = "area_mm2 <= 60 and accelerator.dataflow != 'is'"


def run(out: Path, **options: Any) -> Result:
    options = {"sampler": "evolve", "budget": 400, "batch": 100, **options}
    return transcode.search(SMALL, out=out, evaluator=fake, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole space in `all`, a part of it in `few`."""
    root = tmp_path_factory.mktemp("runs")
    run(root / "all", sampler="enumerate", budget=None, batch=500)
    run(root / "few", budget=150)
    return root


def good(folder: Path) -> pd.DataFrame:
    designs = pd.read_parquet(folder / "designs")
    return designs[designs["feasible"]]


# ---- another front


@pytest.mark.parametrize("objectives", [None, "latency_s,area_mm2", "energy_j:max , area_mm2"])
def test_another_front_of_the_recorded_designs(folder: Path, objectives: str | None) -> None:
    answer = runs.query.front(runs.query.opened(folder / "all"), [CONDITION], objectives)
    rows = good(folder / "all")
    rows = rows[(rows["area_mm2"] <= 60) & (rows["accelerator.dataflow"] != "is")]
    points = np.stack(
        [rows[o.name] * (-1 if o.maximise else 1) for o in answer.space.objectives], axis=1
    )
    expected = rows[pareto.nondominated(points)]
    assert set(answer.archive.ids.tolist()) == set(expected["id"]) != set()
    assert answer.looked_at == len(rows)
    shown = runs.front.columns(answer.space, answer.archive.codes)
    recorded = expected.set_index("id").loc[answer.archive.ids]
    for name in ("model.feed_forward", "accelerator.dataflow", "accelerator.rows"):
        assert [shown[name][i] for i in range(len(recorded))] == recorded[name].tolist()


def test_no_question_gives_the_front_itself(folder: Path) -> None:
    answer = runs.query.front(runs.query.opened(folder / "all"), [], None)
    assert answer.archive.ids.tolist() == pd.read_csv(folder / "all" / "front.csv")["id"].tolist()


@pytest.mark.parametrize(
    ("where", "objectives", "words"),
    [
        ("latency <= 1", None, "did you mean latency_s"),
        ("latency_s", None, "is not a condition"),
        ("latency_s <= 5 kg", None, "kg"),
        ("latency_s <= 1", "power_w", "not recorded"),
        ("latency_s <= 1", "latency_s:down", "min or max"),
    ],
)
def test_bad_questions(folder: Path, where: str, objectives: str | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        runs.query.front(runs.query.opened(folder / "few"), [where], objectives)
    assert words in str(caught.value)


def test_front_of_the_command(folder: Path) -> None:
    def front(*more: str) -> Any:
        return CliRunner().invoke(main, ["front", str(folder / "all"), *more])

    csv = front("--where", "area_mm2 <= 60", "--format", "csv")
    assert csv.exit_code == 0 and csv.stdout.startswith("id,model,accelerator,")
    document = json.loads(front("--objectives", "latency_s", "--format", "json").stdout)
    assert document["objectives"] == [{"name": "latency_s", "direction": "min", "unit": "s"}]
    assert document["reference_point"] is None and document["points"]
    assert "recorded and asked for" in front("--where", "area_mm2 <= 60").stdout
    assert front("--where", "area_mm2 <= 0").exit_code == 3
    assert front("--where", "nothing").exit_code == 2


def test_a_part_that_is_not_whole_is_named(folder: Path, tmp_path: Path) -> None:
    out = run(tmp_path / "r").folder
    part = out / "designs" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"part-000001.parquet: is not whole"):
        runs.query.front(runs.query.opened(out), [], None)


@pytest.mark.parametrize("name", ["bert", "gpt2", "smoke"])
def test_a_space_comes_back_from_its_manifest(name: str) -> None:
    space = load(name)
    description = json.loads(json.dumps(describe(space)))
    again = restore(description)
    assert digest(describe(again)) == digest(description)
    assert again.sections == space.sections and again.where == space.where


# ---- two runs


def test_comparison(folder: Path, tmp_path: Path) -> None:
    comparison = runs.comparison.compare(folder / "all", folder / "few")
    whole, part = (json.loads((folder / n / "front.json").read_text()) for n in ("all", "few"))
    assert comparison.hypervolume == (whole["hypervolume"], part["hypervolume"])
    assert comparison.both == pytest.approx(whole["hypervolume"])  # the true front has it all
    assert comparison.coverage[0] == 1.0 > comparison.coverage[1]
    assert comparison.epsilon[0] == 0.0 < comparison.epsilon[1] < 1.0
    assert comparison.own[0] > 0 == comparison.own[1]
    assert plot_comparison(comparison, tmp_path / "both.png").stat().st_size > 1000
    same = runs.comparison.compare(folder / "all", folder / "all")
    assert same.coverage == (1.0, 1.0) and same.epsilon == (0.0, 0.0) and same.own == (0, 0)
    done = CliRunner().invoke(
        main, ["compare", str(folder / "all"), str(folder / "few"), "--format", "json"]
    )
    assert [row["coverage"] for row in json.loads(done.stdout)] == list(comparison.coverage)


def test_runs_without_a_common_reference_are_not_compared(folder: Path, tmp_path: Path) -> None:
    other = {**SMALL, "reference_point": {"latency_s": 1.0}}
    transcode.search(other, out=tmp_path / "r", evaluator=fake, budget=100)
    with pytest.raises(InputError, match="reference point"):
        runs.comparison.compare(folder / "all", tmp_path / "r")


# ---- requirements


def test_requirements(folder: Path) -> None:
    best = good(folder / "few").sort_values("latency_s").iloc[0]
    recorded = runs.query.opened(folder / "few")
    verdicts = runs.checks.check(
        recorded,
        [
            f"latency_s <= {best['latency_s']!r}".replace("np.float64(", "").replace(")", ""),
            f"latency_s <= {best['latency_s'] / 1.1}",
            "latency_s < 1 s and accelerator.dataflow == 'os'",
            "hypervolume >= baseline",
            "hypervolume >= 0.5 * baseline and designs == 150",
        ],
        str(folder / "all"),
    )
    assert [v.passed for v in verdicts] == [True, False, True, False, True]
    assert verdicts[1].missed == pytest.approx(0.1) and verdicts[1].design == best["id"]
    assert "missed by 10 %" in verdicts[1].text


def test_requirements_have_units_and_comparisons_are_exact(folder: Path) -> None:
    """At a bound that a design stands on: <= holds, < does not, and the values have units."""
    recorded = runs.query.opened(folder / "few")
    designs = good(folder / "few").sort_values("latency_s", kind="stable")
    least, most = float(designs["latency_s"].iloc[0]), float(designs["latency_s"].iloc[-1])

    def verdict(text: str) -> runs.checks.Verdict:
        return runs.checks.check(recorded, [text], None)[0]

    for unit, size in (("", 1.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("h", 3600.0)):
        assert verdict(f"latency_s <= {least / size * 1.001!r} {unit}").passed
        assert not verdict(f"latency_s <= {least / size * 0.999!r} {unit}").passed
    for sign, holds in (("<=", True), ("<", False), ("==", True), (">=", True), ("!=", True)):
        assert verdict(f"latency_s {sign} {least!r}").passed is holds, sign
    assert not verdict(f"latency_s > {most!r}").passed and verdict(f"latency_s >= {most!r}").passed
    stood_on = verdict(f"latency_s < {least!r}")
    assert stood_on.text.endswith("just at the bound, which < and > leave out")
    assert quantity.show(least, "s", 5) in stood_on.text
    # furthest inside its bounds, not the first that holds
    assert verdict("latency_s <= 1 h").design == designs["id"].iloc[0]
    for wrong, part in (("5 MB", "is not in s"), ("5 furlong", "allowed: s, ms, us")):
        with pytest.raises(InputError, match=part):
            verdict(f"latency_s <= {wrong}")
    for wrong, part in (("latency_s = 1", "it is '=='"), ("latency_s < 1 && id > 1", "'and'")):
        with pytest.raises(InputError, match=part):
            verdict(wrong)


def test_check_of_the_command(folder: Path, tmp_path: Path) -> None:
    def check(*more: str) -> Any:
        return CliRunner().invoke(main, ["check", str(folder / "few"), *more])

    assert check("--require", "latency_s <= 1 s").exit_code == 0
    missed = check(
        "--require",
        "latency_s <= 1 s",
        "--require",
        "area_mm2 < 0.1",
        "--junit",
        str(tmp_path / "j.xml"),
    )
    assert missed.exit_code == 4 and "area_mm2 < 0.1" in missed.stdout
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert suite.attrib["tests"] == "2" and suite.attrib["failures"] == "1"
    assert [len(case) for case in suite] == [0, 1]
    for bad in (
        ["--require", "hypervolume > baseline"],
        ["--require", "speed > 1"],
        [],
        ["--require", "front > baseline", "--baseline", "nowhere"],
    ):
        assert check(*bad).exit_code == 2, bad


# ---- designs to begin with, and when to end


def test_warm_start(folder: Path, tmp_path: Path) -> None:
    front = folder / "all" / "front.csv"
    begun = run(tmp_path / "warm", budget=200, warm_start=front)
    cold = run(tmp_path / "cold", budget=200)
    truth = json.loads((folder / "all" / "front.json").read_text())["hypervolume"]
    assert begun.manifest["hypervolume"] == truth > cold.manifest["hypervolume"]
    assert begun.manifest["warm_start"] == {
        "file": "front.csv",
        "rows": len(pd.read_csv(front)),
        "designs": len(pd.read_csv(front)),
    }
    assert any("begins with" in note for note in begun.notes)


def test_a_table_of_other_designs_is_refused(folder: Path, tmp_path: Path) -> None:
    table = pd.read_csv(folder / "all" / "front.csv")
    table["accelerator.rows"] = 77
    table.to_csv(tmp_path / "other.csv", index=False)
    table.drop(columns="model.hidden").to_csv(tmp_path / "short.csv", index=False)
    for name, words in (("other", "none of its"), ("short", "column is missing")):
        with pytest.raises(InputError, match=words):
            run(tmp_path / "r", warm_start=tmp_path / f"{name}.csv")
    with pytest.raises(InputError, match="cannot begin with given designs"):
        run(tmp_path / "r", sampler="random", warm_start=folder / "all" / "front.csv")
    assert not (tmp_path / "r").exists()


def test_a_stall_ends_a_run(tmp_path: Path) -> None:
    done = run(tmp_path / "r", budget=None, stall=0.001, stall_batches=8)
    assert done.manifest["status"] == "finished: hypervolume gained less than 0.001 over 8 batches"
    assert done.manifest["designs"] < 3456
    again = run(tmp_path / "r", budget=None, stall=0.001, stall_batches=8)
    assert again.manifest["designs"] == done.manifest["designs"]
    with pytest.raises(InputError, match="share"):
        run(tmp_path / "s", stall=2.0)


def test_evolve_interrupted_is_as_if_never_interrupted(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", budget=600, batch=50)
    parts = sorted((whole.folder / "designs").glob("part-*"))
    run(tmp_path / "cut", budget=600, batch=50)
    for part in sorted((tmp_path / "cut" / "designs").glob("part-*"))[len(parts) // 2 :]:
        part.unlink()
    again = run(tmp_path / "cut", budget=600, batch=50)
    assert (again.folder / "front.csv").read_bytes() == (whole.folder / "front.csv").read_bytes()


def test_merged_runs_are_one(folder: Path, tmp_path: Path) -> None:
    parts = [run(tmp_path / f"seed-{seed}", seed=seed, budget=300).folder for seed in (1, 2, 3)]
    done = CliRunner().invoke(main, ["merge", *map(str, parts), "--out", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    designs = pd.concat([pd.read_parquet(part / "designs") for part in parts])
    settings = [c for c in designs if "." in c]
    once = designs.drop_duplicates(settings)
    merged = pd.read_parquet(tmp_path / "one" / "designs")
    assert merged["id"].tolist() == list(range(len(once))) and len(once) < len(designs)
    points = once.loc[once["feasible"], ["latency_s", "energy_j"]].to_numpy()
    front = pd.read_csv(tmp_path / "one" / "front.csv")
    assert len(front) == pareto.nondominated(points).sum()
    assert (tmp_path / "one" / "study.log").exists()
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert [m["seed"] for m in manifest["merged"]] == [1, 2, 3]
    for bad in (
        [parts[0], parts[1], "--out", tmp_path / "one"],
        [parts[0], tmp_path / "nowhere", "--out", tmp_path / "two"],
    ):
        assert CliRunner().invoke(main, ["merge", *map(str, bad)]).exit_code == 2
    with pytest.raises(InputError, match="random cannot go on from that"):
        run(tmp_path / "one", seed=1, sampler="random")
    further = run(tmp_path / "one", seed=1, budget=len(once) + 100)
    table = pd.read_parquet(tmp_path / "one" / "designs")
    assert len(table) == len(once) + 100 and not table.duplicated(settings).any()
    assert further.manifest["sampler"]["used"] == "evolve" and "merged" in further.manifest
    run(tmp_path / "one", seed=1, budget=len(once) + 120)  # and again, as any run


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), (" ", "is empty"), ("energy_j,energy_j:max", "named twice")],
)
def test_objectives_that_say_nothing_or_twice(folder: Path, text: str, words: str) -> None:
    for command in ("front", "plot"):
        said = CliRunner().invoke(main, [command, str(folder / "all"), "--objectives", text])
        assert said.exit_code == 2 and f"--objectives: {words}" in said.stderr
    with pytest.raises(InputError, match=words):
        transcode.front(folder / "all", objectives=text)


@pytest.mark.parametrize("value", [3, {"a": 1}, b"id > 1", np.array([1, 2]), [3]])
def test_a_question_is_text(folder: Path, value: Any) -> None:
    with pytest.raises(InputError, match="where: must be text"):
        transcode.front(folder / "all", where=value)
    with pytest.raises(InputError, match="objectives: must be text"):
        transcode.front(folder / "all", objectives=value)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda row: ",".join(row.split(",")[:4]), "has 4 cells, the header "),
        (lambda row: row + ",more", " cells, the header "),
        (lambda row: ",".join(c if i else "" for i, c in enumerate(row.split(","))), ""),
    ],
)
def test_a_warm_start_that_was_cut(
    folder: Path, tmp_path: Path, end: Callable[[str], str], words: str
) -> None:
    lines = (folder / "all" / "front.csv").read_text().splitlines()
    cut = tmp_path / "cut.csv"
    cut.write_text("\n".join([*lines[:-1], end(lines[-1])]))
    if not words:  # an id is no setting
        assert len(run(tmp_path / "r", budget=50, warm_start=cut).front)
        return
    with pytest.raises(InputError, match=rf"cut\.csv: line {len(lines)}: .*{words}"):
        run(tmp_path / "r", warm_start=cut)
    assert [path.name for path in tmp_path.iterdir()] == ["cut.csv"]


def test_a_warm_start_is_not_lost_on_resuming(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.csv"
    pd.read_parquet(folder / "all" / "designs").head(300).to_csv(start, index=False)
    options: dict[str, Any] = {"budget": 600, "batch": 100}
    run(tmp_path / "whole", warm_start=start, **options)
    run(tmp_path / "cut", warm_start=start, **options)
    for part in sorted((tmp_path / "cut" / "designs").glob("part-*"))[1:]:
        part.unlink()
    start.unlink()
    run(tmp_path / "cut", **options)
    tables = [pd.read_parquet(tmp_path / name / "designs") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*tables)


def test_small_parts_are_united(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"budget": 600, "batch": 20}
    monkeypatch.setattr(runs.parts, "_SEVERAL", 10**6)
    run(tmp_path / "many", **options)
    monkeypatch.setattr(runs.parts, "_SEVERAL", 8)
    run(tmp_path / "few", **options)
    many, few = ((tmp_path / name / "designs") for name in ("many", "few"))
    assert len(list(many.glob("part-*"))) > 20 and len(list(few.glob("part-*"))) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(many), pd.read_parquet(few))
    # killed after the large one was put in place: small ones are still there
    for part in sorted(many.glob("part-*"))[3:9]:
        shutil.copy(part, few / part.name)
    answer = runs.query.front(runs.query.opened(tmp_path / "few"), ["latency_s <= 1"], None)
    assert answer.looked_at == len(pd.read_parquet(many).query("feasible"))
    again = run(tmp_path / "few", budget=660, batch=20)
    assert again.manifest["designs"] == 660
    table = pd.read_parquet(few)
    assert table["id"].tolist() == list(range(660))
    run(tmp_path / "many", budget=660, batch=20)
    assert (tmp_path / "many" / "front.csv").read_bytes() == (
        tmp_path / "few" / "front.csv"
    ).read_bytes()


# ---- one design by weights


def test_the_weighted_sum_chooses_the_best_of_all_recorded_designs(folder: Path) -> None:
    weights = {"latency_s": 0.5, "energy_j": 0.2, "area_mm2": 0.3}
    recorded = runs.query.opened(folder / "all")
    front, sums = runs.choice.ranked(runs.query.front(recorded, (), ",".join(weights)), weights)
    rows, largest = good(folder / "all"), front.archive.results
    each = [w * (1 - rows[n] / largest[n].max()) for n, w in weights.items()]
    by_hand = np.sum(each, axis=0)  # the front loses nothing that another design could have
    assert sums[0] == pytest.approx(by_hand.max(), rel=1e-12)
    assert front.archive.ids[0] in rows["id"].to_numpy()[by_hand >= by_hand.max() - 1e-12]
    assert (np.diff(sums) <= 0).all()


def test_weights_on_the_command_line(folder: Path) -> None:
    arguments = ["front", str(folder / "all"), "--weights", "latency_s=0.7, area_mm2 = 0.3"]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0
    assert "chosen: " in shown.output
    chosen = json.loads(CliRunner().invoke(main, [*arguments, "--format", "json"]).output)
    assert [o["name"] for o in chosen["objectives"]] == ["latency_s", "area_mm2"]
    assert [point["id"] for point in chosen["points"]] == [
        int(shown.output.partition("chosen: ")[2].partition(",")[0])
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency=1", "did you mean latency_s"),
        ("latency_s", "latency_s=0.5"),
        ("latency_s=-1", "above 0"),
        ("latency_s=nan", "above 0"),
        ("latency_s=1,latency_s=2", "named twice"),
        ("", "not recorded"),
    ],
)
def test_weights_that_cannot_be(folder: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        runs.choice.weights_of(runs.query.opened(folder / "all"), text)


def test_a_weight_on_what_is_no_objective(folder: Path) -> None:
    recorded = runs.query.opened(folder / "all")
    front = runs.query.front(recorded, (), "latency_s,area_mm2")
    with pytest.raises(InputError, match="is not an objective"):
        runs.choice.ranked(front, {"energy_j": 1.0})


# ---- one design; pictures of other fronts; another reference point


def test_a_design_by_its_number(folder: Path) -> None:
    best = transcode.front(folder / "all").iloc[0]
    chosen = transcode.front(folder / "all", where=f"id == {best['id']}")
    pd.testing.assert_frame_equal(chosen, transcode.front(folder / "all").iloc[:1], rtol=0)


@pytest.mark.parametrize("feasible", [True, False])
def test_show_is_what_was_recorded(folder: Path, feasible: bool) -> None:
    designs = pd.read_parquet(folder / "all" / "designs")
    wanted = designs[designs["feasible"] == feasible].iloc[3]
    words = ["show", str(folder / "all"), str(wanted["id"])]
    result = CliRunner().invoke(main, [*words, "--format", "json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["feasible"] is feasible and bool(shown["reason"]) is not feasible
    for name in ("latency_s", "energy_j", "area_mm2", "accelerator.rows"):
        assert shown[name] == wanted[name]
    text = CliRunner().invoke(main, words).stdout
    assert "elector simulate" in text and str(wanted["id"]) in text
    csv_text = CliRunner().invoke(main, [*words, "--format", "csv"]).stdout
    assert len(csv_text.splitlines()) == 2


def test_a_shown_design_is_a_space_with_the_same_results(folder: Path, tmp_path: Path) -> None:
    best = transcode.front(folder / "all").iloc[0]
    words = ["show", str(folder / "all"), str(best["id"]), "--yaml"]
    path = tmp_path / "design.yaml"
    path.write_text(CliRunner().invoke(main, words).stdout)
    again = transcode.search(path, out=tmp_path / "again", evaluator=fake)
    assert len(again.front) == 1
    row = transcode.front(tmp_path / "again").iloc[0]
    for name in load(path).objectives:
        assert row[name.name] == best[name.name]


def test_the_shown_command_simulates_the_design(tmp_path: Path) -> None:
    import shlex

    from elector.cli.commands import main as elector_main

    transcode.search("bert", out=tmp_path / "run", budget=300, sampler="random", batch=300)
    best = transcode.front(tmp_path / "run").iloc[0]
    words = ["show", str(tmp_path / "run"), str(best["id"]), "--format", "json"]
    commands = json.loads(CliRunner().invoke(main, words).stdout)["commands"]
    assert list(commands) == ["serve", "tune"]
    for workload, name in (("serve", "latency_s"), ("tune", "energy_j")):
        line = shlex.split(commands[workload]["simulate"])[1:]
        simulated = json.loads(CliRunner().invoke(elector_main, [*line, "--format", "json"]).stdout)
        assert simulated[name] == best[f"{workload}.{name}"]
        explained = shlex.split(commands[workload]["explain"])[1:]
        assert CliRunner().invoke(elector_main, explained).exit_code == 0


@pytest.mark.parametrize("number", ["999999999", "-1", "x"])
def test_a_number_of_no_design_is_refused(folder: Path, number: str) -> None:
    result = CliRunner().invoke(main, ["show", str(folder / "few"), "--", number])
    assert result.exit_code == 2 and number in result.stderr


def test_a_picture_of_another_front(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "few", tmp_path / "few")
    words = ["plot", str(tmp_path / "few"), "--where", CONDITION, "--objectives"]
    result = CliRunner().invoke(main, [*words, "latency_s,area_mm2"])
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()) == tmp_path / "few" / "selection.png"
    assert (tmp_path / "few" / "selection.png").stat().st_size > 10_000
    out = tmp_path / "mine.svg"
    assert CliRunner().invoke(main, [*words, "energy_j", "--out", str(out)]).exit_code == 0
    assert "best energy" in out.read_text() or out.stat().st_size > 5000
    impossible = [*words[:2], "--where", "area_mm2 <= 0"]
    assert CliRunner().invoke(main, impossible).exit_code == 3
    assert CliRunner().invoke(main, [*words, "latency"]).exit_code == 2


def test_runs_are_compared_against_a_point_of_ones_own(folder: Path, tmp_path: Path) -> None:
    """Hypervolumes of both runs under the same point, whatever their own."""
    a, b = folder / "all", tmp_path / "b"
    shutil.copytree(folder / "few", b)
    manifest = json.loads((b / "manifest.json").read_text())
    manifest["reference_point"] = {n: 2 * v for n, v in manifest["reference_point"].items()}
    (b / "manifest.json").write_text(json.dumps(manifest))
    names = list(manifest["space"]["objectives"])
    point = {name: f"{1.5 * value:.17g}" for name, value in manifest["reference_point"].items()}
    asked = ",".join(f"{name}={value}" for name, value in point.items())
    words = ["compare", str(a), str(b), "--format", "json"]
    assert CliRunner().invoke(main, words).exit_code == 2
    result = CliRunner().invoke(main, [*words, "--reference-point", asked])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    signs = np.array(
        [-1.0 if d == "max" else 1.0 for d in manifest["space"]["objectives"].values()]
    )
    for run_folder, row in zip((a, b), rows, strict=True):
        points = transcode.front(run_folder)[names].to_numpy() * signs
        reference = np.array([float(point[name]) for name in names]) * signs
        assert row["hypervolume"] == pytest.approx(pareto.hypervolume(points, reference))
    frame = transcode.compare(a, b, reference_point=point)
    assert list(frame["hypervolume"]) == [row["hypervolume"] for row in rows]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency_s=1s", "lacks an objective"),
        ("latency_s", "NAME=VALUE"),
        ("latency_s=1s,latency_s=2s", "given twice"),
        ("power_w=1,latency_s=1s", "no objective"),
        ("latency_s=1 kg", "latency_s=1"),
    ],
)
def test_points_that_cannot_be(folder: Path, text: str, words: str) -> None:
    call = ["compare", str(folder / "all"), str(folder / "few"), "--reference-point", text]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 2
    if "kg" not in text:
        assert words in result.stderr
