"""A design space: parameters with finitely many values, alternatives, and conditions.

A design is a row of codes, one for each parameter: the index of its value. Codes become
`Column`s for the simulator, an index in [0, cardinality) for enumeration and duplicates,
and back, for thousands of designs at once.

The sections model and accelerator may hold alternatives (an accelerator of another kind
brings its own parameters); parameters of an alternative that was not chosen have code 0
and no value.

Axes: D designs, S parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.table import Column, Scalar
from transcode.accuracy.source_settings import AccuracySettings
from transcode.space import grammar
from transcode.space.dependence import Dependence
from transcode.space.keys import hashed
from transcode.space.layout import Layout, layout
from transcode.space.lazily import Lazily
from transcode.space.parts import Objective, Parameter, Section
from transcode.space.phases import Phases
from transcode.space.values import numbers

#: An index must fit the 64-bit integers that key designs, with room for arithmetic.
LARGEST_INDEX = 1 << 62
#: Most combinations that are run through to count what `where` lets through.
_COUNTABLE = 1 << 20


@dataclass(frozen=True)
class Space:
    """Everything a search needs to know about what it searches.

    workloads : name -> its own settings by dotted name; {"": {}} where there is one only.
    where : conditions on parameters; a design that breaks one is never looked at.
    constraints : conditions on results; a design that breaks one is infeasible.
    reference : objective -> its coordinate of the reference point, where given.
    record : results kept for each design beside the objectives.
    define : names of expressions of results and settings, those they are made of first.
    run : the training run its workloads make up, None without one.
    accuracy : where an accuracy (or a loss) comes from.
    """

    name: str
    parameters: tuple[Parameter, ...]
    sections: tuple[Section, ...]
    workloads: dict[str, dict[str, Scalar]]
    objectives: tuple[Objective, ...]
    where: tuple[grammar.Expression, ...] = ()
    constraints: tuple[grammar.Expression, ...] = ()
    reference: dict[str, float] = field(default_factory=dict)
    record: tuple[str, ...] = ()
    define: dict[str, grammar.Expression] = field(default_factory=dict)
    accuracy: AccuracySettings = field(default_factory=AccuracySettings)
    source: Path | None = None
    run: Phases | None = None

    @property
    def uses_accuracy(self) -> bool:
        """Whether an accuracy (or loss) is an objective, in a constraint, or recorded."""
        return any(name in self.accuracy.names for name in self.named)

    @property
    def named(self) -> tuple[str, ...]:
        """Every name that an objective, a record or a constraint uses, and what those that
        are defined are made of."""
        names = [o.name for o in self.objectives] + list(self.record)
        names += [name for e in self.constraints for name in e.names]
        for name in reversed(self.define):  # each stands behind what it is made of
            if name in names:
                names += self.define[name].names
        return tuple(dict.fromkeys(names))

    @property
    def prunes(self) -> bool:
        """Whether tau_i or tau_t is set, so that an accuracy depends on it."""
        return any(p.name in ("workload.tau_i", "workload.tau_t") for p in self.parameters)

    @cached_property
    def cardinality(self) -> int:
        """Number of designs before `where`."""
        return math.prod(self._sizes(section)[-1] for section in self.sections)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The dotted name of every column a design has, fixed ones included."""
        return tuple(dict.fromkeys(p.name for p in self.parameters))

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The names that differ between designs."""
        return tuple(n for n in self.names if len(self._layouts[n].values) > 1)

    def _sizes(self, section: Section) -> list[int]:
        """Designs of the section up to and including each alternative, cumulated."""
        sizes, total = [], 0
        for group in section.groups:
            total += math.prod(self.parameters[c].size for c in section.members[group])
            sizes.append(total)
        return sizes

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        layouts: dict[str, list[int]] = {}
        for column, parameter in enumerate(self.parameters):
            layouts.setdefault(parameter.name, []).append(column)
        return {
            name: layout(self.parameters, self.sections, columns)
            for name, columns in layouts.items()
        }

    def active(self, codes: np.ndarray, column: int) -> np.ndarray:
        """(D,) bool: whether the parameter belongs to the alternative that was chosen.

        column : place of the parameter.
        """
        section = next(s for s in self.sections if any(column in m for m in s.members))
        if section.selector < 0:
            return np.ones(len(codes), dtype=bool)
        groups = np.array(section.groups)[codes[:, section.selector]]
        return np.asarray(groups == self.parameters[column].group)

    def decode(self, codes: np.ndarray) -> dict[str, Column]:
        """Values of (D, S) codes by dotted name; None where an alternative lacks the name."""
        return {name: self.column(name, codes) for name in self.names}

    def lazily(self, codes: np.ndarray, names: Iterable[str] | None = None) -> Mapping[str, Column]:
        """As `decode`, or those of `names` only, but a column is made when it is asked for."""
        return Lazily(self.names if names is None else names, lambda name: self.column(name, codes))

    @cached_property
    def code_type(self) -> np.dtype[Any]:
        """Smallest signed integers that hold every code; -1 stands for an unknown value."""
        return np.min_scalar_type(-max((p.size for p in self.parameters), default=1))

    def pack(self, codes: np.ndarray) -> np.ndarray:
        """The same codes in the smallest integers, a byte each as a rule: to be kept."""
        return codes.astype(self.code_type, copy=False)

    def column(self, name: str, codes: np.ndarray) -> Column:
        """One of the columns of `decode`."""
        layout = self._layouts[name]
        if layout.always:
            return Column(layout.values, layout.pieces[0].look_up(codes))
        merged = np.zeros(len(codes), dtype=np.intp)
        for piece in layout.pieces:
            merged = np.where(self.active(codes, piece.column), piece.look_up(codes), merged)
        return Column(layout.values, merged)

    def encode(self, columns: Mapping[str, Column]) -> np.ndarray:
        """(D, S) codes of designs given by their values: the inverse of `decode`.

        Names that have one value in the whole space may be left out.
        """
        size = len(next(iter(columns.values())))
        codes = np.zeros((size, len(self.parameters)), dtype=np.int32)
        for section in self.sections:
            if section.selector >= 0 and len(section.groups) > 1:
                name = self.parameters[section.selector].name
                codes[:, section.selector] = self._alternative(columns, section, name)
        for column, parameter in enumerate(self.parameters):
            if parameter.size > 1 and all(column != s.selector for s in self.sections):
                codes[:, column] = self._find(columns[parameter.name], codes, column)
        return self.canonical(codes)

    def _alternative(
        self, columns: Mapping[str, Column], section: Section, name: str
    ) -> np.ndarray:
        """Codes of the selector; the first alternative of that base that has these values."""
        bases = self.parameters[section.selector].values
        given, chosen = columns[name], np.full(len(columns[name]), -1)
        for code in reversed(range(len(bases))):
            fits = np.array([value == bases[code] for value in given.values])[given.codes]
            trial = np.zeros((len(given), len(self.parameters)), dtype=np.int32)
            trial[:, section.selector] = code
            for column in section.members[section.groups[code]]:
                own = columns.get(self.parameters[column].name)
                if own is not None:
                    trial[:, column] = self._find(own, trial, column)
                    fits &= trial[:, column] >= 0
            chosen = np.where(fits, code, chosen)
        return chosen

    def _find(self, given: Column, codes: np.ndarray, column: int) -> np.ndarray:
        """Codes of one parameter from its values; 0 where inactive, -1 where unknown."""
        layout = self._layouts[self.parameters[column].name]
        piece = next(p for p in layout.pieces if p.column == column)
        position = {value: code for code, value in enumerate(layout.values)}
        merged = given.map(lambda value: position.get(value, -1), dtype=np.intp)
        known_codes = piece.reverse(merged, codes)
        return np.where(self.active(codes, column), known_codes, 0)

    def index(self, codes: np.ndarray) -> np.ndarray:
        """(D,) int64, a different one for each design; only where cardinality allows."""
        assert self.cardinality < LARGEST_INDEX
        total = np.zeros(len(codes), dtype=np.int64)
        for section in self.sections:
            total = total * self._sizes(section)[-1] + self.section_index(section, codes)
        return total

    def section_index(self, section: Section, codes: np.ndarray) -> np.ndarray:
        """(D,) int64, a different one for each choice within one section."""
        starts = np.array([0, *self._sizes(section)[:-1]], dtype=np.int64)
        if section.selector < 0:
            return self._digits_index(section.members[0], codes)
        chosen = codes[:, section.selector]
        index = np.zeros(len(codes), dtype=np.int64)
        for group, members in enumerate(section.members):
            within = np.array(section.groups)[chosen] == group
            index = np.where(within, self._digits_index(members, codes), index)
        return index + starts[chosen]

    def _digits_index(self, members: tuple[int, ...], codes: np.ndarray) -> np.ndarray:
        index = np.zeros(len(codes), dtype=np.int64)
        for column in members:
            index = index * self.parameters[column].size + codes[:, column]
        return index

    def designs(self, index: np.ndarray) -> np.ndarray:
        """(D, S) codes of the designs at (D,) int64 positions: the inverse of `index`."""
        codes = np.zeros((len(index), len(self.parameters)), dtype=np.int32)
        rest = np.asarray(index, dtype=np.int64)
        for section in reversed(self.sections):
            rest, own = np.divmod(rest, self._sizes(section)[-1])
            self._fill_section(section, own, codes)
        return codes

    def _fill_section(self, section: Section, index: np.ndarray, codes: np.ndarray) -> None:
        ends = np.array(self._sizes(section), dtype=np.int64)
        chosen = np.searchsorted(ends, index, side="right")
        if section.selector >= 0:
            codes[:, section.selector] = chosen
        index = index - np.array([0, *ends[:-1]])[chosen]
        for group, members in enumerate(section.members):
            rows = np.flatnonzero(np.array(section.groups)[chosen] == group)
            rest = index[rows]
            for column in reversed(members):
                rest, digit = np.divmod(rest, self.parameters[column].size)
                codes[rows, column] = digit

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """(D, S) codes from (D, S) numbers in [0, 1), evenly over each parameter's values.

        unit : (D, S) numbers in [0, 1).
        """
        sizes = np.array([p.size for p in self.parameters])
        codes = np.minimum((unit * sizes).astype(np.int32), sizes - 1).astype(np.int32)
        return self.canonical(codes)

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        """The codes, in place, with 0 for whatever does not matter.

        That is what belongs to alternatives that were not chosen, to layers beyond the last
        and to heads beyond those of a layer: without it one design would have many codes.
        """
        for section in self.sections:
            if section.selector < 0 or len(section.members) == 1:
                continue
            for members in section.members:
                for column in members:
                    codes[~self.active(codes, column), column] = 0
        for part, idle in self._dependence.each(codes):
            np.copyto(part, 0, where=idle)
        return codes

    def is_canonical(self, codes: np.ndarray) -> np.ndarray:
        """(D,) bool: whether a design is written in the one way `canonical` would."""
        return ~(self.idle(codes) & (codes != 0)).any(axis=1)

    @cached_property
    def _dependence(self) -> Dependence:
        return Dependence(self.parameters)

    def idle(self, codes: np.ndarray) -> np.ndarray:
        """(D, S) bool: whether a parameter does not matter."""
        return self._dependence.idle(codes)

    def absent(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Names of layers and heads -> (D,) bool, the designs that do not have them."""
        idle, lacking = self.idle(codes), {}
        for name in dict.fromkeys(self.parameters[c].name for c in self._dependence.columns):
            columns = [piece.column for piece in self._layouts[name].pieces]
            has = [self.active(codes, c) & ~idle[:, c] for c in columns]
            lacking[name] = ~np.logical_or.reduce(has)
        return lacking

    def _variants(self, column: int) -> int:
        """Designs that differ in this column and in what depends on it."""
        needed = [(c, self.parameters[c].needs) for c in self._dependence.columns]
        below = [(c, needs[1]) for c, needs in needed if needs is not None and needs[0] == column]
        if not below:
            return self.parameters[column].size
        return sum(
            math.prod(self._variants(c) for c, least in below if float(value) >= least)
            for value in self.parameters[column].values
        )

    def key(self, codes: np.ndarray) -> np.ndarray:
        """(D,) uint64 by which designs are told apart: exact, or a hash of a huge space."""
        if self.cardinality < LARGEST_INDEX:
            return self.index(codes).view(np.uint64)
        return hashed(codes)

    def section_key(self, section: Section, codes: np.ndarray) -> np.ndarray:
        """(D,) integers by which the choices of one section are told apart: exact, or a hash."""
        if self._sizes(section)[-1] < LARGEST_INDEX:
            return self.section_index(section, codes)
        columns = {c for members in section.members for c in members} | {section.selector}
        return hashed(codes[:, sorted(columns - {-1})])

    @cached_property
    def allowed_count(self) -> int | None:
        """Number of designs that `where` lets through; None where counting takes too long.

        Exact: only the parameters that `where` names are run through, the others multiply.
        """
        if not self.where:
            return self._all_count
        if self._dependence.columns:
            return None
        used = {name for e in self.where for name in e.names}
        total, limit = 0, _COUNTABLE
        for alternatives in itertools.product(*(range(len(s.groups)) for s in self.sections)):
            columns, fixed = self._of_alternatives(alternatives)
            asked = {c for c in columns if self.parameters[c].name in used}
            asked |= {self.parameters[c].parent for c in asked} - {-1}
            sizes = [self.parameters[c].size if c in asked else 1 for c in columns]
            limit -= math.prod(sizes)
            if limit < 0:
                return None
            others = math.prod(self.parameters[c].size for c in columns if c not in asked)
            total += others * self._allowed_of(fixed, columns, sizes)
        return total

    @cached_property
    def _all_count(self) -> int:
        """Number of designs, each counted once however many codes it has."""
        if not self._dependence.columns:
            return self.cardinality
        total = 1
        for section in self.sections:
            own = [
                [c for c in section.members[group] if self.parameters[c].needs is None]
                for group in section.groups
            ]
            total *= sum(math.prod(map(self._variants, columns)) for columns in own)
        return total

    def _of_alternatives(self, alternatives: tuple[int, ...]) -> tuple[list[int], np.ndarray]:
        """Columns of the parameters these alternatives bring, and a design of theirs."""
        columns: list[int] = []
        design = np.zeros((1, len(self.parameters)), dtype=np.int32)
        for section, code in zip(self.sections, alternatives, strict=True):
            columns += section.members[section.groups[code]]
            if section.selector >= 0:
                design[0, section.selector] = code
        return columns, design

    def _allowed_of(self, design: np.ndarray, columns: list[int], sizes: list[int]) -> int:
        """How many of the designs that vary `columns` over `sizes` values are allowed."""
        allowed, count = 0, math.prod(sizes)
        for start in range(0, count, 1 << 16):
            rest = np.arange(start, min(count, start + (1 << 16)))
            codes = np.repeat(design, len(rest), axis=0)
            for column, size in zip(columns, sizes, strict=True):
                rest, codes[:, column] = np.divmod(rest, size)
            allowed += int(self.allowed(codes).sum())
        return allowed

    def allowed(self, codes: np.ndarray) -> np.ndarray:
        """(D,) bool: whether every condition of `where` holds.

        A condition about a parameter that an alternative does not have, or that belongs to a
        layer or head that is not there, holds there.
        """
        good = np.ones(len(codes), dtype=bool)
        for expression in self.where:
            columns = [self.column(name, codes) for name in expression.names]
            values = dict(zip(expression.names, map(numbers, columns), strict=True))
            holds = grammar.holds(expression, values.__getitem__)
            for column in columns:
                if None in column.values:
                    holds = holds | column.map(lambda value: value is None, dtype=bool)
            if own := [
                c for c in self._dependence.columns if self.parameters[c].name in expression.names
            ]:
                holds = holds | self.idle(codes)[:, own].any(axis=1)
            good &= holds
        return good
