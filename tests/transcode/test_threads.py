"""Small matrices on one thread, whatever the process has."""

from __future__ import annotations

import numpy as np
import pytest
from test_evolve import WIDE
from test_surrogate import drawn, features_of, outcome, product
from threadpoolctl import threadpool_info, threadpool_limits

from transcode.engines.evolve import surrogate as module
from transcode.engines.evolve.surrogate import Surrogate
from transcode.engines.evolve.threads import one_thread
from transcode.space import load


def threads() -> list[int]:
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in blas]


def test_linear_algebra_has_one_thread_and_then_as_many_as_before() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_thread():
            assert threads() == [1] * len(before)
        assert threads() == before
        with pytest.raises(ValueError, match="on purpose"), one_thread():
            raise ValueError("on purpose")
        assert threads() == before


def test_a_surrogate_is_fitted_and_asked_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of the search want the processors, too, and threads of a BLAS spin as they wait."""
    seen: list[int] = []

    class Watched(np.ndarray):
        def __matmul__(self, other: np.ndarray) -> np.ndarray:
            seen.extend(threads())
            return np.asarray(self) @ np.asarray(other)

    space = load(WIDE)
    surrogate = Surrogate(features_of(space))
    products = surrogate.features.products
    monkeypatch.setattr(
        type(surrogate.features), "products", lambda _, x: products(x).view(Watched)
    )
    solve = np.linalg.solve
    monkeypatch.setattr(
        module.np.linalg, "solve", lambda a, b: [seen.extend(threads()), solve(a, b)][1]
    )
    codes = drawn(space, 200, 0)
    with threadpool_limits(2, user_api="blas"):
        surrogate.learn(codes, outcome(product(space, codes)))
        surrogate._weights = surrogate._weights.view(Watched)
        surrogate.expected(codes[:3])
    assert len(seen) >= 4 * len(threads()) and set(seen) == {1}
