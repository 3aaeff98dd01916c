"""The crossbars of a design: what a matrix takes, how long a vector takes, what a sum needs.

A weight of w bits takes ceil(w / cell bits) columns, twice that as a differential pair. A
vector goes through a matrix in

    ceil(input bits / DAC bits) phases x ceil(rows used / rows driven at once)

steps of max(read pulse, conversions of a converter / its rate). No more rows are driven at
once than the converters resolve, unless `active_rows` says so:

    bits = ceil(log2(rows driven (2^cell bits - 1) (2^DAC bits - 1) + 1)),

one fewer where columns that would sum to more than half are stored inverted (Shafiee et al.
2016, ISAAC, section 5). Each bit that is missing cuts one of the result.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np

from elector.base.table import DATA, read_rows, schema
from elector.base.units import parse
from elector.describe.numbers import formats
from elector.machines.contract import Units

Array = np.ndarray


@functools.cache
def constants() -> dict[str, float]:
    """Constants of cells and converters that are no prices, in SI (data/reram.csv)."""
    values = {}
    for row in read_rows(DATA / "reram.csv"):
        values[row["quantity"]] = parse(row["value"], row["unit"], field=row["quantity"])
    return values


def channels(units: Units) -> Array:
    """(D,) converters of the published rate that make one of the rate asked for."""
    return np.ceil(units.number("adc_rate") / constants()["channel_rate"])


def pulses(units: Units) -> Array:
    """(D,) pulses of one write: those that a cell of so many bits needs, repeated."""
    most = int(schema("reram")["cell_bits"].high or 1)
    each = np.array([0.0] + [constants()[f"pulses_{bits}"] for bits in range(1, most + 1)])
    return each[units.number("cell_bits").astype(np.intp)] * units.number("write_verify")


# ---- settings left to the machine ----


def complete(units: Units) -> Units:
    """The units with the settings that were left to the machine (NaN).

    Weights and inputs have the bits of the datapath; converters cut no sum of a whole column,
    as far as there are such converters; rows are driven as converters resolve them.
    """
    bits = datapath_bits(units)
    units = units.replace(
        weight_bits=_given(units.number("weight_bits"), bits),
        input_bits=_given(units.number("input_bits"), bits),
    )
    rows = units.number("rows")
    widest = schema("reram")["adc_bits"].high
    needed = needed_bits(units, _given(units.number("active_rows"), rows))
    units = units.replace(adc_bits=_given(units.number("adc_bits"), np.clip(needed, 1.0, widest)))
    return units.replace(active_rows=_given(units.number("active_rows"), _resolved_rows(units)))


def datapath_bits(units: Units) -> Array:
    """(D,) bits of a number in the format the machine is built for."""
    names, codes = units.names["datapath"]
    bits: Array = np.array([formats()[name].bits for name in names])[codes]
    return bits


def _given(values: Array, otherwise: Array) -> Array:
    return np.where(np.isnan(values), otherwise, values)


def _levels(units: Units) -> Array:
    """(D,) largest current of one cell, in steps."""
    return (2.0 ** units.number("cell_bits") - 1.0) * (2.0 ** units.number("dac_bits") - 1.0)


def _saved(units: Units) -> Array:
    """(D,) converter bits that inverted columns save."""
    return np.where(units.equals("encoding", "flipped"), 1.0, 0.0)


def needed_bits(units: Units, rows: Array) -> Array:
    """(D,) converter bits at which no sum of `rows` (D,) rows driven at once is cut."""
    return np.ceil(np.log2(rows * _levels(units) + 1.0)) - _saved(units)


def _resolved_rows(units: Units) -> Array:
    """(D,) rows whose sum the converters resolve; at least one."""
    largest = 2.0 ** (units.number("adc_bits") + _saved(units)) - 1.0
    return np.clip(np.floor(largest / _levels(units)), 1.0, units.number("rows"))


def lost_bits(units: Units) -> Array:
    """(D,) bits that converters too narrow for the rows driven at once cut off."""
    rows = np.minimum(units.number("active_rows"), units.number("rows"))
    return np.maximum(needed_bits(units, rows) - units.number("adc_bits"), 0.0)


def effective_bits(units: Units) -> Array:
    """(D,) bits of a weight that reach the result."""
    return np.maximum(units.number("weight_bits") - lost_bits(units), 0.0)


# ---- crossbars ----


def _mean_groups(k: Array, span: Array, side: Array, group: Array) -> Array:
    """Mean number of groups of at most `group` lines that k lines fall into.

    Lines fill crossbars of `side` lines one after another and a group lies in one crossbar;
    k runs over span + 1 consecutive integers centred on its value.
    """
    if not np.any(span):
        whole = np.floor(k / side)
        return whole * np.ceil(side / group) + np.ceil((k - whole * side) / group)
    last = k + span / 2.0
    total = _sum_groups(last, side, group) - _sum_groups(last - span - 1.0, side, group)
    return total / (span + 1.0)


def _sum_groups(most: Array, side: Array, group: Array) -> Array:
    """Groups that 1, 2, ... `most` lines fall into, summed up."""
    each, whole = np.ceil(side / group), np.floor(most / side)
    rest = most - whole * side
    above = each * (side * whole * (whole - 1.0) / 2.0 + whole * (rest + 1.0))
    return above + whole * _sum_ceil(side - 1.0, group) + _sum_ceil(rest, group)


def _sum_ceil(most: Array, group: Array) -> Array:
    """ceil(1 / group) + ceil(2 / group) + ... + ceil(most / group)."""
    full = np.floor(most / group)
    return group * full * (full + 1.0) / 2.0 + (most - full * group) * (full + 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Crossbars:
    """Geometry and speed of the crossbars of D designs, each (D,).

    rows, cols : of one. driven : rows (read in the other direction, columns) driven at once.
    columns : of one weight. results : of them that are converted apart (a differential pair is
        subtracted before). total : crossbars of the chip. phases : of one vector.
    forward, backward : seconds of one step, converting columns or rows. tail : seconds from the
        last step of a product until its last sum is converted (of the slower direction).
    sliced : bool, the columns of a weight lie in crossbars of their own: a row of one crossbar
        then sums cells of one significance, as reading in both directions needs.

    Sizes that methods take (k, n, side, span) are (P, D) of products or (D,); so are their results.
    some : (N,) places or (D,) bool.
    """

    rows: Array
    cols: Array
    driven: Array
    columns: Array
    results: Array
    total: Array
    phases: Array
    forward: Array
    backward: Array
    tail: Array
    sliced: Array

    def take(self, some: Array) -> Crossbars:
        """Those of some designs."""
        return Crossbars(*[getattr(self, f.name)[some] for f in fields(self)])

    @property
    def weights(self) -> Array:
        """Crossbar rows' worth of whole weights side by side; 0 where one is wider."""
        return np.floor(self.cols / self.columns)

    def across(self, n: Array) -> Array:
        """Crossbars side by side for n weights that lie next to one another."""
        some = np.ceil(n / np.maximum(self.weights, 1.0))
        return np.where(self.weights > 0, some, n * np.ceil(self.columns / self.cols))

    def of(self, k: Array, n: Array) -> Array:
        """Crossbars of a k x n operand that is read forward only."""
        return np.ceil(k / self.rows) * self.across(n)

    def stored(self, k: Array, n: Array) -> Array:
        """Crossbars of a k x n matrix of weights."""
        return np.ceil(k / self.rows) * self.stored_across(n)

    def mean_across(self, n: Array, span: Array) -> Array:
        """The mean of `across` where n runs over span + 1 consecutive integers."""
        side = np.maximum(self.weights, 1.0)
        return np.where(self.weights > 0, _mean_groups(n, span, side, side), self.across(n))

    def stored_across(self, n: Array) -> Array:
        """Crossbars side by side that n outputs of a stored matrix are spread over."""
        return np.where(self.sliced, self.columns * np.ceil(n / self.cols), self.across(n))

    def steps(self, k: Array, side: Array) -> Array:
        """Groups that k lines, `side` a crossbar, are driven in, all crossbars at once."""
        return np.ceil(np.minimum(k, side) / self.driven)

    def conversions(self, k: Array, side: Array, span: Array) -> Array:
        """Groups of lines in all crossbars below one another: each is converted once a phase.

        span : k runs over span + 1 consecutive integers around its value; the mean is given.

        side : lines of a matrix on the side that is converted.
        """
        return _mean_groups(k, span, side, np.minimum(self.driven, side))

    def vector(self, k: Array) -> Array:
        """Seconds of one vector through a matrix of k rows."""
        return self.phases * self.steps(k, self.rows) * self.forward

    def transposed(self, k: Array) -> Array:
        """Seconds of one vector through a matrix of k columns, driven from the columns."""
        return self.phases * self.steps(k, self.cols) * self.backward

    @property
    def peak(self) -> Array:
        """Multiply-accumulates a second of one crossbar at its best."""
        down = np.minimum(self.driven, self.rows) * self.cols / self.forward
        up = np.where(self.sliced, np.minimum(self.driven, self.cols) * self.rows, 0.0)
        return np.maximum(down, up / self.backward) / (self.columns * self.phases)


def crossbars(units: Units) -> Crossbars:
    """Geometry and speed of the crossbars of D units."""
    number = units.number
    results = np.ceil(number("weight_bits") / number("cell_bits"))
    pair = np.where(units.equals("encoding", "differential"), 2.0, 1.0)

    pulse = number("read_pulse")
    down, up = (
        np.ceil(number(side) / number("adcs_per_crossbar")) / number("adc_rate")
        for side in ("cols", "rows")
    )
    # Pulses and conversions are a pipeline of two stages.
    both = units.equals("transposed_read", "bidirectional")
    slower = np.where(both, np.maximum(down, up), down)
    return Crossbars(
        rows=number("rows"),
        cols=number("cols"),
        driven=np.minimum(number("active_rows"), number("rows")),
        columns=results * pair,
        results=results,
        total=number("crossbars_per_unit") * number("units_per_tile") * number("tiles"),
        phases=np.ceil(number("input_bits") / number("dac_bits")),
        forward=np.maximum(pulse, down),
        backward=np.maximum(pulse, up),
        tail=np.minimum(pulse, slower),
        sliced=both,
    )
