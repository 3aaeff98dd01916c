"""Text with a unit -> a number in SI, and back.

A unit is a product of symbols, as in `GB/s`, `pJ/bit` or `W/m2`. Inside the package
every number is in SI (byte for memory); prefixes exist only here. The one exception is
the technology node, a label rather than a length, which stays in nm everywhere.
"""

from __future__ import annotations

import math
import re
from numbers import Real

from elector.base.errors import InputError, nearest

#: Seconds of a year of continuous work.
YEAR = 365.25 * 24 * 3600.0

#: symbol -> (powers of the bases, factor, decimal exponent of the factor)
_Symbol = tuple[dict[str, int], float, int]

_DECIMAL = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
_SMALL = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "m": -3}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}
_COUNTED = (
    "mac",
    "op",
    "flop",
    "cell",
    "lane",
    "access",
    "word",
    "cycle",
    "token",
    "sequence",
    "write",
    "nat",
)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")
_SPECIAL = re.compile(r"\s*[+-]?(nan|inf|infinity)\b.*", re.IGNORECASE)
#: What stands behind the digits of another way to write a number, and begins no unit.
_NO_UNIT = "_,:;'."
#: Longest text of a number; reading longer ones would cost time, and says nothing.
_LONGEST = 6000
#: Powers of ten beyond which every number is zero or infinite, whatever its digits.
_BEYOND = 99_999


def _symbols() -> dict[str, _Symbol]:
    """Every symbol that may stand in a unit."""
    table: dict[str, _Symbol] = {}
    for name, factor in (("byte", 1.0), ("bytes", 1.0), ("B", 1.0), ("bit", 0.125), ("b", 0.125)):
        for prefix, exponent in _DECIMAL.items():
            table[prefix + name] = ({"byte": 1}, factor, exponent)
        for prefix, power in _BINARY.items():
            table[prefix + name] = ({"byte": 1}, factor * 2.0**power, 0)
    table["KB"], table["Kb"] = table["kB"], table["kb"]
    scaled: dict[str, dict[str, int]] = {
        "s": {"s": 1},
        "Hz": {"s": -1},
        "J": {"J": 1},
        "W": {"J": 1, "s": -1},
        "V": {"V": 1},
        "m": {"m": 1},
    }
    for name, powers in scaled.items():
        for prefix, exponent in (_DECIMAL | _SMALL).items():
            table[prefix + name] = (powers, 1.0, exponent)
    for prefix, exponent in (_SMALL | {"": 0, "c": -2}).items():
        table[f"{prefix}m2"] = ({"m": 2}, 1.0, 2 * exponent)
    for name, seconds in (("min", 60.0), ("h", 3600.0), ("day", 24 * 3600.0), ("year", YEAR)):
        table[name] = ({"s": 1}, seconds, 0)
    for prefix, exponent in _DECIMAL.items():
        table[f"{prefix}Wh"] = ({"J": 1}, 3600.0, exponent)
    for name in _COUNTED:
        table[name] = ({}, 1.0, 0)
    table["1"] = ({}, 1.0, 0)
    table["%"] = ({}, 1.0, -2)
    return table


_SYMBOLS = _symbols()
#: The technology node is a dimension of its own, with nm as its base.
_NODE: dict[str, _Symbol] = {"nm": ({"node": 1}, 1.0, 0), "um": ({"node": 1}, 1.0, 3)}

#: What an error lists for the symbols of one dimension, in place of every spelling.
_SHOWN = {
    "byte": ("byte", "B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "bit", "Gbit"),
    "s": ("s", "ms", "us", "ns", "ps", "min", "h", "day", "year"),
    "Hz": ("Hz", "kHz", "MHz", "GHz", "THz"),
    "J": ("J", "mJ", "uJ", "nJ", "pJ", "fJ", "kWh"),
    "W": ("W", "kW", "mW", "uW", "nW", "pW"),
    "V": ("V", "mV"),
    "m": ("m", "mm", "um"),
    "m2": ("m2", "cm2", "mm2", "um2", "nm2"),
    "1": ("1", "%"),
    "nm": ("nm", "um"),
}


def parse(
    value: object,
    unit: str,
    *,
    field: str | None = None,
    file: object = None,
    counts: bool = False,
) -> float:
    """`value` in the SI base of `unit` (in nm where `unit` is nm).

    Parameters
    ----------
    value : a number, in `unit`; or text such as "4 MiB", "25.6 GB/s", "0.44 pJ".
    unit : the unit of a bare number, and the dimension of the text ("1": no dimension).
    field, file : where the value stands, for the error.
    counts : it says how many, so that `%` has no meaning.

    MB is 1e6 bytes and MiB 2^20. A decimal prefix moves the exponent of the written
    number, so "0.1 ms" is exactly the float 1e-4.
    """
    digits, factor, exponent, _, _ = _read(value, unit, field, file, counts)
    return _finite(_shift(digits, exponent) * factor, value, field, file)


def convert(value: object, unit: str, *, field: str | None = None, file: object = None) -> float:
    """`value` in `unit` itself, where `parse` gives SI; a number written in it stays that float.

    >>> convert("5 J", "mJ"), convert("858 mm2", "mm2")
    (5000.0, 858.0)
    """
    digits, factor, exponent, own_factor, own_exponent = _read(value, unit, field, file)
    number = _shift(digits, exponent - own_exponent) * (factor / own_factor)
    return _finite(number, value, field, file)


def _finite(number: float, value: object, field: str | None, file: object) -> float:
    if not math.isfinite(number):
        raise InputError("must be finite", file=file, field=field, value=value)
    return number


def _read(
    value: object, unit: str, field: str | None, file: object, counts: bool = False
) -> tuple[str, float, int, float, int]:
    """Digits, then factor and decimal exponent of the unit that is written, and of `unit`."""
    text = _as_text(value, unit, field, file).strip()
    if len(text) > _LONGEST:
        problem = f"is no number: it has {len(text):,} characters"
        raise InputError(problem, file=file, field=field, value=value)
    match = _NUMBER.fullmatch(text)
    if match is None:
        reason = "must be finite" if _SPECIAL.fullmatch(text) else "is not a number"
        raise InputError(reason, file=file, field=field, value=value, hint=_example(unit))
    written = match.group(2).replace(" ", "") or unit
    if written[0] in _NO_UNIT:  # 4,5 MB, 1:30, 1_000
        hint = "a decimal point and no commas: 4.5" if written[0] in ",'" else _example(unit)
        raise InputError("is not a number", file=file, field=field, value=value, hint=hint)
    if counts and "%" in written:
        problem = "is a count, not a share of one"
        raise InputError(problem, file=file, field=field, value=value, hint=_example(unit))
    table = _NODE if unit == "nm" else _SYMBOLS
    own = _expression(unit, table) or ({}, 1.0, 0)
    asked = own if written == unit else _expression(written, table)
    if asked is None or asked[0] != own[0]:
        plain = unit == "1"
        what = "a plain number" if plain else f"a value in {unit}"
        other = "has a unit, and is a plain number" if plain else f"is not in {unit}"
        raise InputError(
            f"unknown unit for {what}" if asked is None else other,
            file=file,
            field=field,
            value=written,
            allowed=("no unit", "%")[: 1 if counts else 2] if plain else _spellings(unit),
            hint=_guess(written, unit),
        )
    return match.group(1), asked[1], asked[2], own[1], own[2]


def known(unit: str) -> bool:
    """Whether every symbol of a unit such as `mJ*s` or `token/s/mm2` is known."""
    return _expression(unit, _SYMBOLS) is not None


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """`value` [SI] with the prefix that leaves one to three digits before the point.

    >>> format_si(0.00123, "s")
    '1.23 ms'
    """
    if not math.isfinite(value):
        return "-"
    if unit == "m2":
        return f"{_digits(value * 1e6, digits)} mm2"
    if unit in ("1", "nm"):
        return _digits(value, digits) + ("" if unit == "1" else " nm")
    symbol = "B" + unit[4:] if unit.startswith("byte") else unit
    steps = {**_DECIMAL, **({} if unit.startswith("byte") else _SMALL)}
    by_exponent = {exponent: prefix for prefix, exponent in steps.items() if prefix != "µ"}
    # rounded first: 999.96 with three digits is 1.00 k, not 1000
    magnitude = float(f"{abs(value):.{digits - 1}e}")
    exponent = 0 if magnitude == 0 else 3 * math.floor(math.floor(math.log10(magnitude)) / 3)
    exponent = min(max(exponent, min(by_exponent)), max(by_exponent))
    return f"{_digits(value / 10.0**exponent, digits)} {by_exponent[exponent]}{symbol}"


def _digits(value: float, digits: int) -> str:
    """`value` with `digits` significant digits, no exponent where it can be avoided."""
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if abs(value) >= 1e9 or decimals > 9:
        return f"{value:.{digits}g}"
    return f"{value:.{max(decimals, 0)}f}"


def _as_text(value: object, unit: str, field: str | None, file: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(
            "is not a number", file=file, field=field, value=value, hint=_example(unit)
        )
    try:
        return repr(float(value))
    except OverflowError:  # a whole number of 310 digits or more
        return "inf"


def _expression(text: str, table: dict[str, _Symbol]) -> _Symbol | None:
    """Powers, factor and exponent of `a*b/c/d`; None where a symbol is unknown."""
    powers: dict[str, int] = {}
    factor, exponent, sign = 1.0, 0, 1
    for part in re.split(r"([*/])", text.replace("(", "").replace(")", "")):
        if part in ("*", "/"):
            sign = 1 if part == "*" else -1
            continue
        if part not in table:
            return None
        symbol, symbol_factor, symbol_exponent = table[part]
        for base, power in symbol.items():
            powers[base] = powers.get(base, 0) + sign * power
        factor *= symbol_factor**sign
        exponent += sign * symbol_exponent
    return {base: power for base, power in powers.items() if power}, factor, exponent


def _shift(digits: str, exponent: int) -> float:
    """float(digits) x 10^exponent, rounded once."""
    mantissa, _, written = digits.lower().partition("e")
    own = written.lstrip("+-").lstrip("0")  # int() refuses thousands of digits
    power = _BEYOND if len(own) > 5 else int(own or 0)
    return float(f"{mantissa}e{(-power if written[:1] == '-' else power) + exponent}")


def _spellings(unit: str) -> list[str]:
    """The units a user may write where the schema says `unit`."""
    head, slash, tail = unit.partition("/")
    base = next((key for key, shown in _SHOWN.items() if head in shown), None)
    return [symbol + slash + tail for symbol in _SHOWN[base]] if base else [unit]


def _guess(written: str, unit: str) -> str | None:
    """A hint where upper and lower case hide the nearest unit, as in mb for MB."""
    known = _spellings(unit)
    if nearest(written, known):  # the error says so itself
        return None
    by_lower = {name.lower(): name for name in reversed(known)}
    close = nearest(written, by_lower)
    return f"did you mean {by_lower[close]}?" if close else None


def _example(unit: str) -> str:
    spellings = _spellings(unit)
    return "write a number" + (
        "" if unit == "1" else f", with a unit such as {spellings[min(2, len(spellings) - 1)]}"
    )
