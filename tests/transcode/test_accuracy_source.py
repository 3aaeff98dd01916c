"""The key `accuracy` of a space: sources, files of rows, bounds; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import InputError
from transcode import accuracy, plot
from transcode.accuracy.source_settings import AccuracySettings
from transcode.accuracy.user_rows import read_rows
from transcode.cli import report
from transcode.space import describe, digest, load, restore

HEADER = "name,task,metric,score,std,layers,hidden,heads,feed_forward,parameters,source,evidence"
ROWS = """\
a,digits,accuracy,90,0.5,2,128,2,256,,own runs,measured
b,digits,accuracy,92,0.4,4,128,2,256,,own runs,measured
b,digits,accuracy,93,0.4,4,128,2,256,,own runs,measured
c,digits,accuracy,95,0.3,6,256,4,1024,,own runs,measured
d,digits,accuracy,96,0.2,12,256,4,1024,,own runs,measured
e,SST-2,accuracy,70,,2,128,2,256,,own runs,measured
"""


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A file of accuracy rows."""
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n{ROWS}")
    return str(path)


def described(own: object, task: str = "digits", **more: Any) -> dict[str, Any]:
    """The small space with an accuracy."""
    return {
        **SMALL,
        "workload": {"task": task},
        "objectives": {"accuracy": "max", "latency_s": "min"},
        "accuracy": own,
        **more,
    }


def search(folder: Path, space: dict[str, Any]) -> transcode.Result:
    return transcode.search(space, out=folder, evaluator=fake, sampler="enumerate", jobs=1)


# ---- the key


def test_short_and_long_form_and_default_are_one() -> None:
    long = load(described({"source": "surrogate"}, "sst2"))
    short = load(described("surrogate", "sst2"))
    without = described(None, "sst2")
    del without["accuracy"]
    assert long.accuracy == short.accuracy == load(without).accuracy == AccuracySettings()
    digests = {digest(describe(space)) for space in (long, short, load(without))}
    assert len(digests) == 1  # and that of a space written before there was the key


def test_a_manifest_keeps_the_source(rows: str) -> None:
    space = load(described({"source": "table", "rows": rows, "bound": 0.9}))
    manifest = describe(space)
    assert manifest["accuracy"] == {"source": "table", "rows": rows, "bound": 0.9}
    assert rows in manifest["files"]
    assert restore(manifest).accuracy == space.accuracy
    before = digest(manifest)
    Path(rows).write_text(f"{HEADER}\n{ROWS}{ROWS}")
    assert digest(describe(space)) != before  # other rows are another space


def test_a_manifest_knows_what_is_in_a_sparsity_table(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("model,tau_i\n")
    space = {**SMALL, "workload": {"sparsity": str(table)}}
    before = describe(load(space))
    assert str(table) in before["files"]
    table.write_text("model,tau_i\n*,0\n")
    assert digest(describe(load(space))) != digest(before)


BAD: list[tuple[object, str]] = [
    ("surogate", "did you mean surrogate"),
    ({"source": "surrogate", "bond": 0.9}, "did you mean bound"),
    ({"source": "surrogate", "tokens": 1e9}, "belongs to the source scaling-law"),
    ({"source": "table"}, "needs a file"),
    ({"source": "table", "rows": "nowhere.csv"}, "no such file"),
    ({"rows": 3}, "name of a file"),
    ({"bound": 0.2}, "at least 0.5"),
    ({"bound": 1}, "below 1"),
    ({"bound": "much"}, "much"),
    ({"source": "trained", "eta": 1}, "from 2 up"),
    ({"source": "trained", "steps": 2.5}, "whole number"),
    ({"source": "scaling-law"}, "gives loss"),
]


@pytest.mark.parametrize(("own", "words"), BAD, ids=[str(own) for own, _ in BAD])
def test_bad_keys_are_one_message(own: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load(described(own, "sst2"))
    assert words in str(caught.value)


def test_a_loss_needs_a_law_and_knows_its_keys() -> None:
    space = {**SMALL, "objectives": {"loss": "min", "latency_s": "min"}}
    with pytest.raises(InputError, match="gives accuracy"):
        load(space)
    law = {"source": "scaling-law", "law": "hoffman"}
    with pytest.raises(InputError, match="did you mean hoffmann"):
        load({**space, "accuracy": law})
    both = {"source": "scaling-law", "tokens": 1e9, "tokens_per_parameter": 20}
    with pytest.raises(InputError, match="not both"):
        load({**space, "accuracy": both})
    assert load({**space, "accuracy": "scaling-law"}).uses_accuracy


def test_pruning_without_a_price_is_refused() -> None:
    for changed, words in (
        ({"sparsity": "acceltran"}, "prunes, which changes the accuracy"),
        ({"sparsity": "dynatran", "precision": "int8"}, "measured with native, fp32"),
        ({"tau_i": 0.05}, "no accuracy source prices it"),
    ):
        space = described("surrogate", "sst2")
        space["workload"] = {"task": "sst2", **changed}
        space["accelerator"] = "acceltran-edge"
        with pytest.raises(InputError, match=words):
            load(space)
        del space["objectives"]["accuracy"], space["workload"]["task"], space["accuracy"]
        if "tau_i" not in changed:  # which has no effect without a table
            load(space)
    space = described("surrogate", "sst2")
    space["workload"] = {"task": "sst2", "sparsity": "dynatran", "tau_i": 0.05}
    load({**space, "accelerator": "acceltran-edge"})
    trained = described({"source": "trained"})
    trained["accelerator"] = "acceltran-edge"
    trained["workload"] = {"task": "digits", "sparsity": "dynatran", "tau_i": [0, 0.02]}
    load(trained)  # the thresholds are trained with
    trained["workload"]["sparsity"] = "acceltran"
    with pytest.raises(InputError, match="no accuracy source prices it"):
        load(trained)
    apart = described("surrogate", "sst2", workloads={"serve": {"sparsity": "dynatran"}})
    apart["objectives"] = {"accuracy": "max", "serve.latency_s": "min"}
    with pytest.raises(InputError, match="one model has one accuracy"):
        load(apart)


# ---- table


def test_a_table_scores_what_it_holds_and_nothing_else(tmp_path: Path, rows: str) -> None:
    result = search(tmp_path / "r", described({"source": "table", "rows": rows}))
    front = result.frame
    assert set(front["accuracy"]) <= {90.0, 92.5, 95.0, 96.0}
    known = front[front["accuracy"] == 92.5].iloc[0]
    assert known["accuracy_std"] == pytest.approx(np.sqrt(0.5))  # two runs, a point apart
    assert result.manifest["accuracy"]["models"] == 4
    assert result.rejections.counts["the accuracy source has no score for it"] > 2900


def test_a_table_that_fits_no_design_leaves_nothing(tmp_path: Path, rows: str) -> None:
    space = described({"source": "table", "rows": rows})
    space["model"] = {**SMALL["model"], "hidden": 512}
    result = search(tmp_path / "r", space)
    assert len(result.front) == 0 and result.manifest["feasible"] == 0


def test_a_table_without_deviations_says_so_and_bounds_nothing(rows: str) -> None:
    source = accuracy.source_of(AccuracySettings("table", rows), "SST-2")
    assert "no deviation is known of 1" in source.describe()
    with pytest.raises(InputError, match="needs the deviation"):
        accuracy.source_of(AccuracySettings("table", rows, bound=0.9), "sst2")
    with pytest.raises(InputError, match="no row of this task"):
        accuracy.source_of(AccuracySettings("table", rows), "chess")


def test_other_heads_are_not_in_a_table(rows: str) -> None:
    source = accuracy.source_of(AccuracySettings("table", rows), "digits")
    shape = {"layers": 2, "hidden": 128, "heads": 2, "feed_forward": 256}
    features = {k: np.repeat(float(v), 2) for k, v in shape.items()}
    mean, _ = source.predict({**features, "linear_heads": np.array([0.0, 0.5])})
    assert mean[0] == 90.0 and np.isnan(mean[1])


WRONG_ROWS = [
    ("nam,task", "x,digits", "did you mean name"),
    ("name,task", "x,digits", "the column score is missing"),
    (HEADER, "a,digits,accuracy,x,,2,128,2,256,,s,measured", "line 2: score"),
    (HEADER, "a,digits,accuracy,,,2,128,2,256,,s,measured", "is empty"),
    (HEADER, "a,digits,accuracy,90,-1,2,128,2,256,,s,measured", "at least 0"),
    (HEADER, "a,digits,accuracy,90,,2,128,2,256,,s,guessed", "unknown evidence"),
    (HEADER, "a,digits", "has 2 cells"),
    (HEADER, "a,digits,accuracy,1e308,,2,128,2,256,,s,measured", "at most 1e+30"),
    (HEADER, "a,digits,accuracy,90,1e308,2,128,2,256,,s,measured", "at most 1e+30"),
]


@pytest.mark.parametrize(("header", "line", "words"), WRONG_ROWS, ids=[w for *_, w in WRONG_ROWS])
def test_bad_rows_name_their_line(tmp_path: Path, header: str, line: str, words: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert words in str(caught.value)


# ---- the surrogate with rows of the user's own


def test_own_rows_move_the_surrogate(rows: str) -> None:
    plain = accuracy.surrogate("sst2")
    more = accuracy.source_of(AccuracySettings("surrogate", rows), "sst2")
    shape = {"layers": 2, "hidden": 128, "heads": 2, "feed_forward": 256}
    features = {k: np.array([float(v)]) for k, v in shape.items()}
    assert more.predict(features)[0][0] < plain.predict(features)[0][0] - 0.5  # their 70 pulls
    assert more.record()["rows"] == plain.cross_validation.rows + 1
    assert "published scores (6 second-hand) and 1 of rows.csv" in more.describe()


def test_a_task_of_the_users_own_is_fitted_from_its_rows(rows: str) -> None:
    source = accuracy.source_of(AccuracySettings("surrogate", rows, floor=10.0), "digits")
    record = source.record()
    assert record["rows"] == 5 and record["models"] == 4
    shape = {"layers": 6.0, "hidden": 256.0, "heads": 4.0, "feed_forward": 1024.0}
    mean, std = source.predict({k: np.array([v]) for k, v in shape.items()})
    assert abs(mean[0] - 95.0) < 2.0 and std[0] > 0.3
    with pytest.raises(InputError, match="known for this task"):
        accuracy.source_of(AccuracySettings("surrogate", rows, floor=10.0), "sst2")


def test_too_few_rows_for_a_surrogate(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text(f"{HEADER}\n" + "".join(ROWS.splitlines(keepends=True)[:2]))
    with pytest.raises(InputError, match="at least 4 models"):
        accuracy.source_of(AccuracySettings("surrogate", str(path)), "digits")


@pytest.mark.parametrize("place", range(5, 9), ids=HEADER.split(",")[5:9])
@pytest.mark.parametrize("size", ["0", "-0.0", "0.5", "1e12"])
def test_a_surrogate_needs_sizes_that_have_a_logarithm(
    tmp_path: Path, place: int, size: str
) -> None:
    path, lines = tmp_path / "rows.csv", ROWS.splitlines()
    cells = lines[3].split(",")
    cells[place] = size
    path.write_text("\n".join([HEADER, *lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    with pytest.raises(InputError, match=f"line 5: {HEADER.split(',')[place]}: must be from 1"):
        accuracy.source_of(AccuracySettings("surrogate", str(path)), "digits")
    assert accuracy.source_of(AccuracySettings("table", str(path)), "digits")


# ---- bounds


def test_a_bound_is_searched_and_both_columns_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"source": "surrogate", "bound": 0.9}
    space = described(own, "sst2", reference_point={"accuracy": 60, "latency_s": 1})
    result = search(tmp_path / "r", space)
    front = result.frame
    assert [o.name for o in result.space.objectives] == ["accuracy_lower", "latency_s"]
    assert np.allclose(
        front["accuracy_lower"], front["accuracy"] - 1.2815515655446004 * front["accuracy_std"]
    )
    assert result.manifest["reference_point"]["accuracy_lower"] == 60
    assert "holds with 90 %" in result.manifest["accuracy"]["text"]
    means = search(tmp_path / "m", described("surrogate", "sst2")).frame
    assert set(means["model.heads"]) != set(front["model.heads"]) or len(means) != len(front)
    picture = plot.plot_run(tmp_path / "r")
    assert picture.stat().st_size > 10_000
    report.search_result(tmp_path / "r", "table")
    first = front.iloc[0]
    shown = f"{first['accuracy_lower']:.1f} ({first['accuracy']:.1f}±{first['accuracy_std']:.1f})"
    assert shown in capsys.readouterr().out


def test_a_bound_draws_the_way_to_its_mean() -> None:
    columns = {
        "accuracy_lower": ["80", "82"],
        "accuracy": ["83", "84"],
        "accuracy_std": ["2", "1"],
        "latency_s": ["1", "2"],
    }
    front = {
        "objectives": [
            {"name": "accuracy_lower", "direction": "max", "unit": "%"},
            {"name": "latency_s", "direction": "min", "unit": "s"},
        ]
    }
    picture = plot.info(columns, front)
    assert picture.axes[-1].name == "accuracy_lower"
    assert picture.bars["accuracy_lower"].tolist() == [[0.0, 0.0], [3.0, 2.0]]


def test_a_loss_is_made_small_with_its_upper_bound(tmp_path: Path) -> None:
    space = {
        **SMALL,
        "objectives": {"loss": "min", "latency_s": "min"},
        "accuracy": {"source": "scaling-law", "tokens": "300e9", "bound": 0.8},
    }
    with pytest.raises(InputError, match="of decoders"):
        search(tmp_path / "e", space)
    space["model"] = {**SMALL["model"], "base": "decoder"}
    front = search(tmp_path / "r", space).frame
    assert (front["loss_upper"] > front["loss"]).all() and (front["loss_std"] > 0.05).all()
    assert front["loss_upper"].iloc[0] == front["loss_upper"].min()
