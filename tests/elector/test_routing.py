"""What the busiest expert of a layer gets: hand counts, samples, ends."""

from __future__ import annotations

import numpy as np
import pytest
from amounts import draws

from elector.operations.routing import busiest, chances


def sampled(experts: int, chosen: int, exponent: float, tokens: int, tries: int) -> float:
    """Tokens of the busiest expert, each token drawing `chosen` with the chances given."""
    random = np.random.default_rng(3)
    odds = chances(np.array([experts]), np.array([float(chosen)]), np.array([exponent]))[:, 0]
    most = []
    for _ in range(tries):
        tokens_of = np.zeros(experts)
        for start in random.random(tokens):  # systematic: exactly `chosen`, all different
            order = random.permutation(experts)
            places = np.searchsorted(np.cumsum(odds[order]), start + np.arange(chosen), "right")
            tokens_of[order[np.minimum(places, experts - 1)]] += 1
        most.append(tokens_of.max())
    return float(np.mean(most))


@pytest.mark.parametrize(
    ("experts", "chosen", "exponent", "tokens"),
    [
        (8, 2, 0.0, 2),
        (8, 2, 0.0, 32),
        (2, 1, 0.0, 100),
        (128, 8, 0.0, 32),
        (8, 2, 0.5, 32),
        (32, 4, 0.8, 64),
    ],
)
def test_the_busiest_expert_is_that_of_a_sampled_routing(
    experts: int, chosen: int, exponent: float, tokens: int
) -> None:
    drawn = sampled(experts, chosen, exponent, tokens, 12_800 // tokens)
    assert busiest(experts, chosen, exponent, tokens) == pytest.approx(drawn, rel=0.03)


def test_hand_counts_of_the_busiest_expert() -> None:
    assert busiest(8, 2, 0.0, 1) == 1  # one token, two experts, once each
    assert busiest(4, 4, 0.0, 37) == 37  # every token takes all
    assert busiest(64, 1, 4.0, 10) > 9  # hardly anything but the first
    # Two tokens, two experts: both the same one in half of all cases.
    assert busiest(2, 1, 0.0, 2) == pytest.approx(1.5, rel=0.03)
    # Of many tokens the mean, and deviations of a normal number: the largest of 8 is 1.4236 above.
    tokens = 2_000_000
    above = 1.4236 * np.sqrt(tokens * 0.25 * 0.75) * np.sqrt(8 / 7)
    assert busiest(8, 2, 0.0, tokens) == pytest.approx(tokens / 4 + above, rel=1e-4)


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.2])
def test_more_tokens_never_leave_less_for_the_busiest(exponent: float) -> None:
    step = draws(1, 5)
    tokens = [*range(1, 400, step), *(round(400 * 1.02**i) for i in range(0, 500, step))]
    most = np.array([busiest(16, 2, exponent, float(t)) for t in tokens])
    assert (np.diff(most) >= -1e-9 * most[1:]).all()
    assert (most <= tokens).all() and (most >= np.array(tokens) / 8 - 1e-9).all()
    uneven = [busiest(16, 2, a, 50.0) for a in (0.0, 0.2, 0.5, 1.0, 3.0)]
    assert (np.diff(uneven) > 0).all()
