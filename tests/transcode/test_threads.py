"""What a sampler computes has one thread, whatever the process has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search_fakes import SMALL, fake
from threadpoolctl import threadpool_info, threadpool_limits

import transcode
from transcode.engines.evolve.engine import Evolve
from transcode.search.threads import one_thread


def threads() -> set[int]:
    """Of each BLAS there is."""
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_linear_algebra_has_one_thread_and_then_as_many_as_before() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_thread():
            assert threads() == {1}
        assert threads() == before
        with pytest.raises(ValueError, match="on purpose"), one_thread():
            raise ValueError("on purpose")
        assert threads() == before


@pytest.mark.skipif(len(threads()) == 0, reason="numpy's BLAS is none that can be asked")
def test_a_sampler_thinks_on_one_thread_and_an_evaluator_on_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers want the processors, and threads of a BLAS spin while they wait."""
    seen: dict[str, set[int]] = {}

    def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            seen.setdefault(name, set()).update(threads())
            return work(*arguments)

        return asked

    for name in ("suggest", "update", "resume"):
        monkeypatch.setattr(Evolve, name, watched(name, getattr(Evolve, name)))
    options: dict[str, Any] = {"out": tmp_path / "r", "sampler": "evolve", "jobs": 1}
    options["evaluator"] = watched("evaluator", fake)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        for budget in (100, 200):  # the second goes on with the first
            transcode.search(SMALL, budget=budget, **options)
    assert seen.pop("evaluator") == before
    assert seen == {name: {1} for name in ("suggest", "update", "resume")}
