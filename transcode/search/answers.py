"""Answers of workers, looked at before they are believed: one that is wrong names its worker.

A worker may run another version, on a broken machine or behind somebody's own executor. What it
answers is recorded for good, so lengths, kinds and numbers are checked when they arrive.

Axes: D designs, S parameters, O objectives.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import numpy as np

from elector.base.errors import EvaluationError
from transcode.engines.base import Found
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

    def found(self, task: IslandTask, answer: object, who: str) -> None:
        """Of a round of an island."""
        _require(isinstance(answer, Found), who, "no round of an island")
        assert isinstance(answer, Found)
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
        absent = set(self.problem.result_names) - set(answer.results)
        _require(not absent, who, f"no {', '.join(sorted(absent))}")
        columns: dict[str, np.ndarray] = {**answer.results, **answer.margins}
        columns |= {"reason": answer.reasons.codes, "feasible": answer.feasible}
        for name, values in columns.items():
            text = f"{len(values)} values of {name} for {size} designs"
            _require(len(values) == size, who, text)
        shape = (size, len(self.problem.space.objectives))
        text = f"objectives of the shape {answer.objectives.shape} for {shape}"
        _require(answer.objectives.shape == shape, who, text)


def _require(good: bool, who: str, said: str) -> None:
    if not good:
        raise EvaluationError(
            f"a worker ({who}) answered with {said}; every batch before is safe, and the same "
            "command goes on from there"
        )
