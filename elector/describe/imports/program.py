"""A program that a front end has read, before its sizes are followed."""

from __future__ import annotations

from dataclasses import dataclass, field

from elector.describe.imports.calls import UnknownOperators
from elector.describe.imports.traced import Symbol, Trace


@dataclass
class ImportedProgram:
    """What a file holds.

    trace : values of the symbols -> what runs. symbols : the sizes that vary.
    parameters : weights in all. source : what was read, for the list. said : what the user
    should know. unknown : operators that were counted without being known.
    """

    trace: Trace
    symbols: list[Symbol]
    parameters: int
    source: str
    said: list[str] = field(default_factory=list)
    unknown: UnknownOperators = field(default_factory=UnknownOperators)
