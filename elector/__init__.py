"""elector: latency, energy and area of one transformer on one accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from elector.api import explain, features, simulate, sweep
    from elector.evaluate import evaluate
    from elector.plan import run

__all__ = ["__version__", "evaluate", "explain", "features", "run", "simulate", "sweep"]


def __getattr__(name: str) -> Any:
    """Functions are imported at first use, so that `import elector` stays light."""
    if name in ("simulate", "sweep", "features", "explain"):
        from elector import api

        return getattr(api, name)
    if name == "run":
        from elector.plan import run

        return run
    if name == "evaluate":
        from elector.evaluate import evaluate

        return evaluate
    raise AttributeError(f"module 'elector' has no attribute {name!r}")
