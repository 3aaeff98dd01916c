"""Fronts against their definition, and against a front counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcode import pareto
from transcode.pareto import Archive


def by_definition(points: np.ndarray) -> np.ndarray:
    """(D,) bool: no point is at least as good everywhere and better somewhere."""
    better = (points[:, None] <= points[None]).all(axis=2) & (points[:, None] < points[None]).any(2)
    return ~better.any(axis=0)


clouds = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 5), min_size=width, max_size=width), min_size=1, max_size=40
    )
)


@given(clouds)
def test_nondominated_is_the_definition(rows: list[list[int]]) -> None:
    points = np.array(rows, dtype=float)
    assert np.array_equal(pareto.nondominated(points), by_definition(points))


@given(clouds, st.integers(1, 10))
def test_an_archive_fed_in_batches_is_the_front_of_all(rows: list[list[int]], batch: int) -> None:
    points = np.array(rows, dtype=float)
    archive = Archive.empty(1, points.shape[1], ["a"])
    for start in range(0, len(points), batch):
        part = points[start : start + batch]
        ids = np.arange(start, start + len(part))
        new = Archive(ids, ids[:, None].astype(np.int32), part, {"a": part[:, 0]})
        archive = archive.add(new)
    assert sorted(archive.ids.tolist()) == np.flatnonzero(by_definition(points)).tolist()
    ordered = archive.sorted()
    assert np.array_equal(ordered.objectives, points[ordered.ids])
    assert np.array_equal(ordered.results["a"], points[ordered.ids, 0])
    assert (np.diff(ordered.objectives[:, 0]) >= 0).all()


def test_hypervolume_counted_by_hand() -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0], [5.0, 0.0], [2.5, 2.0]])
    # 3 x 1 from the first, 2 x 2 more from the second; the third is outside
    assert pareto.hypervolume(points, np.array([4.0, 4.0])) == pytest.approx(3 + 4)
    assert pareto.hypervolume(points[2:3], np.array([4.0, 4.0])) == 0.0
    assert pareto.hypervolume(np.array([[1.0], [3.0]]), np.array([4.0])) == 3.0


def test_live_hypervolume_says_when_it_is_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.stack([np.linspace(0, 1, 400), np.linspace(1, 0, 400)], axis=1)
    exact = pareto.live_hypervolume(points, np.array([1.1, 1.1]))
    assert exact == (pareto.hypervolume(points, np.array([1.1, 1.1])), True)
    monkeypatch.setattr(pareto, "EXACT_LIMIT", 100)
    sampled, whole = pareto.live_hypervolume(points, np.array([1.1, 1.1]))
    assert not whole and 0.9 * exact[0] < sampled < exact[0]


def test_reference_point_leaves_room_behind_the_front() -> None:
    front = np.array([[0.0, 10.0], [1.0, 5.0], [2.0, 0.0], [1.5, 3.0]])
    points = np.concatenate([front, [[50.0, 70.0]]])  # a bad design does not stretch it
    assert pareto.reference_point(points) == pytest.approx([2.2, 11.0])
    # a front of one point says nothing: then the worst of all
    assert pareto.reference_point(points[[2, 4]]) == pytest.approx([54.8, 77.0])
    assert (pareto.reference_point(np.array([[1.0, 2.0]])) > [1.0, 2.0]).all()


def test_spread_holds_the_ends_and_repeats_nothing() -> None:
    angle = np.linspace(0, np.pi / 2, 500)
    points = np.stack([np.cos(angle), np.sin(angle) ** 9], axis=1)
    for chosen in (pareto.spread(points, 20), pareto.thin(points, 20)):
        assert len(set(chosen.tolist())) == 20
        assert {int(points[:, 0].argmin()), int(points[:, 1].argmin())} <= set(chosen.tolist())
    assert len(pareto.spread(np.zeros((50, 2)), 7)) == 7  # equal points
    assert pareto.spread(points[:3], 20).tolist() == [0, 1, 2]


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_volume_alone_is_what_the_front_loses_without_the_point(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = rng.random((600, objectives)) + 0.05
    points = points / np.linalg.norm(points, axis=1, keepdims=True)  # none beats another
    points = np.concatenate([points, points[:2] * 0.7])
    front = points[pareto.nondominated(points)]
    reference = np.full(objectives, 0.95)
    rows = rng.permutation(len(front))[:40]
    whole = pareto.hypervolume(front, reference)
    expected = [
        whole - pareto.hypervolume(np.delete(front, row, axis=0), reference) for row in rows
    ]
    np.testing.assert_allclose(pareto.apart(front, front[rows], reference), expected, atol=1e-12)
    assert max(expected) > 0.0


def test_equal_points_count_as_one_that_is_alone() -> None:
    front = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    distances = pareto.apart(front, front, np.array([2.0, 2.0]))
    np.testing.assert_allclose(distances, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_there_is_room_for_what_a_point_adds(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = rng.random((300, objectives)) * rng.choice([1.0, 1.3], (300, 1))
    reference = np.full(objectives, 1.1)
    front, others = points[:150], points[150:]
    front = front[pareto.nondominated(front)]
    others = np.concatenate([others, front[:2], front[:2] + 0.01, front[:2] - 0.01])
    whole = pareto.hypervolume(front, reference)
    adds = np.array(
        [pareto.hypervolume(np.vstack([front, point]), reference) - whole for point in others]
    )
    room = pareto.room(front, others, reference)
    assert (room >= adds - 1e-12).all() and adds.max() > 0.0
    as_good = np.array([(front <= point).all(axis=1).any() for point in others])
    assert (room[as_good] == 0.0).all() and as_good.any()
    assert (room[~as_good & (others < reference).all(axis=1)] > 0.0).all()


def test_the_room_between_two_neighbours_is_all_of_it() -> None:
    front = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    points, reference = np.array([[0.2, 0.7], [0.6, 0.4], [0.6, 0.6]]), np.array([2.0, 2.0])
    np.testing.assert_allclose(pareto.room(front, points, reference), [0.09, 0.04, 0.0])
