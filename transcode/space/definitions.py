"""`define:` of a space: names of expressions that objectives, constraints and records know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from elector.base.errors import InputError
from elector.cost.results import ENDS
from transcode.space import decisive, grammar
from transcode.space.phases import RUN
from transcode.space.results import registry

#: What a name must not be: columns and figures of a run, words of the grammar.
_TAKEN = (
    *("id", "model", "accelerator", "workload", "workloads", "note", RUN, "feasible", "reason"),
    *("hypervolume", "baseline", "designs", "front", "abs", "min", "max", "and", "or", "not", "in"),
)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: What a plain result is called: words, dotted; parts of a machine may hold spaces.
_DOTTED = re.compile(r"[A-Za-z]\w*(\.\w[\w-]*( \w[\w-]*)*)*")


def define(
    written: object, objectives: Sequence[str], taken: Sequence[str], file: Path | None
) -> dict[str, grammar.Expression]:
    """Named expressions, each behind those it is made of.

    written : the key `define` of a space. objectives : names of the objectives; one that is an
    expression itself becomes a name for it. taken : names of workloads, parameters, accuracies.
    Raises InputError for a name that is taken, and what is no expression.
    """
    if not isinstance(written, dict):
        raise InputError(
            "is a mapping of names to expressions", file=file, field="define", value=written
        )
    expressions: dict[str, grammar.Expression] = {}
    for name, text in written.items():
        if not isinstance(name, str) or not _WORD.fullmatch(name) or name in (*_TAKEN, *taken):
            raise InputError(
                "is no name for an expression",
                file=file,
                field="define",
                value=name,
                hint="a word of letters, digits and _ that is not taken",
            )
        if name in registry():
            raise InputError("is a result already", file=file, field=f"define.{name}", value=name)
        stem, _, end = name.rpartition("_")
        if end in ENDS and (registry().bounded(name) or stem in written):
            raise InputError(
                f"is what an end of the interval of {stem} is called",
                file=file,
                field=f"define.{name}",
                value=name,
            )
        expressions[name] = grammar.parse_value(text, file=file, field=f"define.{name}")
    for name in objectives:
        if not _DOTTED.fullmatch(name):
            expressions[name] = grammar.parse_value(name, file=file, field="objectives")
    return _ordered(expressions, file)


def constants(
    define: Mapping[str, grammar.Expression], known: Mapping[str, grammar.NamedQuantity]
) -> set[str]:
    """The names that are the same number for every design, such as `latency_s - latency_s`.

    define : each name behind those it is made of. known : what all names stand for.
    """
    alike: set[str] = set()
    for name, expression in define.items():
        if alike.issuperset(expression.names) or decisive.only(expression, known) is not None:
            alike.add(name)
    return alike


def _ordered(
    given: dict[str, grammar.Expression], file: Path | None
) -> dict[str, grammar.Expression]:
    """The same, each name behind those its expression uses."""
    ordered: dict[str, grammar.Expression] = {}
    while rest := {name: e for name, e in given.items() if name not in ordered}:
        free = {name: e for name, e in rest.items() if not rest.keys() & set(e.names)}
        if not free:
            raise InputError(
                "is made of itself",
                file=file,
                field=f"define.{next(iter(rest))}",
                value=", ".join(rest),
            )
        ordered |= free
    return ordered
