"""The engine `boshcode` and the networks that it learns with; they need torch."""

from __future__ import annotations

from transcode.engines.boshcode.engine import FIRST, Boshcode
from transcode.engines.boshcode.heteroscedastic import Ensemble, one_thread

__all__ = ["FIRST", "Boshcode", "Ensemble", "one_thread"]
