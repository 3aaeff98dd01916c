"""Engines propose designs: suggest(count) -> codes, update(codes, outcome).

Each engine is deterministic in (seed, batch): what it needs beside that stands in `state`,
which the run folder keeps with every batch.
"""

from transcode.engines.base import Engine, Finished, Seen
from transcode.engines.choose import SAMPLERS, Choice, check, choose, default_batch, make

__all__ = [
    "SAMPLERS",
    "Choice",
    "Engine",
    "Finished",
    "Seen",
    "check",
    "choose",
    "default_batch",
    "make",
]
