"""benchmarks/true_fronts.py: an optimiser of somebody else's is scored on known true fronts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import transcode
from elector.base.errors import InputError
from transcode import pareto

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SHIPPED = sorted((BENCHMARKS / "fronts").glob("*.csv"))


@pytest.fixture
def fronts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import true_fronts

    yield true_fronts
    for name in ("true_fronts", "search_quality"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_the_whole_space_is_worth_one_and_less_is_worth_less(
    fronts: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fronts, "FRONTS", tmp_path)
    assert fronts.make("smoke") > 3
    whole = tmp_path / "smoke.csv"
    assert fronts.score("smoke", whole)[-1][1] == pytest.approx(1.0, abs=1e-12)
    lines = whole.read_text().splitlines()
    some = tmp_path / "some.csv"
    some.write_text("\n".join([lines[0], *lines[1:3], lines[1]]) + "\n")
    ((designs, share),) = fronts.score("smoke", some)
    assert designs == 2, "a design that stands twice counts once"
    assert 0.0 < share < 1.0


@pytest.mark.slow
def test_a_front_of_a_run_is_scored(fronts: ModuleType, tmp_path: Path) -> None:
    run = transcode.search("machines", sampler="random", budget=120, jobs=1, out=tmp_path / "run")
    scored = fronts.score("machines", run.folder / "front.csv")
    assert 0.5 < scored[-1][1] <= 1.0
    other = tmp_path / "other.csv"
    other.write_text("model,rows\nbert-tiny,16\n")
    with pytest.raises(InputError, match="accelerator"):
        fronts.score("machines", other)


def test_the_shipped_fronts_are_small_and_each_of_a_space() -> None:
    assert {path.stem for path in SHIPPED} >= {"bert", "elector", "gpt2", "hpt", "machines"}
    assert sum(path.stat().st_size for path in SHIPPED) < 2_000_000
    for path in SHIPPED:
        rows = path.read_text(encoding="utf-8").splitlines()
        assert rows[0].startswith("model,accelerator") and len(rows) == len(set(rows)) > 20


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_design_of_a_shipped_front_beats_another(fronts: ModuleType, path: Path) -> None:
    """With the simulator as it is; where this fails, `true_fronts.py make` renews the front."""
    problem, _ = sys.modules["search_quality"].problem_of(path.stem, Path())
    values = fronts.points(problem, path)
    assert np.isfinite(values).all(), "a design is infeasible"
    beaten = len(values) - np.count_nonzero(pareto.nondominated(values))
    assert beaten == 0, f"{beaten} of {len(values)} designs are beaten by another"


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "7", "x"])
def test_a_row_that_is_no_design_is_refused_by_name(
    fronts: ModuleType, tmp_path: Path, wrong: str
) -> None:
    header, *rows = (BENCHMARKS / "fronts" / "bert.csv").read_text().splitlines()
    place = header.split(",").index("model.hidden")
    cells = rows[1].split(",")
    cells[place] = wrong
    own = tmp_path / "own.csv"
    own.write_text("\n".join([header, rows[0], ",".join(cells), rows[2]]) + "\n")
    with pytest.raises(InputError, match=r"row 2: .*space bert") as caught:
        fronts.score("bert", own)
    assert caught.value.field == "model.hidden" and str(caught.value.file) == str(own)
