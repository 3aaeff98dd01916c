"""transcode: which pair of transformer and accelerator should we build?"""

from __future__ import annotations

import sys
from types import ModuleType

from elector import __version__

TYPE_CHECKING = False  # `typing` is most of what an import of this module would take
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    import pandas as pd

    from transcode.pages import report
    from transcode.runs.loaded import LoadedRun, compare, load_run
    from transcode.search import Interrupted, Progress, Result, search

#: Public name -> where it is: imported at first use.
_PLACES = {
    "Interrupted": "transcode.search.run",
    "LoadedRun": "transcode.runs.loaded",
    "Progress": "transcode.search.progress",
    "Result": "transcode.search.run",
    "compare": "transcode.runs.loaded",
    "load_run": "transcode.runs.loaded",
    "report": "transcode.pages",
}

__all__ = [
    "Interrupted",
    "LoadedRun",
    "Progress",
    "Result",
    "__version__",
    "compare",
    "front",
    "load_run",
    "report",
    "search",
]


def front(
    run: str | Path,
    *,
    where: str | Sequence[str] = (),
    objectives: str | None = None,
    uncertainty: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """The front of a run folder, as the last checkpoint left it; or another of its designs.

    Parameters
    ----------
    run : the folder.
    where : conditions on recorded designs that must hold, such as "area_mm2 <= 100".
    objectives : other objectives, such as "latency_s,area_mm2:min"; those of the run by default.
    uncertainty : also give intervals of 90 %, drawn now: NAME_low and NAME_high of each result;
        `attrs["uncertainty"]` says which neighbours cannot be told apart. samples, seed : of them.

    Raises InputError for a folder without a run, and for conditions that cannot be read.
    """
    from elector.base import arguments
    from transcode.runs.loaded import load_run

    loaded = load_run(run)
    if arguments.flag(uncertainty, "uncertainty"):
        return loaded.drawn(where, objectives, samples, seed)
    own = bool(arguments.texts(where, "where")) or objectives is not None
    return loaded.select(where, objectives) if own else loaded.front


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'transcode' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, "search"})


class _Package(ModuleType):
    """This package: light to import, and `transcode.search` is the function.

    A room has the same name, and importing a module of it would put the room in the function's
    place.
    """

    @property
    def search(self) -> Callable[..., Result]:
        from transcode.search import search

        return search

    @search.setter
    def search(self, room: ModuleType) -> None:
        """What importing the room does, without effect."""


sys.modules[__name__].__class__ = _Package
