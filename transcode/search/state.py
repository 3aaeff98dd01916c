"""What a search knows so far: the archive, how many designs there were, the reference point.

Axes: D designs, S parameters, O objectives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transcode import pareto
from transcode.objective import Outcome, Problem, Rejections
from transcode.pareto import Archive


@dataclass
class SearchState:
    """Everything that follows from the designs in their order.

    reference : (O,) minimised; None before there is one. watched : whether the hypervolume is
    wanted after each batch, in `volumes`. before : designs of earlier sessions.
    """

    problem: Problem
    reference: np.ndarray | None
    watched: bool = False
    designs: int = 0
    before: int = 0
    feasible: int = 0
    volumes: list[float] = field(default_factory=list)
    rejections: Rejections = field(default_factory=Rejections)

    def __post_init__(self) -> None:
        space = self.problem.space
        self.archive = Archive.empty(
            len(space.parameters),
            len(space.objectives),
            self.problem.result_names,
            space.code_type,
        )

    @property
    def new(self) -> int:
        """Designs of this session."""
        return self.designs - self.before

    def keep(self, codes: np.ndarray, outcome: Outcome, hopeful: np.ndarray | None = None) -> None:
        """The archive, the counts and the reference point after (D, S) designs.

        hopeful : (D,) bool; what is False there is known to be beaten.
        """
        rows = np.flatnonzero(outcome.feasible if hopeful is None else outcome.feasible & hopeful)
        ids = np.arange(self.designs, self.designs + len(codes), dtype=np.int64)
        results = {name: outcome.results[name] for name in self.problem.result_names}
        self.archive = self.archive.add(Archive(ids, codes, outcome.objectives, results).take(rows))
        self.rejections.add(codes, outcome)
        self.designs += len(codes)
        self.feasible += int(outcome.feasible.sum())
        if self.reference is None and len(rows):
            self.reference = pareto.reference_point(outcome.objectives[outcome.feasible])
        if self.watched and self.reference is not None:
            self.volumes.append(self.live_hypervolume()[0])

    def live_hypervolume(self) -> tuple[float, bool]:
        """Of the archive, and whether it is of every point; there has to be a reference point."""
        assert self.reference is not None
        return pareto.live_hypervolume(self.archive.objectives, self.reference)

    def named_reference(self) -> dict[str, float] | None:
        """The reference point by objective, in the user's directions; None before there is one."""
        if self.reference is None:
            return None
        names = [o.name for o in self.problem.space.objectives]
        return dict(zip(names, (self.reference * self.problem.signs).tolist(), strict=True))
