"""How tokens fall on the experts of a layer: the shares of each, and what the busiest one gets."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
#: Steps of the search for the share that the most wanted experts are cut off at.
_STEPS = 60
#: Deviations to both sides of the mean of the most wanted expert that a distribution is taken over.
_REACH = 10.0
#: Tokens of deviation up to which the distribution is summed; beyond, excess grows as the root.
_WIDE = 64.0


@dataclass(frozen=True, eq=False, repr=False)
class Routing:
    """How tokens fall on the experts of a layer, each (M,).

    experts : there are. chosen : that a token takes. exponent : the i-th is asked for in proportion
    to i^-exponent. tokens : of all sequences in one run.
    """

    experts: Array
    chosen: Array
    exponent: Array
    tokens: Array


def chances(experts: Array, chosen: Array, exponent: Array) -> Array:
    """(E, M) how likely a token takes each of the experts, the most wanted first.

    experts, chosen, exponent : (M,). The chances add up to `chosen`, none is above 1; what is
    cut off goes to the others, in proportion. Rows beyond a model's experts are 0.
    """
    most = int(experts.max(initial=1.0))
    rank = np.arange(1.0, most + 1.0)[:, None]
    weights = np.where(rank <= experts, rank**-exponent, 0.0)
    # The factor f with sum of min(f w, 1) = chosen, by halving: the sum grows with f.
    last = np.maximum(chosen, 1.0).astype(np.intp) - 1
    low, high = np.zeros(experts.shape), 1.0 / weights[last, np.arange(experts.size)]
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        enough = summed(np.minimum(middle * weights, 1.0)) >= chosen
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.minimum(high * weights, 1.0)


def summed(values: Array) -> Array:
    """Sums over the first axis, one after another: the same for a model alone and beside others."""
    return np.asarray(np.add.accumulate(values, axis=0)[-1])


@functools.lru_cache(maxsize=65536)
def busiest(experts: float, chosen: float, exponent: float, tokens: float) -> float:
    """Tokens that the busiest expert of a layer gets, on average over routings.

    Each expert is taken by a binomial number of the tokens; the mean of the largest is the sum
    over j of 1 - prod_i P(X_i <= j), as if experts did not depend on one another. They do, since
    every token takes the same number: of E alike ones any two have the correlation -1 / (E - 1),
    which widens the distance from the mean by sqrt(E / (E - 1)).

    experts, chosen, exponent : as `Routing` has them. tokens : whole, from 1 on.
    """
    if tokens <= 1.0 or chosen >= experts:
        return tokens
    shares = chances(np.array([experts]), np.array([chosen]), np.array([exponent]))[:, 0]
    top = float(shares[0])
    if top >= 1.0:
        return tokens
    variance = top * (1.0 - top)
    few = min(tokens, math.ceil(_WIDE**2 / variance))
    excess = _largest(shares[shares > 0.0], few) - few * top
    excess *= math.sqrt(experts / (experts - 1.0)) * math.sqrt(tokens / few)
    return min(max(tokens * top + excess, tokens * chosen / experts, 1.0), tokens)


def _largest(shares: Array, tokens: float) -> float:
    """The mean of the largest of independent binomial numbers; shares (E,), the largest first."""
    top = float(shares[0])
    reach = _REACH * math.sqrt(tokens * top * (1.0 - top)) + 2.0 * _REACH
    low = max(math.floor(tokens * top - reach), 0)
    counts = np.arange(low, min(tokens, math.ceil(tokens * top + reach)) + 1.0)
    first = math.lgamma(tokens + 1.0) - math.lgamma(low + 1.0) - math.lgamma(tokens - low + 1.0)
    steps = np.log((tokens - counts[:-1]) / (counts[:-1] + 1.0))
    ways = np.cumsum(np.concatenate([[first], steps]))
    every = np.ones(counts.size - 1)  # all experts have at most so many tokens
    for share, alike in zip(*np.unique(shares, return_counts=True), strict=True):
        chance = np.exp(ways + counts * math.log(share) + (tokens - counts) * math.log1p(-share))
        above = np.cumsum(chance[:0:-1])[::-1]
        every *= np.maximum(1.0 - above, 0.0) ** alike
    return low + float(np.cumsum(1.0 - every)[-1])
