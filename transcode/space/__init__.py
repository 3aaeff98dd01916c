"""What is searched: parameters, alternatives, conditions; written in YAML, held as codes."""

from transcode.space.codes import (
    LARGEST_INDEX,
    Objective,
    Parameter,
    Section,
    Space,
    numbers,
)
from transcode.space.description import describe, digest, restore
from transcode.space.files import find, shipped
from transcode.space.keys import mix
from transcode.space.reader import SHARED, load, unit_of

__all__ = [
    "LARGEST_INDEX",
    "SHARED",
    "Objective",
    "Parameter",
    "Section",
    "Space",
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
