"""HpT's rule on sequences made by hand."""

from __future__ import annotations

import pytest

from elector.base.errors import InputError
from transcode.training.switch import (
    BESIDE,
    FULL,
    LOW,
    Switch,
    SwitchRule,
    drops,
    plan,
    settled,
    t_test,
)


def test_drops_are_relative_to_the_earlier_value() -> None:
    assert drops([4.0, 3.0, 3.0, 6.0]) == [0.25, 0.0, -1.0]
    assert drops([0.0, 1.0]) == [0.0]


@pytest.mark.parametrize(
    ("values", "limit", "expected"),
    [
        ([1.0, 0.95], 0.1, False),  # one drop only
        ([1.0, 0.92, 0.9], 0.1, True),  # .08, then .022
        ([1.0, 0.85, 0.84], 0.1, False),  # .15 is too much
        ([1.0, 0.98, 0.95], 0.1, False),  # .02, then .031: grows
        ([4.0, 2.0, 1.0], 0.6, False),  # the same twice does not shrink
        ([9.0, 1.0, 0.92, 0.9], 0.1, True),  # only the last two count
        ([1.0, 0.992, 0.989], 0.01, True),
        ([1.0, 0.985, 0.984], 0.01, False),
        ([1.0, 0.95, 1.2], 0.1, True),  # a rise is a negative drop
    ],
)
def test_settled(values: list[float], limit: float, expected: bool) -> None:
    assert settled(values, limit) is expected


def run(
    switch: Switch,
    losses: list[float],
    distances: list[float | None],
    low: list[float] | None = None,
) -> list[str]:
    """Feeds windows of two equal losses; the phase after each."""
    phases = []
    for loss, distance in zip(losses, distances, strict=True):
        for spread in (-0.01, 0.01):
            beside = (low or [loss])[0] + spread if switch.phase == BESIDE else None
            ended = switch.observe(loss + spread, beside)
        assert ended
        phases.append(switch.close(distance))
    return phases


SETTLED = ([1.0, 0.95, 0.92, 0.91], [None, 1.0, 0.995, 0.994])


@pytest.mark.extras("scipy")
def test_the_rule_needs_four_windows_and_one_side_by_side() -> None:
    switch = Switch(SwitchRule(2))
    assert run(switch, *SETTLED) == [FULL, FULL, FULL, BESIDE]
    assert run(switch, [0.9], [0.99]) == [LOW]
    assert switch.switched == 10 and switch.trials[0].same
    assert switch.observe(5.0) is False  # nothing is watched any more
    assert switch.step == 11


def test_both_losses_and_distances_must_settle() -> None:
    losses, distances = SETTLED
    assert run(Switch(SwitchRule(2)), losses, [None, 1.0, 0.9, 0.8])[-1] == FULL
    assert run(Switch(SwitchRule(2)), [1.0, 0.8, 0.6, 0.5], distances)[-1] == FULL


@pytest.mark.extras("scipy")
def test_a_copy_that_differs_sends_full_training_on_for_a_window() -> None:
    switch = Switch(SwitchRule(2))
    run(switch, *SETTLED)
    assert run(switch, [0.905], [0.9935], low=[3.0]) == [FULL]
    assert switch.switched is None and not switch.trials[0].same
    # The next window may ask again: the drops are .0055 and then .0033.
    assert run(switch, [0.902], [0.9933]) == [BESIDE]


@pytest.mark.extras("scipy")
def test_t_test_against_a_table() -> None:
    # Two groups of four, means 2.5 and 4.5, pooled variance 5/3: t = -2 / sqrt(5/6).
    statistic, p = t_test([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    assert statistic == pytest.approx(-2.0 / (5.0 / 6.0) ** 0.5)
    assert 0.05 < p < 0.1  # critical values of 6 degrees of freedom: 1.943 and 2.447
    assert t_test([1.0, 1.0], [1.0, 1.0]) == (0.0, 1.0)


@pytest.mark.extras("scipy")
def test_state_goes_on_where_it_was() -> None:
    whole, parts = Switch(SwitchRule(2)), Switch(SwitchRule(2))
    losses, distances = [*SETTLED[0], 0.9], [*SETTLED[1], 0.99]
    expected = run(whole, losses, distances)
    phases = []
    for loss, distance in zip(losses, distances, strict=True):
        parts = Switch.restore(SwitchRule(2), parts.state())
        phases += run(parts, [loss], [distance])
    assert phases == expected and parts == whole


def test_misuse_is_refused() -> None:
    with pytest.raises(InputError, match="two steps"):
        SwitchRule(1)
    with pytest.raises(ValueError, match="not finite"):
        Switch(SwitchRule(2)).observe(float("nan"))
    with pytest.raises(ValueError, match="phase full"):
        Switch(SwitchRule(2)).observe(1.0, 1.0)
    with pytest.raises(ValueError, match="never ended"):
        plan("bert-tiny", {}, Switch(SwitchRule(2)), 10, 8, "hpt")


@pytest.mark.extras("scipy")
def test_the_plan_is_one_that_elector_runs() -> None:
    from elector.studies.training_run import read_plan
    from elector.studies.training_run import run as cost

    switch = Switch(SwitchRule(2))
    run(switch, *SETTLED)
    run(switch, [0.9], [0.99])
    entries = plan("hpt-wind", {"batch": 1}, switch, 50, 8, "hpt")
    read = read_plan(entries)
    assert [phase.steps for phase in read.phases] == [10, 40]
    assert read.switch is not None
    assert (read.switch.step, read.switch.window, read.switch.windows) == (10, 2, 1)
    assert "f 0.200" in read.switch.source
    assert cost(entries)["feasible"]
