"""One recorded design of a run: its settings, its results, and what simulates it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import InputError
from transcode.runs import front, parts
from transcode.runs.parts import Stretch
from transcode.runs.query import Recorded, broken, stretches
from transcode.space import Space

_SECTIONS = ("model", "accelerator", "workload")
#: What only a search knows: elector has no accuracy that a task would decide.
_SEARCH_ONLY = ("workload.task",)


@dataclass(frozen=True)
class Design:
    """A design as a run recorded it.

    settings : dotted name -> value, those of each workload (workloads.NAME.key) included; what
    the design does not have is left out. results : name -> value in the unit of the registry,
    None where an infeasible design has none. reason : why it is not feasible, else "".
    """

    folder: Path
    space: Space
    id: int
    settings: Mapping[str, Any]
    results: Mapping[str, float | None]
    feasible: bool
    reason: str

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of the workloads; one without a name where the space has one only."""
        return tuple(self.space.workloads)

    def settings_of(self, workload: str) -> dict[str, Any]:
        """What `elector` is told of the design in one workload, but for model and accelerator."""
        own = f"workloads.{workload}."
        settings = {k: v for k, v in self.settings.items() if not k.startswith("workloads.")}
        settings |= {
            f"workload.{k.removeprefix(own)}": v
            for k, v in self.settings.items()
            if k.startswith(own)
        }
        left_out = ("model", "accelerator", *_SEARCH_ONLY)
        return {k: v for k, v in settings.items() if k not in left_out}

    def command(self, workload: str, verb: str = "simulate", *more: str) -> str:
        """The command that simulates (or traces, or explains) the design in one workload.

        verb : simulate, trace or explain. more : what stands behind it.
        """
        words = ["elector", verb, str(self.settings["model"]), str(self.settings["accelerator"])]
        for key, value in self.settings_of(workload).items():
            words += ["--set", f"{key}={front.text(value)}"]
        return " ".join(map(shlex.quote, [*words, *more]))

    def as_row(self) -> dict[str, Any]:
        """Plain values for JSON and CSV: the columns of front.csv, and the reason."""
        return {
            "id": self.id,
            **self.settings,
            **self.results,
            "feasible": self.feasible,
            "reason": self.reason or None,
        }

    def as_space(self) -> dict[str, Any]:
        """A space that has this design only, so that `transcode search` prices it again."""
        described = self.space
        space: dict[str, Any] = {"name": f"{described.name}-{self.id}"}
        for section in _SECTIONS:
            start = f"{section}."
            keys = {
                k.removeprefix(start): v for k, v in self.settings.items() if k.startswith(start)
            }
            base = {} if section == "workload" else {"base": self.settings[section]}
            if base or keys:
                space[section] = {**base, **keys}
        if self.workloads != ("",):
            space["workloads"] = {
                name: {k.removeprefix("workload."): v for k, v in given.items()}
                for name, given in described.workloads.items()
            }
        if described.define:
            space["define"] = {name: e.text for name, e in described.define.items()}
        if described.run:
            space["run"] = described.run.describe()
        if described.accuracy.plain():
            space["accuracy"] = described.accuracy.plain()
        space["objectives"] = {o.name: o.direction for o in described.objectives}
        if described.record:
            space["record"] = list(described.record)
        return space


def design(recorded: Recorded, number: int, field: str = "ID") -> Design:
    """The design of that id. Raises InputError where the run has none.

    number : the id. field : where it was given.
    """
    for stretch in stretches(recorded):
        try:
            rows = np.flatnonzero(stretch.read(["id"])["id"].to_numpy() == number)
        except parts.UNREADABLE as error:
            raise broken(stretch.path, error) from error
        if len(rows):
            return _read(recorded, stretch, rows[:1])
    raise InputError(
        f"is not recorded in {recorded.folder}",
        field=field,
        value=number,
        hint="transcode front RUN shows the ids of the front",
    )


def _read(recorded: Recorded, stretch: Stretch, rows: np.ndarray) -> Design:
    space = recorded.space
    try:
        table = stretch.take(rows)
        codes = space.encode(parts.settings(table))
        results = {name: float(table[name].to_numpy()[0]) for name in recorded.results}
    except parts.UNREADABLE as error:
        raise broken(stretch.path, error) from error
    settings = {name: column.values[column.codes[0]] for name, column in _named(space, codes)}
    return Design(
        recorded.folder,
        space,
        int(table["id"].to_numpy()[0]),
        {name: value for name, value in settings.items() if value is not None},
        {name: value if np.isfinite(value) else None for name, value in results.items()},
        bool(table["feasible"].to_numpy()[0]),
        str(table["reason"].to_pylist()[0] or ""),
    )


def _named(space: Space, codes: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield from front.columns(space, codes).items()
