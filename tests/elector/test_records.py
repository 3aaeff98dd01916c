"""The contract of machines: every record of an activity merges itself in a hybrid."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import elector
from elector.evaluation.path import Chunk, inspect
from elector.machines import MACHINES
from elector.machines import activity as activities
from elector.machines.activity import Activity, joined
from elector.machines.contract import Cells, Count, Details, Fill, Members, Note, Remarks, Unit
from elector.machines.records import ActivityRecord
from elector.studies.simulation import columns_of
from elector.technology import Technology


def chunk(model: str, name: str, settings: dict[str, Any]) -> Chunk:
    asked = {"model": model, "accelerator": name, "workload.batch": 3, **settings}
    return inspect(columns_of(asked), Technology.load())


def kinds() -> dict[str, type[ActivityRecord]]:
    """Field of an activity -> the record it holds."""
    hints = get_type_hints(Activity, vars(activities))
    kind_of: dict[str, type[ActivityRecord]] = {}
    for f in fields(Activity):
        options = getattr(hints[f.name], "__args__", (hints[f.name],))
        for kind in options:
            if isinstance(kind, type) and issubclass(kind, ActivityRecord):
                kind_of[f.name] = kind
    return kind_of


def test_every_record_is_a_field_and_says_how_it_merges() -> None:
    """A class without `merge` could not be made: it is abstract."""
    assert set(kinds().values()) == set(ActivityRecord.__subclasses__())
    assert all("merge" in vars(kind) for kind in kinds().values())
    assert len(fields(Activity)) <= 20


@pytest.mark.parametrize("name", MACHINES)
def test_a_hybrid_of_one_machine_reports_what_it_reports(name: str, tmp_path: Path) -> None:
    """Record by record, every array: nothing is lost or changed."""
    more = {"tiles": 900} if name == "reram" else {}
    own = chunk("bert-tiny", name, {f"accelerator.{k}": v for k, v in more.items()})
    text = "".join(f", {k}: {v}" for k, v in more.items())
    path = tmp_path / "one.yaml"
    path.write_text(f"units: {{a: {{base: {name}{text}}}}}\n", encoding="utf-8")
    both = chunk("bert-tiny", str(path), {})
    for field in ("busy", "alone", "cycles", "counts", "executed", "peak", "fuse", "start"):
        equal(getattr(own.activity, field), getattr(both.activity, field), "a.")
    (unit,) = both.activity.members.activities if both.activity.members else ()
    for field, kind in kinds().items():
        record, merged = (getattr(x.activity, field) for x in (own, both))
        kept = getattr(unit, field)
        assert (record is None) == (kept is None), field
        if merged is None:  # units keep it to themselves
            assert record is None or kind.merge([]) is None, field
            continue
        for each in fields(record):
            if each.name not in BEHAVIOUR:
                equal(getattr(record, each.name), getattr(merged, each.name), "a.")
    np.testing.assert_array_equal(own.timing.seconds, both.timing.seconds)


#: What a hybrid always has, though a unit alone may leave it out: how streams are split, and
#: the largest batch, which is not known where it does not run.
BEHAVIOUR = ("one", "streams", "largest")


def equal(own: Any, merged: Any, start: str) -> None:
    """Whether two fields are the same, the names of the second having `start` in front."""
    if isinstance(own, dict):
        within = f"accelerator.units.{start}"
        named = {k.removeprefix(start).replace(within, "accelerator."): k for k in merged}
        assert set(named) == set(own)
        for key, value in own.items():
            equal(value, merged[named[key]], start)
    elif isinstance(own, tuple):
        assert len(own) == len(merged)
        for one, other in zip(own, merged, strict=True):
            equal(one, other, start)
    elif isinstance(own, Count):
        np.testing.assert_array_equal(own.each(), merged.each())
    elif isinstance(own, Fill):
        equal(vars(own), vars(merged), start)
    elif isinstance(own, Note):
        np.testing.assert_array_equal(own.where, merged.where)
    elif own is None or merged is None:
        assert own is merged
    else:
        np.testing.assert_array_equal(own, merged)


def unit(name: str, wear: float, copies: float) -> Unit[Activity]:
    """A unit with one row of its own, whose cells wear."""
    one, row = np.ones(1), np.full((2, 1), float(name == "a"))
    row[1] = 1.0 - row[0]
    fill = Fill("write", one, one, one, one)
    activity = Activity(
        {"x": row},
        row,
        row,
        {},
        one,
        one,
        {},
        one > 0,
        one,
        cells=Cells(wear * one, 100.0 * one, fill),
        told=Remarks({"write": row}, {"copies": copies * one, f"only {name}": one}),
        details=Details((row, row, row), (row, 2.0 * row), None, {f"reads {name}": row}),
    )
    return Unit(name, f"{name}.", activity, one > 0)


def test_records_of_two_units_by_hand() -> None:
    units = [unit("a", 3.0, 5.0), unit("b", 7.0, 6.0)]
    owner = np.array([0, 1])
    works = tuple(u.works for u in units)
    members = Members(tuple(u.activity for u in units), owner, works)
    whole = joined(units, members, np.zeros(1))
    assert set(whole.busy) == {"a.x", "b.x"} and whole.peak == 2.0
    assert whole.cells is not None and whole.cells.wear == 7.0  # the one that lives shorter
    assert whole.told.extra.keys() == {"a.copies", "b.copies", "only a", "only b"}
    assert whole.told.extra["b.copies"] == 6.0
    np.testing.assert_array_equal(whole.told.aside["write"], [[1.0], [1.0]])
    assert whole.details is not None and whole.details.moved is None
    np.testing.assert_array_equal(whole.details.traffic[1], [[2.0], [2.0]])
    assert set(whole.details.accesses) == {"reads a", "reads b"}


def test_two_crossbar_units_keep_their_own_figures(tmp_path: Path) -> None:
    """`weight_copies` of both, not of the last."""
    tier = "base: reram, digital_macs: 1024, transposed_read: bidirectional"
    path = tmp_path / "two.yaml"
    path.write_text(
        f"units: {{one: {{{tier}, tiles: 400}}, two: {{{tier}, tiles: 900, cell_bits: 4}}}}\n"
        "links: [{between: [one, two], bandwidth: 100 GB/s}]\n"
        "assignment:\n  - {match: {class: [weight, reuse]}, unit: one}\n  - {unit: two}\n",
        encoding="utf-8",
    )
    result: Any = elector.simulate("bert-tiny", str(path))
    assert result["one.effective_bits"] == result["two.effective_bits"] == 16
    assert result["one.weight_copies"] >= 1
    assert result["two.weight_copies"] == 0  # it runs no product with weights
    assert "effective_bits" not in result
    shown: Any = elector.explain("bert-tiny", str(path), "two.weight_copies")
    assert shown["value"] == result["two.weight_copies"]
