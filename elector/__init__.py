"""elector: latency, energy and area of one transformer on one accelerator."""

from __future__ import annotations

from elector.base.version import VERSION as __version__

TYPE_CHECKING = False  # `typing` is most of what an import of this module would take
if TYPE_CHECKING:
    from typing import Any

    from elector.evaluation.path import evaluate
    from elector.studies.simulation import explain, features, simulate, sweep
    from elector.studies.training_run import run


__all__ = ["__version__", "evaluate", "explain", "features", "run", "simulate", "sweep"]

#: Public name -> where it is: imported at first use, so that `import elector` stays light.
_PLACES = {
    "evaluate": "elector.evaluation.path",
    "explain": "elector.studies.simulation",
    "features": "elector.studies.simulation",
    "run": "elector.studies.training_run",
    "simulate": "elector.studies.simulation",
    "sweep": "elector.studies.simulation",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'elector' has no attribute {name!r}")
