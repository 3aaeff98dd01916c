"""Numbers as people read them: the one formatter of tables, plots and pages.

A quantity is a number in a unit of elector.base.units (`s`, `mm2`, `token/s`, `J*s`). It gets an
SI prefix where its first unit takes one, hours or kilowatt-hours where seconds and joules become
long, and thousands separators otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from elector.base import units

#: First symbols of a unit that an SI prefix suits; areas and counts take none.
_PREFIXED = ("s", "J", "W", "byte", "Hz", "op")
#: Symbols that are written otherwise than they are read.
_WRITTEN = {
    "byte": "B",
    "token": "tokens",
    "sequence": "sequences",
    "year": "years",
    "write": "writes",
    "nat": "nats",
    "day": "days",
}
#: Values of a unit from which on a larger one reads better, that unit and its size: seconds as
#: long as meetings and days, joules as they are billed.
_LARGER = {
    "s": ((100 * 3600.0, "day", 24 * 3600.0), (7200.0, "h", 3600.0), (1000.0, "min", 60.0)),
    "J": ((3.6e9, "MWh", 3.6e9), (1e6, "kWh", 3.6e6)),
}
#: Numbers from here on are written with an exponent.
_MOST_WRITTEN = 1e21
#: A larger unit suits an axis whose lower end is at least so much of it.
_LEAST = 0.01
#: SI prefix -> power of ten, as an axis may have it.
PREFIXES = {"p": -12, "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}


def show(value: float, unit: str, digits: int = 3) -> str:
    """`value`, given in `unit`, with the unit people expect.

    Parameters
    ----------
    value : a number in `unit`. unit : "1" for a count or ratio, "%" for a number of per cent.
    digits : significant digits of what has a prefix; plain numbers get one more.

    >>> show(0.00123, "s"), show(33300.0, "s"), show(3088.2, "token/s"), show(2490.0, "mm2")
    ('1.23 ms', '9.25 h', '3,088 tokens/s', '2,490 mm2')
    """
    if not math.isfinite(value):
        return "-"
    if unit == "%" and abs(value) < _MOST_WRITTEN:
        return f"{round(value, 1) + 0.0:.1f} %"  # no -0.0
    for least, larger, size in _LARGER.get(unit, ()):
        if abs(value) >= least:
            return f"{plain(value / size, digits)} {_WRITTEN.get(larger, larger)}"
    if unit == "1/s":
        return units.format_si(value, "/s", digits)
    if takes_prefix(unit):
        return units.format_si(value, unit if unit.startswith("byte") else written(unit), digits)
    if unit == "m2":
        return show(value * 1e6, "mm2", digits)
    return f"{plain(value, digits + 1)} {written(unit)}".rstrip()


def share(value: float, decimals: int = 1, sign: str = "") -> str:
    """A share in per cent, `-` for none; one of many digits with an exponent.

    >>> share(0.1234), share(-0.5, 0, "+"), share(-1e-4, 0, "+")
    ('12.3%', '-50%', '0%')
    >>> share(2e12, 1, "+"), share(math.nan)
    ('+2e+14%', '-')

    value : such as an error. decimals : behind the point. sign : `+` for one before a gain, too.
    """
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1e6:
        return f"{100.0 * value:{sign}.3g}%"
    nothing = round(100.0 * value, decimals) == 0.0  # which has no sign
    return f"{abs(value):.{decimals}%}" if nothing else f"{value:{sign}.{decimals}%}"


def pretty(text: str) -> str:
    """What `show` says with the signs that pages and pictures have and a terminal may not.

    text : a quantity, such as 403 us or 316 mm2.
    """
    return re.sub(r"\bu(?=[A-Za-z]\b)", "µ", text).replace("mm2", "mm²")


def plain(value: float, digits: int = 4) -> str:
    """`value` with so many significant digits and thousands separators; an exponent below a
    ten-thousandth and where more than 21 digits would stand before the point.

    >>> plain(3088.2), plain(30880.0), plain(0.012345), plain(12.0), plain(2.5e-7)
    ('3,088', '30,880', '0.01235', '12', '2.5e-07')
    """
    if not math.isfinite(value) or abs(value) >= _MOST_WRITTEN:
        return f"{value:.{digits}g}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1e-4:
        return f"{value:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    text = f"{value:,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def takes_prefix(unit: str) -> bool:
    """Whether a unit may be written with an SI prefix, as ms or MB/s."""
    above = _powers(unit)[0]
    first = next(iter(above), "")
    return first in _PREFIXED and above[first] == 1


def written(unit: str) -> str:
    """A unit as it stands behind a number: `tokens/s`, `J s`, nothing for a count.

    >>> written("token/s/mm2"), written("J*s"), written("J*J"), written("byte"), written("1")
    ('tokens/s/mm2', 'J s', 'J^2', 'B', '')
    """
    if unit in ("", "1", "bool", "text"):
        return ""
    above, below = _powers(unit)
    text = " ".join(_raised(_WRITTEN.get(s, s), n) for s, n in above.items()) or "1"
    return "/".join([text, *(_raised(s.replace("byte", "B"), n) for s, n in below.items())])


def _raised(symbol: str, power: int) -> str:
    return symbol if power == 1 else f"{symbol}^{power}"


def _powers(unit: str) -> tuple[dict[str, int], dict[str, int]]:
    """Symbols above and below the line of `a*b/c/d`, each with its power."""
    powers: dict[str, int] = {}
    sign = 1
    for part in re.split(r"([*/])", unit):
        if part in ("*", "/"):
            sign = 1 if part == "*" else -1
        elif part != "1":
            powers[part] = powers.get(part, 0) + sign
    above = {symbol: power for symbol, power in powers.items() if power > 0}
    return above, {symbol: -power for symbol, power in powers.items() if power < 0}


def product(first: str, second: str, sign: int = 1) -> str:
    """The unit of a product (or, with sign -1, a quotient) of two quantities.

    >>> product("J", "s"), product("token/s", "mm2", -1), product("J", "J", -1)
    ('J*s', 'token/s/mm2', '1')

    first, second : units of the factors.
    """
    powers: dict[str, int] = {}
    for unit, times in ((first, 1), (second, sign)):
        for symbols, side in zip(_powers(unit), (1, -1), strict=True):
            for symbol, power in symbols.items():
                powers[symbol] = powers.get(symbol, 0) + times * side * power
    above = [symbol for symbol, power in powers.items() for _ in range(power)]
    below = [symbol for symbol, power in powers.items() for _ in range(-power)]
    return "/".join(["*".join(above) or "1", *below])


@dataclass(frozen=True)
class Scale:
    """One unit for a whole axis: values are divided by `size`, `label` is what they then are."""

    label: str
    size: float


def axis_scale(low: float, high: float, unit: str) -> Scale:
    """The prefix that writes both ends of a range [unit] with the fewest digits.

    low, high : positive ends; otherwise, and for units without prefixes, none is used.
    """
    label = written(unit)
    if not takes_prefix(unit) or low <= 0:
        return Scale(label, 1.0)
    for least, larger, size in _LARGER.get(unit, ()):
        if high >= least and low >= _LEAST * size:
            return Scale(_WRITTEN.get(larger, larger), size)

    def digits(exponent: int) -> int:
        places = [math.floor(math.log10(value)) - exponent for value in (low, high)]
        return max(abs(place) + (place < 0) for place in places)

    allowed = {p: e for p, e in PREFIXES.items() if e >= 0 or not label.startswith("B")}
    prefix = min(allowed, key=lambda p: digits(allowed[p]))
    return Scale(f"{prefix}{label}", 10.0 ** allowed[prefix])
