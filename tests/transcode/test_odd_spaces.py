"""Spaces that say what has no meaning, or no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from search_fakes import SMALL

import transcode
from elector.base.errors import InputError
from transcode.cli.commands import main
from transcode.space import load


def command(*words: object) -> Result:
    """One call of the command."""
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"where": ["1 < 2"]}, "where: names nothing of a design"),
        ({"where": ["2 < 1 or 1 < 2"]}, "where: names nothing of a design"),
        ({"constraints": ["1 < 2"]}, "constraints: names nothing of a design"),
        ({"name": None}, "name: must be text"),
        ({"name": True}, r"name: must be text \(got True\)"),
        ({"accuracy": {"source": "surrogate"}}, "accuracy: changes nothing in this space"),
        ({"define": {"a": "b + 1", "b": "a + 1"}}, r"define.a: is made of itself \(got 'a, b'\)"),
    ],
)
def test_what_says_nothing_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load({**SMALL, **more})


def test_a_source_is_asked_for_by_a_constraint_or_a_record() -> None:
    asked = {**SMALL, "workload": {"task": "sst2"}, "accuracy": {"source": "surrogate"}}
    for more in ({"constraints": ["accuracy >= 50"]}, {"record": ["accuracy"]}):
        assert load({**asked, **more}).accuracy.source == "surrogate"


def test_conditions_that_no_design_passes_are_shown_as_written(tmp_path: Path) -> None:
    space = {**SMALL, "where": ["model.layers < 0", "model.layers > 9"]}
    with pytest.raises(InputError, match=r"got 'model.layers < 0; model.layers > 9'"):
        transcode.search(space, out=tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        {"reference_point": {"latency_s": 1e300, "energy_j": 1e300}},
        {"reference_point": {"latency_s": 1e200, "energy_j": "1 J"}},
        {
            "define": {"slow": "latency_s * 1e200", "hot": "energy_j * 1e200"},
            "objectives": {"slow": "min", "hot": "min"},
        },
    ],
)
def test_volumes_larger_than_any_number(more: dict[str, Any], tmp_path: Path) -> None:
    space = {**SMALL, "objectives": {"latency_s": "min", "energy_j": "min"}, **more}
    reference = space.get("reference_point", {})
    if reference.get("energy_j") == "1 J":  # large, and a number
        assert transcode.search(space, out=tmp_path, budget=20).manifest["hypervolume"] > 1e190
        return
    with pytest.raises(InputError, match="hypervolume of its designs is larger than any number"):
        transcode.search(space, out=tmp_path / "run", budget=20)
    assert not (tmp_path / "run").exists()


def test_questions_that_ask_nothing_or_too_much(tmp_path: Path) -> None:
    run = tmp_path / "run"
    space = {**SMALL, "objectives": {"latency_s": "min", "energy_j": "min"}}
    transcode.search(space, out=run, budget=20)
    result = command("front", run, "--where", "1 < 2")
    assert result.exit_code == 2 and "names nothing of a design" in result.stderr
    for empty in ("1 < 2", "baseline > 0"):
        result = command("check", run, "--require", empty, "--baseline", "1")
        assert result.exit_code == 2 and "names nothing of the run" in result.stderr
    far = "latency_s=1e300 s, energy_j=1e300 J"
    result = command("compare", run, run, "--reference-point", far)
    assert result.exit_code == 2 and "is larger than any number" in result.stderr
    assert "NaN" not in result.stdout and "Infinity" not in result.stdout


def test_a_budget_that_adds_nothing_is_said(tmp_path: Path) -> None:
    def notes(**more: Any) -> tuple[str, ...]:
        options = {"out": tmp_path / "run", "sampler": "evolve", **more}
        return transcode.search(SMALL, **options).notes

    said = "--budget 20 adds nothing: 40 designs are recorded already"
    assert said not in notes(budget=40) + notes(budget=40) + notes()
    assert said in notes(budget=20)
    front = tmp_path / "run" / "front.csv"
    assert any(n.startswith("goes on with the ") for n in notes(budget=60, warm_start=front))
    begun = notes(budget=20, warm_start=front, out=tmp_path / "new")
    assert any(n.startswith("begins with ") for n in begun)
