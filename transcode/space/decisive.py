"""Whether a condition can hold and can fail: one that cannot do both decides nothing.

A gate that says `0 * latency_s <= 1 ms` lets everything through, whatever it was meant to ask.
Two rules, neither of which refuses a condition that some design meets and another does not:

- Each comparison is tried at many values of its names, from their least to their most, with 0, the
  written numbers and equal values among them. One that never fails there, or never holds (an
  equality: whose difference is never 0 and has one sign), is refused.
- The whole is tried with every side that is compared at, between and beyond the numbers that it is
  compared with, each side by itself: `x < 1 or x >= 1`, `x < 1 and x > 2`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from elector.base.errors import InputError
from transcode.space import grammar
from transcode.space.grammar import NamedQuantity
from transcode.space.syntax import Apply, Expression, Name, Node, Number, Text, compares, walk

__all__ = ["only", "require"]

_ALWAYS, _NEVER = "holds whatever a design is", "can never hold"
_HINT = "it has to be true of some designs and false of others"
#: Most written numbers that values are made of, and most combinations that the whole is tried at.
_NUMBERS, _COMBINATIONS = 12, 20_000
#: Names that are moved one at a time.
_ALONE = 16
#: Rows of values of each kind.
_ROWS = 128
#: A text that no design has.
_OTHER = "\0"


def require(
    expression: Expression,
    quantities: Mapping[str, NamedQuantity],
    *,
    file: object = None,
    field: str | None = None,
) -> Expression:
    """The same bound condition. Raises InputError where it, or a comparison in it, is true or
    false whatever its names stand for.

    quantities : of every name in it, with the least and the most that it can be.
    """
    for text, verdict in _verdicts(expression, quantities):
        if verdict:
            said = f"{verdict}: {text!r}"
            value = None if text == expression.text else expression.text
            raise InputError(said, file=file, field=field, value=value, hint=_HINT)
    return expression


def _verdicts(
    expression: Expression, quantities: Mapping[str, NamedQuantity]
) -> Iterator[tuple[str, str]]:
    """What is wrong with each comparison and then with the whole; "" where nothing is."""
    for node in walk(expression.tree):
        if compares(node):
            yield node.text, _verdict(node, quantities)
    yield expression.text.strip(), _whole(expression.tree, quantities)


def only(expression: Expression, quantities: Mapping[str, NamedQuantity]) -> float | None:
    """The one number that an expression gives, whatever its names stand for; None where it gives
    several, or none.

    quantities : of every name in it.
    """
    values = _values(expression.tree, quantities)
    numbers = np.atleast_1d(grammar.value(expression, values.__getitem__))
    numbers = np.unique(numbers[np.isfinite(numbers)])
    return float(numbers[0]) if len(numbers) == 1 else None


# ---- one comparison


def _verdict(node: Apply, quantities: Mapping[str, NamedQuantity]) -> str:
    """What is wrong with a comparison; "" where it can hold and can fail."""
    left, *others = node.arguments
    if any(isinstance(n, Text) or _is_text(n, quantities) for n in node.arguments):
        return _of_texts(node)
    values = _values(node, quantities)
    signs = [_signs(left, other, values) for other in others]
    if node.operator == "in":
        met, missed = any(map(_meet, signs)), all(s - {0} for s in signs)
    else:
        met, missed = _outcomes(node.operator, signs[0])
    if any(not s for s in signs):  # no number anywhere: it is neither true nor false
        return ""
    return _NEVER if not met else "" if missed else _ALWAYS


def _of_texts(node: Apply) -> str:
    """The same for texts, which are equal where they are written alike."""
    left, *others = node.arguments
    if isinstance(left, Name) and left not in others:
        return ""
    if isinstance(left, Text) and any(isinstance(other, Name) for other in others):
        return ""
    return _ALWAYS if (left in others) == (node.operator != "!=") else _NEVER


def _is_text(node: Node, quantities: Mapping[str, NamedQuantity]) -> bool:
    return isinstance(node, Name) and quantities[node.name].unit == "text"


def _signs(left: Node, right: Node, values: Mapping[str, np.ndarray]) -> set[int]:
    """Which of -1, 0 and 1 the difference of two sides has, where both are numbers."""
    both = [grammar.value(Expression("", side), values.__getitem__) for side in (left, right)]
    first, second = np.broadcast_arrays(*map(np.atleast_1d, both))
    finite = np.isfinite(first) & np.isfinite(second)
    first, second = first[finite], second[finite]
    return {int(sign) for sign in np.unique(np.sign((first > second) * 1 - (first < second)))}


def _meet(signs: set[int]) -> bool:
    """Whether two sides are equal somewhere: between a larger and a smaller one, too."""
    return 0 in signs or signs == {-1, 1}


def _outcomes(operator: str, signs: set[int]) -> tuple[bool, bool]:
    """Whether a comparison holds somewhere, and whether it fails somewhere."""
    if operator in ("==", "!="):
        equal, unequal = _meet(signs), bool(signs - {0})
        return (equal, unequal) if operator == "==" else (unequal, equal)
    holding = {-1} if operator.startswith("<") else {1}
    if operator.endswith("="):
        holding = holding | {0}
    return bool(signs & holding), bool(signs - holding)


def _values(node: Node, quantities: Mapping[str, NamedQuantity]) -> dict[str, np.ndarray]:
    """Name -> (V,) values, alike for the same node; together they are many points to try."""
    inner = list(walk(node))
    names = list(dict.fromkeys(n.name for n in inner if isinstance(n, Name)))
    written = list(dict.fromkeys(n.value for n in inner if isinstance(n, Number)))[:_NUMBERS]
    table = np.concatenate(list(_tried(len(names), np.array([0.0, 1.0, *written]))))
    signs = np.random.default_rng(1).choice([-1.0, 1.0], table.shape)
    table = np.concatenate([table, -table, signs * table])
    return {
        name: np.clip(table[:, place], quantities[name].least, quantities[name].most)
        for place, name in enumerate(names)
    }


def _tried(names: int, written: np.ndarray) -> Iterator[np.ndarray]:
    """(rows, names) values of each kind.

    written : the numbers of an expression, with 0 and 1.
    """
    draw = np.random.default_rng(0)
    size = (_ROWS, names)
    with np.errstate(all="ignore"):
        quotients = np.divide.outer(written, written[written != 0]).ravel()
    numbers = np.unique([*written, *quotients[np.isfinite(quotients)], 1e-300, 1e300])
    wide = np.concatenate([np.logspace(-12, 12, 49), numbers])
    yield np.repeat(wide[:, None], names, axis=1)  # all equal
    for name in range(min(names, _ALONE)):  # one moves, the others stand
        for rest in (0.0, 1.0):
            rows = np.full((len(wide), names), rest)
            rows[:, name] = wide
            yield rows
    yield draw.integers(0, 9, size).astype(float)
    yield draw.integers(0, 4097, size).astype(float)
    yield draw.random(size)
    yield 10.0 ** draw.uniform(-6, 6, size)
    yield 10.0 ** draw.uniform(-40, 40, size)
    yield draw.choice(numbers, size) * draw.choice([0.25, 0.5, 1.0, 1.0], size)


# ---- the whole


def _whole(tree: Node, quantities: Mapping[str, NamedQuantity]) -> str:
    """What is wrong with a condition as it stands together; "" where nothing is seen."""
    grids = _grids(tree, quantities)
    if grids is None:
        return ""
    sizes = [len(grid) for grid in grids.values()]
    if np.prod(sizes, dtype=float) > _COMBINATIONS:
        return ""
    mesh = np.meshgrid(*grids.values(), indexing="ij", sparse=True)
    truth = _truth(tree, dict(zip(grids, mesh, strict=True)))
    return _NEVER if not truth.any() else _ALWAYS if truth.all() else ""


def _sides(node: Apply) -> Iterator[tuple[Node, float | str, bool]]:
    """What is compared, with what, and whether the other way round: a side with a number or a
    text; two sides, together, with 0."""
    left, *others = node.arguments
    for other in others:
        if (constant := _constant(other)) is not None:
            yield left, constant, False
        elif (constant := _constant(left)) is not None:
            yield other, constant, True
        else:
            yield Apply("-", (left, other)), 0.0, False


def _constant(node: Node) -> float | str | None:
    """The number or text that a side is for every design; None for any other."""
    if isinstance(node, Text):
        return node.value
    if any(isinstance(n, Name) for n in walk(node)):
        return None
    return float(grammar.value(Expression("", node), _no_names))


def _grids(tree: Node, quantities: Mapping[str, NamedQuantity]) -> dict[Node, np.ndarray] | None:
    """What is compared -> values at, between and beyond those that it is compared with.

    None where it is compared with what divides by 0 or overflows.
    """
    against: dict[Node, list[float | str]] = {}
    for node in walk(tree):
        if compares(node):
            for side, constant, _ in _sides(node):
                if not isinstance(constant, str) and not np.isfinite(constant):
                    return None
                against.setdefault(side, []).append(constant)
    return {side: _grid(side, numbers, quantities) for side, numbers in against.items()}


def _grid(
    side: Node, against: Sequence[float | str], quantities: Mapping[str, NamedQuantity]
) -> np.ndarray:
    """(G,) values of a side.

    against : the numbers or texts that it is compared with.
    """
    texts = [value for value in against if isinstance(value, str)]
    if texts:
        return np.array([*dict.fromkeys([*texts, _OTHER])], dtype=object)
    at = np.unique(np.array(against, dtype=float))
    between = [low / 2 + high / 2 for low, high in itertools.pairwise(at)]
    grid = np.unique([-np.inf, *at, *between, np.inf])
    if isinstance(side, Name):
        own = quantities[side.name]
        grid = np.unique(np.clip([*grid, own.least, own.most], own.least, own.most))
    return grid


def _truth(node: Node, values: Mapping[Node, np.ndarray]) -> np.ndarray:
    """Whether a condition holds where its sides have these values, each by itself."""
    assert isinstance(node, Apply)
    if node.operator == "not":
        return np.logical_not(_truth(node.arguments[0], values))
    if node.operator in ("and", "or"):
        first, second = (_truth(argument, values) for argument in node.arguments)
        joined = np.logical_and if node.operator == "and" else np.logical_or
        return np.asarray(joined(first, second))
    holds = []
    for side, constant, turned in _sides(node):
        both = (values[side], np.asarray(constant))
        holds.append(grammar.compared(node.operator, *(both[::-1] if turned else both)))
    return np.asarray(np.logical_or.reduce(np.broadcast_arrays(*holds)), dtype=bool)


def _no_names(name: str) -> np.ndarray:
    raise AssertionError(name)  # only called on trees without names
