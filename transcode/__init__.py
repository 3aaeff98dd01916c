"""transcode: which pair of transformer and accelerator should we build?"""

from __future__ import annotations

import sys
from types import ModuleType

from elector import __version__

TYPE_CHECKING = False  # `typing` is most of what an import of this module would take
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    import pandas as pd

    from transcode.search import Interrupted, Progress, Result, search

__all__ = ["Interrupted", "Progress", "Result", "__version__", "front", "search"]


def front(run: str | Path) -> pd.DataFrame:
    """The front of a run folder, of every design that is committed there.

    Raises InputError for what is no run, EvaluationError where nothing has been committed yet.
    """
    import io

    import pandas as pd

    from transcode import runs

    return pd.read_csv(io.StringIO(runs.snapshot.taken(run).csv))


def __getattr__(name: str) -> Any:
    if name in ("Interrupted", "Progress", "Result"):
        from transcode.search import run

        return getattr(run, name)
    raise AttributeError(f"module 'transcode' has no attribute {name!r}")


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
