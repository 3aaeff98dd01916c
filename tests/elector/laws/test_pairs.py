"""The laws on generated neighbours over the whole schema of every machine."""

from __future__ import annotations

import os

import numpy as np
import pytest
from amounts import draws

from laws.adversary import Worst, attack, drawn, measured, worst_by_axis
from laws.bounds import known
from laws.drawing import costs, designs
from laws.statements import LAWS, Law
from laws.subjects import Subject, subjects

#: Pairs of a machine over all laws, in the quick and the slow tests.
QUICK, SLOW = 1_000, 20_000
#: Structures, a model and a workload each, that the designs of a quick test have.
KINDS = draws(16, 6)
#: Pairs the adversary may evaluate for a machine and law (none: it is left out); `laws.attack` is
#: the program for more.
EVALUATIONS = int(os.environ.get("ELECTOR_LAW_EVALUATIONS", "0"))

every = pytest.mark.parametrize("name", subjects())
law_of = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def share(subject: Subject, law: Law, pairs: int) -> int:
    """Pairs of one law: by its number of axes."""
    axes = {name: len(other.axes(subject)) for name, other in LAWS.items()}
    return max(pairs * axes[law.name] // sum(axes.values()), 25)


def judge(subject: Subject, law: Law, worst_pairs: list[Worst]) -> None:
    """Fail on a violation that is not known; report known ones as expected failures."""
    bad = [worst for worst in worst_pairs if worst.excess > 0]
    new = [worst for worst in bad if not known(subject, law.name, worst.axis)]
    assert not new, f"{law.text}\n" + "\n".join(str(worst) for worst in new[:5])
    if bad:
        pytest.xfail("; ".join({known(subject, law.name, worst.axis) for worst in bad}))


def neighbours(subject: Subject, law: Law, pairs: int, seed: int, kinds: int = 16) -> None:
    if not law.axes(subject):
        pytest.skip("no setting of this machine is concerned")
    random = np.random.default_rng(seed)
    rows = designs(subject, share(subject, law, pairs), random, kinds)
    chosen = drawn(subject, law, rows, random)
    violations = measured(subject, law, chosen)
    applies = np.isfinite(violations).mean() if len(chosen) else 0.0
    assert applies > 0.15 or law.name == "format", f"only {applies:.0%} of the pairs say anything"
    judge(subject, law, worst_by_axis(subject, law, chosen, violations))


@every
@law_of
def test_neighbours(name: str, law: Law) -> None:
    neighbours(subjects()[name], law, QUICK, 1, KINDS)


@pytest.mark.slow
@every
@law_of
def test_many_neighbours(name: str, law: Law) -> None:
    neighbours(subjects()[name], law, SLOW, 2)


@pytest.mark.slow
@every
@law_of
def test_adversary(name: str, law: Law) -> None:
    if not EVALUATIONS:
        pytest.skip("minutes to hours: ELECTOR_LAW_EVALUATIONS says how many evaluations it gets")
    subject = subjects()[name]
    judge(subject, law, attack(subject, law, EVALUATIONS, seed=3))


@every
def test_a_design_alone_is_its_row_of_many(name: str) -> None:
    """Bit for bit, over the whole schema."""
    rows = designs(subjects()[name], 120, np.random.default_rng(4))
    many = costs(rows, "groups")
    for i in range(0, len(rows), draws(8, 20)):
        one = costs([rows[i]], "groups")
        assert one.refused[0] == many.refused[i]
        if one.refused[0]:
            continue
        for scalar in one.cost.names():
            np.testing.assert_array_equal(
                one.cost.scalar(scalar), many.cost.scalar(scalar)[[i]], scalar
            )
        assert one.cost.reason(0) == many.cost.reason(i)
