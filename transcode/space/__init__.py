"""What is searched: parameters, alternatives, conditions; written in YAML, held as codes.

In comes a file or a mapping, out comes a `Space`, which turns codes (D, S) into columns of dotted
settings and back. A new key is a row of data/space_keys.csv and a reader here.
"""

from transcode.space.codes import LARGEST_INDEX, Space
from transcode.space.description import describe, digest, restore
from transcode.space.files import find, shipped
from transcode.space.keys import mix
from transcode.space.lazily import Lazily
from transcode.space.parts import Objective, Parameter, Section
from transcode.space.phases import RUN, Phases
from transcode.space.reader import load
from transcode.space.results import SHARED, quantities, registry, registry_of, unit_of, unit_text
from transcode.space.values import numbers

__all__ = [
    "LARGEST_INDEX",
    "RUN",
    "SHARED",
    "Lazily",
    "Objective",
    "Parameter",
    "Phases",
    "Section",
    "Space",
    "describe",
    "digest",
    "find",
    "load",
    "mix",
    "numbers",
    "quantities",
    "registry",
    "registry_of",
    "restore",
    "shipped",
    "unit_of",
    "unit_text",
]
