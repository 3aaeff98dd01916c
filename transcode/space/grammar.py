"""The small language of `where:`, `constraints:` and `define:`, on whole columns of designs.

    model.hidden % model.heads == 0 and accelerator.dataflow in ['ws', 'os']
    serve.latency_s <= 5 ms
    energy_j * latency_s

Numbers may carry a unit, which is read in the unit of what they are compared with or added to.
The syntax stands in transcode.space.syntax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from elector.base import quantity, units
from elector.base.errors import InputError
from transcode.space.syntax import (
    LOGIC,
    Apply,
    Expression,
    Fault,
    Name,
    Node,
    Number,
    Text,
    parse,
    parse_value,
    walk,
)

__all__ = [
    "Expression",
    "NamedQuantity",
    "bind",
    "bounds",
    "compared",
    "holds",
    "margin",
    "parse",
    "parse_value",
    "require_finite",
    "undecided",
    "unit_of",
    "value",
]

Values = Callable[[str], np.ndarray]
Operation = Callable[[np.ndarray, np.ndarray], np.ndarray]
_COMPARISONS: dict[str, Operation] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
}
_FLIPPED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "==": "=="}
_ARITHMETIC: dict[str, Operation] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.mod,
    "min": np.minimum,
    "max": np.maximum,
}
_QUOTIENTS = ("/", "//", "%")
#: Operators whose operands and result have one unit.
_ALIKE = ("+", "-", "min", "max", "negative", "abs", "in", *_COMPARISONS)
#: The unit of what mixes several, or too many, which no number can be written in.
MIXED = ""
#: Characters of the longest unit that is derived; a product of more factors has MIXED.
_LONGEST = 80


@dataclass(frozen=True)
class NamedQuantity:
    """What a name stands for: numbers in `unit` (of elector.base.units), or "text".

    least, most : what no number of it is below or above, in the unit.
    """

    unit: str = "1"
    least: float = -math.inf
    most: float = math.inf


def bind(
    expression: Expression,
    quantities: Mapping[str, NamedQuantity],
    *,
    file: object = None,
    field: str | None = None,
) -> Expression:
    """The same condition or expression with its names checked and its units resolved.

    `quantities` holds every name that may be used.
    """
    for name in expression.names:
        if name not in quantities:
            raise InputError(
                f"unknown name in {expression.text!r}",
                file=file,
                field=field,
                value=name,
                allowed=quantities,
                hint="text is quoted: accelerator.dataflow == 'ws'",
            )
    try:
        return replace(expression, tree=_bind(expression.tree, quantities))
    except Fault as fault:
        raise InputError(str(fault), file=file, field=field, value=expression.text) from None
    except InputError as error:
        raise error.at(file=file, field=field) from None


def require_names(
    expression: Expression, *, file: object = None, field: str | None = None
) -> Expression:
    """The same condition. Raises InputError for one that is true, or false, of everything: it
    looks at nothing."""
    if not expression.names:
        problem = "names nothing of a design, so it says the same of all"
        raise InputError(problem, file=file, field=field, value=expression.text)
    return expression


def require_finite(
    expression: Expression, *, file: object = None, field: str | None = None
) -> Expression:
    """The same condition or expression. Raises InputError where it divides by 0 or overflows
    whatever its names stand for."""
    try:
        with np.errstate(all="ignore"):
            _constant(expression.tree)
    except Fault as fault:
        raise InputError(str(fault), file=file, field=field, value=expression.text) from None
    return expression


def _constant(node: Node) -> float | None:
    """The number that a subtree without names is; None for any other. Raises Fault for none."""
    if not isinstance(node, Apply):
        return node.value if isinstance(node, Number) else None
    inner = [_constant(argument) for argument in node.arguments]
    if node.operator in _QUOTIENTS and inner[1] == 0.0:
        raise Fault("divides by 0")
    if None in inner or node.operator in (*LOGIC, "in", *_COMPARISONS):
        return None
    number = float(_number(node, _no_names))
    if not np.isfinite(number):
        raise Fault("has a number in it that is larger than any")
    return number


def _bind(node: Node, quantities: Mapping[str, NamedQuantity]) -> Node:
    if isinstance(node, Name) and quantities[node.name].unit == "text":
        raise Fault(f"{node.name} is text, not a number")
    if isinstance(node, Apply) and node.operator in LOGIC:
        return replace(node, arguments=tuple(_bind(a, quantities) for a in node.arguments))
    if isinstance(node, Apply):
        _check_texts(node, quantities)
    return _resolved(node, None, quantities)


def _check_texts(node: Apply, quantities: Mapping[str, NamedQuantity]) -> None:
    texts = [
        isinstance(n, Text) or (isinstance(n, Name) and quantities[n.name].unit == "text")
        for n in walk(node)
        if not isinstance(n, Apply)
    ]
    plain = node.operator in ("==", "!=", "in") and not any(
        isinstance(a, Apply) for a in node.arguments
    )
    if any(texts) and not (all(texts) and plain):
        raise Fault("text can only be compared with text, by ==, != or in")


def _unit(node: Node, quantities: Mapping[str, NamedQuantity]) -> str | None:
    """Unit of a subtree; None for plain numbers, which take any, and those still to be read."""
    if isinstance(node, Name):
        return quantities[node.name].unit
    if not isinstance(node, Apply):
        return None
    own = [_unit(a, quantities) for a in node.arguments]
    if node.operator in ("*", "/"):
        if own[0] is None and own[1] is None:
            return None
        first, second = own[0] or "1", own[1] or "1"
        if MIXED in own:
            return MIXED
        unit = quantity.product(first, second, -1 if node.operator == "/" else 1)
        return unit if len(unit) <= _LONGEST else MIXED
    if node.operator in ("%", "//"):
        return own[0]
    given = {unit for unit in own if unit is not None}
    return given.pop() if len(given) == 1 else MIXED if given else None


def _resolved(node: Node, wanted: str | None, quantities: Mapping[str, NamedQuantity]) -> Node:
    """The subtree with its written units read in `wanted`, or what its neighbours are in."""
    if isinstance(node, Number) and node.unit:
        if not wanted:
            raise Fault(f"the unit of {node.unit!r} does not follow from what it is compared with")
        return Number(units.convert(node.unit, wanted))
    if not isinstance(node, Apply):
        return node
    if node.operator in _ALIKE:
        own = _unit(node, quantities)
        wanted = wanted if own is None else own
    elif _unit(node, quantities) is not None:
        wanted = None  # a factor's own unit is nobody's business but its own
    return replace(node, arguments=tuple(_resolved(a, wanted, quantities) for a in node.arguments))


def unit_of(expression: Expression, quantities: Mapping[str, NamedQuantity]) -> str:
    """The unit of what an expression gives, `J*s` of energy x delay; "" where it mixes several.

    A sum of several units is a number all the same (weights may be meant), without a unit.
    """
    unit = _unit(expression.tree, quantities)
    return "1" if unit is None else unit


def never_negative(expression: Expression) -> bool:
    """Whether an expression of names that are 0 or more is 0 or more by its form: sums, products,
    quotients, minima and maxima."""
    alike = ("+", *_QUOTIENTS, "*", "min", "max", "abs")
    return all(not isinstance(n, Apply) or n.operator in alike for n in walk(expression.tree))


def value(expression: Expression, values: Values) -> np.ndarray:
    """(D,) numbers of an expression, or 0-d where no name is used; NaN where one is missing.

    The operations are those of numpy in the order they are written in, so that the same
    arithmetic by hand gives the same bits.
    """
    with np.errstate(all="ignore"):
        return np.asarray(_number(expression.tree, values), dtype=float)


def holds(expression: Expression, values: Values) -> np.ndarray:
    """(D,) bool, or 0-d where no name is used: whether the condition holds; NaN never does."""
    with np.errstate(all="ignore"):
        return _truth(expression.tree, values)[0]


def undecided(expression: Expression, values: Values) -> np.ndarray:
    """(D,) bool, or 0-d where no name is used: whether the condition neither holds nor fails,
    because what it compares divides by 0 or overflows."""
    with np.errstate(all="ignore"):
        true, false = _truth(expression.tree, values)
    return np.logical_not(np.logical_or(true, false))


def _truth(node: Node, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """(D,) bool each: where it is true, and where it is false; neither where it is undecided, in
    the logic of three values (Kleene 1938): `x == 0 or 1 / x > 2` is true where x is 0."""
    assert isinstance(node, Apply)  # parse() refuses anything else
    if node.operator in LOGIC:
        sides = [_truth(argument, values) for argument in node.arguments]
        if node.operator == "not":
            return sides[0][1], sides[0][0]
        (true, false), (true_right, false_right) = sides
        if node.operator == "and":
            return np.logical_and(true, true_right), np.logical_or(false, false_right)
        return np.logical_or(true, true_right), np.logical_and(false, false_right)
    numbers = [_number(argument, values) for argument in node.arguments]
    left = numbers[0]
    if node.operator == "in":
        equal = [np.equal(left, member) for member in numbers[1:]]
        true = np.asarray(np.logical_or.reduce(np.broadcast_arrays(*equal)), dtype=bool)
    else:
        true = compared(node.operator, left, numbers[1])
    lost = _lost(node.arguments, numbers, values)
    return np.logical_and(true, ~lost), ~np.logical_or(true, lost)


def compared(operator: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(D,) bool: whether two sides, numbers or texts, compare so; `in` asks for equality."""
    return np.asarray(_COMPARISONS.get(operator, np.equal)(left, right), dtype=bool)


def _lost(
    nodes: tuple[Node, ...], numbers: Sequence[np.ndarray], values: Values
) -> np.ndarray | np.bool_:
    """(D,) bool: where arithmetic on finite numbers gives none in one of the sides of a
    comparison. A result that is infinite itself, as the lifetime of what is never written, is
    compared as such, and a missing one as NaN.

    numbers : what the nodes come to.
    """
    lost: np.ndarray | np.bool_ = np.False_
    for node, number in zip(nodes, numbers, strict=True):
        if isinstance(node, Apply) and not np.isfinite(number).all():
            given = [values(n.name) for n in walk(node) if isinstance(n, Name)]
            usable = [np.isfinite(column) for column in given]
            whole = np.logical_and.reduce(np.broadcast_arrays(True, *usable))
            lost = lost | (whole & ~np.isfinite(number))
    return lost


def _number(node: Node, values: Values) -> np.ndarray:
    if isinstance(node, Name):
        column = values(node.name)
        return column.astype(float) if column.dtype.kind in "iu" else column  # 1 // 0 is no 0
    if isinstance(node, Number | Text):
        return np.asarray(node.value)
    arguments = [_number(a, values) for a in node.arguments]
    if node.operator == "negative":
        return np.negative(arguments[0])
    if node.operator == "abs":
        return np.abs(arguments[0])
    return _ARITHMETIC[node.operator](arguments[0], arguments[1])


def margin(expression: Expression, values: Values) -> np.ndarray:
    """(D,) how far the condition is from holding, relative to its right side.

    At most 0 exactly where it holds; 0.1 means missed by 10 %. NaN on either side gives 1, and so
    does what divides by 0 or overflows.
    """
    with np.errstate(all="ignore"):
        distance = np.nan_to_num(_distance(expression.tree, values), nan=1.0)
        true = _truth(expression.tree, values)[0]
    least = np.finfo(float).tiny
    return np.where(true, np.minimum(distance, 0.0), np.maximum(distance, least))


def _distance(node: Node, values: Values) -> np.ndarray:
    assert isinstance(node, Apply)
    if node.operator in ("and", "or"):
        both = [_distance(a, values) for a in node.arguments]
        return np.maximum(*both) if node.operator == "and" else np.minimum(*both)
    if node.operator in ("not", "in", "!="):
        return np.where(_truth(node, values)[0], -1.0, 1.0)
    left, right = (_number(a, values) for a in node.arguments)
    if left.dtype.kind not in "fiub" or right.dtype.kind not in "fiub":
        return np.where(_truth(node, values)[0], -1.0, 1.0)
    size = np.where(right == 0, 1.0, np.abs(right))
    gap = np.where(_lost(node.arguments, (left, right), values), np.nan, (left - right) / size)
    if node.operator == "==":
        return np.abs(gap)
    return gap if node.operator in ("<=", "<") else -gap


def bounds(expression: Expression) -> list[tuple[str, str, float]]:
    """(name, comparison, number) of each `name <= number` that must hold for the whole to hold."""
    return list(_bounds(expression.tree))


def _bounds(node: Node) -> Iterator[tuple[str, str, float]]:
    if not isinstance(node, Apply):
        return
    if node.operator == "and":
        for argument in node.arguments:
            yield from _bounds(argument)
    if node.operator not in _FLIPPED:
        return
    left, right = node.arguments
    operator = node.operator
    if isinstance(right, Name):
        left, right, operator = right, left, _FLIPPED[operator]
    if isinstance(left, Name) and not any(isinstance(n, Name | Text) for n in walk(right)):
        yield left.name, operator, float(_number(right, _no_names))


def _no_names(name: str) -> np.ndarray:
    raise AssertionError(name)  # only called on trees without names
