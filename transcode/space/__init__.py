"""What is searched: parameters, alternatives, conditions; written in YAML, held as codes."""

from transcode.space.codes import (
    LARGEST_INDEX,
    Objective,
    Parameter,
    Section,
    Space,
    mix,
    numbers,
)
from transcode.space.description import describe, digest, restore
from transcode.space.files import find, shipped
from transcode.space.reader import SHARED, load, unit_of
from transcode.space.training import RUN, Training

__all__ = [
    "LARGEST_INDEX",
    "RUN",
    "SHARED",
    "Objective",
    "Parameter",
    "Section",
    "Space",
    "Training",
    "describe",
    "digest",
    "find",
    "load",
    "mix",
    "numbers",
    "restore",
    "shipped",
    "unit_of",
]
