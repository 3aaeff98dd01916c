"""A run folder in Python: its front, its designs, what was asked; read when it is asked for."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elector.base import arguments
from elector.base.errors import InputError
from transcode.runs import comparison, front, manifest, parts, query, snapshot
from transcode.space import Space

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """What a search left in `folder`; `manifest` says what was asked and how far it came."""

    folder: Path
    manifest: Mapping[str, Any]

    @cached_property
    def space(self) -> Space:
        """The space that was searched."""
        return manifest.space_of(self.folder, self.manifest)

    @cached_property
    def front(self) -> pd.DataFrame:
        """The designs that nothing beats, of all that are committed: front.csv."""
        import pandas as pd

        return pd.read_csv(io.StringIO(snapshot.taken(self.folder).csv))

    def designs(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Every recorded design, infeasible ones included; only some columns where named."""
        import pandas as pd

        folder = self.folder / "designs"
        files = [parts.path_of(folder, number) for number in parts.distinct_numbers(folder)]
        try:
            frames = [parts.frame(file, columns) for file in files]
        except parts.UNREADABLE as error:
            raise InputError(f"cannot be read: {error}", file=folder) from None
        if not frames:
            raise InputError("has no recorded designs", file=folder)
        return pd.concat(frames, ignore_index=True)

    def select(
        self, where: Sequence[str] | str = (), objectives: str | None = None
    ) -> pd.DataFrame:
        """Another front of the recorded feasible designs, as `transcode front --where`.

        where : conditions that must hold. objectives : such as "latency_s,area_mm2:min"; those
        of the run by default.
        """
        return _frame(self._asked(where, objectives))

    def drawn(
        self,
        where: Sequence[str] | str = (),
        objectives: str | None = None,
        samples: int = 1000,
        seed: int = 0,
    ) -> pd.DataFrame:
        """A front as of `select` with intervals of 90 %: NAME_low and NAME_high of each result.

        samples, seed : draws of constants and errors (elector.studies.uncertainty). Which
        neighbours cannot be told apart, and what would settle most, are in `attrs`, as front.json
        has them. Raises InputError where the simulator has other results than those recorded.
        """
        from elector.studies.uncertainty import Sampling  # few ask for it
        from transcode.runs import intervals, neighbours

        sampling, chosen = Sampling.of(None, samples, seed), self._asked(where, objectives)
        drawn = intervals.with_intervals(chosen.space, chosen.archive, sampling)
        told = neighbours.compare(chosen.space, chosen.archive, sampling).told()
        frame = _frame(replace(chosen, archive=drawn))
        frame.attrs[front.UNCERTAINTY] = told
        return frame

    def _asked(self, where: Sequence[str] | str, objectives: str | None) -> query.Front:
        conditions = arguments.texts(where, "where")
        wanted = None if objectives is None else arguments.text(objectives, "objectives")
        return query.front(query.opened(self.folder), conditions, wanted)

    def __repr__(self) -> str:
        words = ", ".join(f"{name} {value}" for name, value in self._lines())
        return f"<run {self.folder}: {words}>"

    def _repr_html_(self) -> str:
        """The main figures as a table, for notebooks."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self._lines()
        )
        return f"<p>run {escape(str(self.folder))}</p><table>{rows}</table>"

    def _lines(self) -> list[tuple[str, str]]:
        known = self.manifest
        shown = {"space": known["space"].get("name"), "status": known.get("status")}
        shown |= {name: known.get(name) for name in ("designs", "feasible", "front", "seed")}
        return [(name, str(value)) for name, value in shown.items() if value is not None]


def _frame(chosen: query.Front) -> pd.DataFrame:
    """A front as front.csv has it."""
    import pandas as pd

    return pd.read_csv(io.StringIO(front.csv_text(chosen.space, chosen.archive)))


def load_run(run: str | Path) -> LoadedRun:
    """The run in a folder. Raises InputError where there is none."""
    folder = manifest.named(run)
    return LoadedRun(folder, manifest.existing(folder))


def compare(
    first: str | Path, second: str | Path, *, reference_point: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Two runs side by side, a row each: designs, front, hypervolume, share_of_both, coverage,
    epsilon and only_here, as `transcode compare`.

    reference_point : objective -> value with its unit, in place of that of the runs.
    Raises InputError where the runs have other objectives or another reference point.

    first, second : the run folders.
    """
    import pandas as pd

    sides = comparison.compare(manifest.named(first), manifest.named(second), reference_point)
    return pd.DataFrame(sides.rows())
