"""Answers of workers, looked at before they are believed: one that is wrong names its worker.

A worker may run another version, on a broken machine or behind somebody's own executor. What it
answers is recorded for good, so lengths, kinds and numbers are checked when they arrive.

Axes: D designs, S parameters, O objectives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.errors import EvaluationError
from elector.base.table import Column
from transcode.engines.base import Examined
from transcode.engines.evolve.islands import IslandTask
from transcode.objective import Outcome, Problem


def signature() -> str:
    """Who works here: for messages."""
    return f"process {os.getpid()} on {socket.gethostname()}"


@dataclass(frozen=True)
class Examiner:
    """Looks at answers to one problem. Each look raises EvaluationError, which names `who`."""

    problem: Problem

    def outcome(self, codes: np.ndarray, answer: object, who: str) -> None:
        """Of (D, S) designs."""
        _require(isinstance(answer, Outcome), who, "no outcome of designs")
        assert isinstance(answer, Outcome)
        self._columns(answer, len(codes), who)
        values = answer.objectives[answer.feasible]
        _require(
            bool(np.isfinite(values).all()), who, "feasible designs without a finite objective"
        )

    def island_round(self, task: IslandTask, answer: object, who: str) -> None:
        """Of a round of an island."""
        _require(isinstance(answer, Examined), who, "no round of an island")
        assert isinstance(answer, Examined)
        codes, most = answer.codes, len(task.strangers) + task.children
        sizes = np.array([p.size for p in self.problem.space.parameters])
        shaped = codes.ndim == 2 and codes.shape[1] == len(sizes) and len(codes) <= most
        _require(
            shaped, who, f"codes of the shape {codes.shape}, at most {(most, len(sizes))} asked"
        )
        _require(bool(((codes >= 0) & (codes < sizes)).all()), who, "codes outside of the space")
        _require(len(answer.hopeful) == len(codes), who, "hopes for another number of designs")
        self.outcome(codes, answer.outcome, who)

    def volumes(self, asked: tuple[np.ndarray, ...], answer: object, who: str) -> None:
        """Of points."""
        points = asked[1]
        whole = isinstance(answer, np.ndarray) and answer.shape == (len(points),)
        _require(whole, who, f"not one volume for each of {len(points)} points")
        assert isinstance(answer, np.ndarray)
        _require(bool(np.isfinite(answer).all()), who, "volumes that are not finite")

    def _columns(self, answer: Outcome, size: int, who: str) -> None:
        """Raises unless everything has `size` rows, and the results are those asked for."""
        named = isinstance(answer.results, Mapping) and isinstance(answer.margins, Mapping)
        _require(named, who, "results or margins without names")
        _require(isinstance(answer.reasons, Column), who, "no reasons")
        absent = set(self.problem.result_names) - set(answer.results)
        _require(not absent, who, f"no {', '.join(sorted(absent))}")
        for name, values in {**answer.results, **answer.margins}.items():
            _require_column(name, values, size, "f", who)
        _require_column("reason", answer.reasons.codes, size, "iu", who)
        _require_column("feasible", answer.feasible, size, "b", who)
        codes, known = answer.reasons.codes, len(answer.reasons.values)
        _require(bool(((codes >= 0) & (codes < known)).all()), who, "reasons that it does not say")
        self._objectives(answer, size, who)

    def _objectives(self, answer: Outcome, size: int, who: str) -> None:
        """Raises unless the objectives of feasible designs are their results."""
        objectives, names = answer.objectives, self.problem.space.objectives
        numbers = isinstance(objectives, np.ndarray) and objectives.dtype.kind == "f"
        _require(numbers, who, "objectives that are no numbers")
        shape = (size, len(names))
        text = f"objectives of the shape {objectives.shape} for {shape}"
        _require(objectives.shape == shape, who, text)
        values = np.stack([answer.results[o.name] for o in names], axis=1) * self.problem.signs
        same = (values == objectives) | ~np.isfinite(objectives)
        _require(bool(same[answer.feasible].all()), who, "objectives that are not its results")


def _require_column(name: str, values: object, size: int, kinds: str, who: str) -> None:
    """Raises unless `values` is an array (size,) of one of numpy's `kinds`."""
    _require(isinstance(values, np.ndarray), who, f"no values of {name}")
    assert isinstance(values, np.ndarray)
    text = f"{len(values) if values.ndim else 0} values of {name} for {size} designs"
    _require(values.ndim > 0 and len(values) == size, who, text)
    fits = values.ndim == 1 and values.dtype.kind in kinds
    _require(fits, who, f"values of {name} of another kind: {values.dtype}")


def _require(good: bool, who: str, said: str) -> None:
    if not good:
        raise EvaluationError(
            f"a worker ({who}) answered with {said}; every batch before is safe, and the same "
            "command goes on from there"
        )
