"""What a program was seen to run at some sizes -> an operation list that follows them.

A front end (transformers configs, exported programs, ONNX) says what runs at given values of its
symbols; the same operations run at every point, and each of their sizes is a polynomial of the
symbols: at most quadratic in each. The polynomial is solved exactly
from as many points as it has terms and checked at one more, so that a size of another form is
found out and never guessed.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from elector.base.errors import InputError
from elector.describe.listing import Listed, Listing
from elector.describe.sizes import Size

#: Highest power of a symbol in a size; of the batch, one is tried first (CLIP compares all of a
#: batch with all of it, and few others do).
DEGREE = 2
#: Distances of the points: uneven, so that a kink between them shows at the last one.
STEPS = (0, 1, 3, 7)
#: Symbols that are fitted together: three of them take 18 points.
MOST_SYMBOLS = 3


@dataclass(frozen=True)
class Traced:
    """One operation at one point.

    path : where it stands, such as model.layers.3.mlp.up_proj. function : of
    data/vector_operations.csv; empty for a product. sizes : (name, number) as in `Listed`.
    weight : what its second operand's parameters are called; empty where it has none.
    """

    path: str
    function: str
    sizes: tuple[tuple[str, int], ...]
    a: str = "activation"
    b: str = "none"
    weight: str = ""


@dataclass(frozen=True)
class Symbol:
    """A size that varies. points : values at which the program can be traced, rising.

    default : what it is where the list is used; None for batch and length, which are settings.
    """

    name: str
    points: tuple[int, ...]
    default: int | None = None


Trace = Callable[[Mapping[str, int]], Sequence[Traced]]


def listing(
    trace: Trace, symbols: Sequence[Symbol], parameters: int | None, file: object
) -> Listing:
    """The operation list of a program.

    trace : values of the symbols -> what runs. symbols : each with one point more than its degree
    has terms. parameters : weights in all. file : for errors.
    Raises InputError where what runs, or a size, does not follow the symbols as said above.
    """
    if len(symbols) > MOST_SYMBOLS:
        raise InputError(
            f"has {len(symbols)} sizes that vary ({', '.join(s.name for s in symbols)}), more "
            f"than {MOST_SYMBOLS}",
            file=file,
            hint="fix some: --symbol NAME=NUMBER",
        )
    seen: dict[tuple[int, ...], list[Traced]] = {}

    def rows(point: tuple[int, ...]) -> list[Traced]:
        if point not in seen:
            values = zip((s.name for s in symbols), point, strict=True)
            seen[point] = list(trace(dict(values)))
        return seen[point]

    own = tuple((s.name, s.default) for s in symbols if s.default is not None)
    for batch in (1, DEGREE):
        fit = _Fit.of(symbols, batch, file)
        points = (*fit.points, fit.check)
        _require_same([rows(point) for point in points], fit, file)
        try:
            entries = [fit.entry(each) for each in zip(*map(rows, points), strict=True)]
        except InputError:
            if batch == DEGREE or not any(s.name == "batch" for s in symbols):
                raise
            continue
        return Listing(tuple(_joined(_reused(entries))), own, parameters)
    raise AssertionError("the last degree returns or raises")


@dataclass(frozen=True)
class _Fit:
    """Sizes at the points -> the polynomial they are. degrees : (symbol, its highest power)."""

    degrees: tuple[tuple[str, int], ...]
    points: tuple[tuple[int, ...], ...]
    check: tuple[int, ...]
    file: object

    @classmethod
    def of(cls, symbols: Sequence[Symbol], batch: int, file: object) -> _Fit:
        """Points enough for these powers, and one more. batch : highest power of the batch."""
        degrees = [batch if s.name == "batch" else DEGREE for s in symbols]
        each = list(zip(symbols, degrees, strict=True))
        return cls(
            tuple((s.name, degree) for s, degree in each),
            tuple(itertools.product(*(s.points[: degree + 1] for s, degree in each))),
            tuple(s.points[degree + 1] for s, degree in each),
            file,
        )

    def at(self, point: Sequence[int]) -> str:
        """A point in words."""
        return " ".join(f"{n}={v}" for (n, _), v in zip(self.degrees, point, strict=True))

    def entry(self, rows: tuple[Traced, ...]) -> tuple[Listed, str]:
        """One operation seen at all points, and the weights it reads."""
        first = rows[0]
        sizes = []
        for i, (key, _) in enumerate(first.sizes):
            size = self.size(tuple(row.sizes[i][1] for row in rows), first.path, key)
            if size.text != "1" or key in ("m", "k", "n", "elements"):
                sizes.append((key, size))
        name = re.sub(r"(?<![^.])\d+(?![^.])", "*", first.path)
        return (
            Listed(name, name, first.function, tuple(sizes), Size("1"), first.a, first.b),
            first.weight,
        )

    def size(self, values: tuple[int, ...], path: str, key: str) -> Size:
        """The size with these values at the points, the last one at the check."""
        text = _solved(values, self.points, self.check, self.degrees)
        if text is None:
            shown = ", ".join(
                f"{v} at {self.at(p)}"
                for v, p in zip(values[-2:], (self.points[-1], self.check), strict=True)
            )
            raise InputError(
                f"{path}: its size {key} is no polynomial of the sizes that vary: {shown}",
                file=self.file,
                hint="fix the size it follows: --symbol NAME=NUMBER",
            )
        return Size(text)


def _require_same(seen: list[list[Traced]], fit: _Fit, file: object) -> None:
    """Refuse a program that runs other operations at other sizes."""
    first = seen[0]
    for rows, point in zip(seen[1:], (*fit.points[1:], fit.check), strict=True):
        for one, other in itertools.zip_longest(first, rows):
            if one is None or other is None or _kind(one) != _kind(other):
                path = (one or other).path if (one or other) else ""
                raise InputError(
                    f"{path}: what runs depends on the sizes (seen at {fit.at(point)})",
                    file=file,
                    hint="fix the size it follows: --symbol NAME=NUMBER",
                )


def _kind(row: Traced) -> tuple[object, ...]:
    return (row.path, row.function, row.a, row.b, row.weight, tuple(n for n, _ in row.sizes))


def _reused(entries: Iterable[tuple[Listed, str]]) -> list[Listed]:
    """Weights that an operation before read already are read again, not anew."""
    seen: set[str] = set()
    listed = []
    for entry, weight in entries:
        again = entry.matmul and entry.b == "weight" and weight in seen
        listed.append(replace(entry, b="reuse") if again else entry)
        if entry.matmul:
            seen.add(weight)
    return listed


def _joined(entries: list[Listed]) -> list[Listed]:
    """Like operations as one entry that runs several times, where the first of them stands."""
    counts: dict[Listed, int] = {}
    for entry in entries:
        counts[entry] = counts.get(entry, 0) + 1
    return [replace(entry, count=Size(str(count))) for entry, count in counts.items()]


@functools.lru_cache(maxsize=65536)
def _solved(
    values: tuple[int, ...],
    points: tuple[tuple[int, ...], ...],
    check: tuple[int, ...],
    symbols: tuple[tuple[str, int], ...],
) -> str | None:
    """The text of the polynomial with these values; None where there is none of the degrees."""
    *known, last = values
    if all(value == last for value in known):
        return str(last)
    inverse = _inverse(points, symbols)
    factors = [
        sum((c * v for c, v in zip(row, known, strict=True)), Fraction(0)) for row in inverse
    ]
    powers = list(itertools.product(*(range(degree + 1) for _, degree in symbols)))
    at_check = sum(
        (f * _power(check, p) for f, p in zip(factors, powers, strict=True)), Fraction(0)
    )
    if at_check != last:
        return None
    return _text(factors, powers, [name for name, _ in symbols])


def _power(point: Sequence[int], powers: Sequence[int]) -> int:
    product = 1
    for value, power in zip(point, powers, strict=True):
        product *= value**power
    return product


@functools.lru_cache(maxsize=64)
def _inverse(
    points: tuple[tuple[int, ...], ...], symbols: tuple[tuple[str, int], ...]
) -> list[list[Fraction]]:
    """Inverse of the matrix of monomials at the points, exactly (Gauss-Jordan)."""
    powers = list(itertools.product(*(range(degree + 1) for _, degree in symbols)))
    size = len(points)
    rows = [
        [Fraction(_power(point, p)) for p in powers] + [Fraction(int(i == j)) for j in range(size)]
        for i, point in enumerate(points)
    ]
    for column in range(size):
        pivot = next(r for r in range(column, size) if rows[r][column] != 0)
        rows[column], rows[pivot] = rows[pivot], rows[column]
        factor = rows[column][column]
        rows[column] = [value / factor for value in rows[column]]
        for r in range(size):
            if r != column and rows[r][column] != 0:
                by = rows[r][column]
                rows[r] = [v - by * w for v, w in zip(rows[r], rows[column], strict=True)]
    return [row[size:] for row in rows]


def _text(factors: list[Fraction], powers: list[tuple[int, ...]], names: list[str]) -> str:
    """A polynomial as an expression; a common denominator divides at the end."""
    divisor = 1
    for factor in factors:
        divisor = divisor * factor.denominator // _gcd(divisor, factor.denominator)
    terms = []
    for factor, power in zip(factors, powers, strict=True):
        number = int(factor * divisor)
        if not number:
            continue
        parts = [str(abs(number))] if abs(number) != 1 or not any(power) else []
        for name, p in zip(names, power, strict=True):
            if p:
                parts.append(name if p == 1 else f"{name} ** {p}")
        terms.append(("-" if number < 0 else "+", " * ".join(parts)))
    terms.sort(key=lambda term: term[0] == "-")  # a positive term first
    text = terms[0][1] if terms[0][0] == "+" else f"-{terms[0][1]}"
    for sign, term in terms[1:]:
        text += f" {sign} {term}"
    if divisor == 1:
        return text
    return f"({text}) // {divisor}" if len(terms) > 1 else f"{text} // {divisor}"


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a
