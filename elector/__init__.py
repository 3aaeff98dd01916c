"""elector: latency, energy and area of one transformer on one accelerator."""

from __future__ import annotations

from elector.base.version import VERSION as __version__

TYPE_CHECKING = False  # `typing` is most of what an import of this module would take
if TYPE_CHECKING:
    from typing import Any

    from elector.base.errors import ElectorError, EvaluationError, InfeasibleError, InputError
    from elector.studies.frames import evaluate, sweep, validate
    from elector.studies.showing import show
    from elector.studies.simulation import explain, features, simulate, trace
    from elector.studies.training_run import run
    from elector.technology import Technology

#: Public name -> where it is: imported at first use, so that `import elector` stays light.
_PLACES = {
    "ElectorError": "elector.base.errors",
    "EvaluationError": "elector.base.errors",
    "InfeasibleError": "elector.base.errors",
    "InputError": "elector.base.errors",
    "Technology": "elector.technology",
    "evaluate": "elector.studies.frames",
    "explain": "elector.studies.simulation",
    "features": "elector.studies.simulation",
    "run": "elector.studies.training_run",
    "show": "elector.studies.showing",
    "simulate": "elector.studies.simulation",
    "sweep": "elector.studies.frames",
    "trace": "elector.studies.simulation",
    "validate": "elector.studies.frames",
}

__all__ = [
    "ElectorError",
    "EvaluationError",
    "InfeasibleError",
    "InputError",
    "Technology",
    "__version__",
    "evaluate",
    "explain",
    "features",
    "run",
    "show",
    "simulate",
    "sweep",
    "trace",
    "validate",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'elector' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
