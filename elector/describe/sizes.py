"""Sizes that depend on the workload: `12 * batch * length ** 2`, read and computed, never run.

The grammar is arithmetic on named whole numbers: + - * // ** ( ), min, max and ceil(a, b), the
quotient rounded up. Everything is computed on arrays, so that one list describes any number of
workloads.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from elector.base.errors import InputError, nearest

Array = np.ndarray

#: Characters of an expression, and the largest power: what a size of a model can need.
LONGEST, POWER = 1000, 4
#: Numbers up to here are whole in a float.
LARGEST = 2.0**53

_BINARY: dict[type, Callable[[Array, Array], Array]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.FloorDiv: np.floor_divide,
}
_CALLS: dict[str, Callable[[Array, Array], Array]] = {
    "min": np.minimum,
    "max": np.maximum,
    "ceil": lambda a, b: -np.floor_divide(-a, b),
}


@dataclass(frozen=True)
class Size:
    """A whole number that follows the symbols of its text.

    text : such as "batch * length"; a plain number is one, too.
    """

    text: str

    @property
    def names(self) -> frozenset[str]:
        """The symbols it depends on."""
        return _names(self.text)

    def at(self, values: Mapping[str, Array]) -> Array:
        """The size where symbols have these values [1], arrays of one shape or numbers.

        Raises InputError (without file and field) for a value that is no whole number from 0 on.
        """
        with np.errstate(all="ignore"):
            number = np.asarray(_value(_tree(self.text), values), dtype=float)
        wrong = ~((number >= 0) & (number <= LARGEST))
        if wrong.any():
            at = int(np.argmax(np.atleast_1d(wrong)))
            raise InputError(
                f"must be a whole number from 0 to 2^53, and is "
                f"{np.atleast_1d(number)[at]:g} for {_shown(values, at, self.names)}",
                value=self.text,
            )
        return number


def size(value: object, symbols: Mapping[str, object], file: object, field: str) -> Size:
    """A size from a cell of a file: a whole number or an expression of `symbols`.

    Raises InputError naming the file and the field for anything else.

    value : the cell.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= LARGEST:
            raise InputError(
                "must be a whole number from 0 to 2^53", file=file, field=field, value=value
            )
        return Size(str(value))
    if not isinstance(value, str) or not value.strip():
        raise InputError(
            "must be a whole number or an expression", file=file, field=field, value=value
        )
    text = value.strip()
    try:
        unknown = sorted(_names(text) - set(symbols))
    except InputError as error:
        raise InputError(error.problem, file=file, field=field, value=text) from None
    if unknown:
        guess = nearest(unknown[0], symbols)
        raise InputError(
            f"unknown symbol {unknown[0]}",
            file=file,
            field=field,
            value=text,
            allowed=list(symbols),
            hint=f"did you mean {guess}?" if guess else "declare it under symbols, with a default",
        )
    return Size(text)


@functools.lru_cache(maxsize=65536)
def _tree(text: str) -> ast.expr:
    """The checked syntax of an expression. Raises InputError (without file and field)."""
    if len(text) > LONGEST:
        raise InputError(f"is longer than {LONGEST} characters")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError("is not an expression") from None
    _check(tree)
    return tree


@functools.lru_cache(maxsize=65536)
def _names(text: str) -> frozenset[str]:
    return frozenset(_named(_tree(text))) - set(_CALLS)


def _named(tree: ast.AST) -> Iterator[str]:
    if isinstance(tree, ast.Name):
        yield tree.id
    for part in ast.iter_child_nodes(tree):
        yield from _named(part)


def _check(tree: ast.expr) -> None:
    """Refuse what the grammar does not have."""
    match tree:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            if number > LARGEST:
                raise InputError("holds a number above 2^53")
        case ast.Name():
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))):
            if not 0 <= power <= POWER:
                raise InputError(f"holds a power that is not from 0 to {POWER}")
            _check(left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left)
            _check(right)
        case ast.Call(func=ast.Name(id=name), args=[first, second], keywords=[]) if name in _CALLS:
            _check(first)
            _check(second)
        case _:
            raise InputError(
                "holds what sizes cannot have; they have + - * // ** ( ), min(a, b), max(a, b) "
                "and ceil(a, b)"
            )


def _value(tree: ast.expr, values: Mapping[str, Array]) -> Array | float:
    match tree:
        case ast.Constant(value=int(number)):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))):
            return _value(left, values) ** power
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, values), _value(right, values))  # type: ignore[arg-type]
        case ast.Call(func=ast.Name(id=name), args=[first, second]):
            return _CALLS[name](_value(first, values), _value(second, values))  # type: ignore[arg-type]
    raise AssertionError(ast.dump(tree))  # `_check` lets nothing else pass


def _shown(values: Mapping[str, Array], at: int, names: frozenset[str]) -> str:
    parts = []
    for name in sorted(names):
        array = np.atleast_1d(values[name])
        parts.append(f"{name} = {array[min(at, array.size - 1)]:g}")
    return ", ".join(parts) or "every workload"
