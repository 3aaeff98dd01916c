"""The small language of `where:` and `constraints:`, read here and never handed to eval.

    model.hidden % model.heads == 0 and accelerator.dataflow in ['ws', 'os']
    serve.latency_s <= 5 ms

Numbers may carry a unit, which is read in the unit of the name they are compared with.
Operators, weakest first: or, and, not, comparisons (== != <= >= < > in), + -, * / // %,
unary minus; functions abs, min, max. Evaluation is on whole columns of designs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from elector.base import units
from elector.base.errors import InputError

Values = Callable[[str], np.ndarray]
_LONGEST, _DEEPEST = 2000, 40
_WORDS = ("and", "or", "not", "in")
_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "min": np.minimum,
    "max": np.maximum,
}
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        (?:\s*(?P<unit>(?!(?:and|or|not|in)\b)[A-Za-zµ][A-Za-z0-9µ]*(?:/s\b)?))?
    | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<sign>==|!=|<=|>=|//|[-<>+*/%()\[\],])
    )""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
}
_FLIPPED = {"<=": ">=", ">=": "<=", "<": ">", ">": "<", "==": "=="}
_ARITHMETIC: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.mod,
}


@dataclass(frozen=True)
class Quantity:
    """What a name stands for.

    unit : of elector.base.units, or "text".
    scale : values are SI x scale (1e6 where the name says mm2).
    """

    unit: str = "1"
    scale: float = 1.0


@dataclass(frozen=True)
class Number:
    """A literal; `value` is final once the unit it was written in is resolved."""

    value: float
    unit: str = ""


@dataclass(frozen=True)
class Text:
    """A quoted literal."""

    value: str


@dataclass(frozen=True)
class Name:
    """A parameter or a result."""

    name: str


@dataclass(frozen=True)
class Apply:
    """An operator or a function on its arguments."""

    operator: str
    arguments: tuple[Node, ...]


Node = Number | Text | Name | Apply


@dataclass(frozen=True)
class Expression:
    """One condition: what was written and what it means."""

    text: str
    tree: Node

    @property
    def names(self) -> tuple[str, ...]:
        """The names it uses, each once, in order of appearance."""
        return tuple(dict.fromkeys(n.name for n in _walk(self.tree) if isinstance(n, Name)))


def parse(text: object, *, file: object = None, field: str | None = None) -> Expression:
    """The condition written in `text`. Raises InputError at the first thing not understood."""
    if not isinstance(text, str):
        raise InputError("a condition is text", file=file, field=field, value=text)
    if len(text) > _LONGEST:
        raise InputError(f"is longer than {_LONGEST} characters", file=file, field=field)
    try:
        reader = _Reader(list(_tokens(text)))
        tree = reader.condition()
        reader.end()
    except _Fault as fault:
        raise InputError(f"cannot be read: {fault}", file=file, field=field, value=text) from None
    if not _is_condition(tree):
        raise InputError(
            "is not a condition", file=file, field=field, value=text, hint="compare it: <= 5"
        )
    return Expression(text, tree)


class _Fault(Exception):
    """Where the reader stopped, in words."""


def _tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, text, unit) of each token, and an end mark."""
    at = 0
    if not text.strip():
        raise _Fault("it is empty")
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _Fault(f"at {text[at:].strip()[:12]!r}")
        kind = next(k for k in ("number", "name", "text", "sign") if match[k] is not None)
        word = match[kind]
        if kind == "name" and word in _WORDS:
            kind = "sign"
        yield kind, word, match["unit"] or ""
        at = match.end()
    yield "end", "", ""


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[tuple[str, str, str]]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def take(self, *signs: str) -> str | None:
        kind, word, _ = self.tokens[self.at]
        if kind == "sign" and word in signs:
            self.at += 1
            return word
        return None

    def need(self, sign: str) -> None:
        if self.take(sign) is None:
            kind, word, _ = self.tokens[self.at]
            place = "at the end" if kind == "end" else f"before {word!r}"
            raise _Fault(f"expected {sign!r} {place}")

    def end(self) -> None:
        if self.tokens[self.at][0] != "end":
            raise _Fault(f"did not expect {self.tokens[self.at][1]!r}")

    def chain(self, below: Callable[[], Node], *signs: str) -> Node:
        node = below()
        while operator := self.take(*signs):
            node = Apply(operator, (node, below()))
        return node

    def condition(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Fault("it is nested too deeply")
        node = self.chain(lambda: self.chain(self.negation, "and"), "or")
        self.depth -= 1
        return node

    def negation(self) -> Node:
        negations = 0
        while self.take("not"):
            negations += 1
        node = self.comparison()
        return Apply("not", (node,)) if negations % 2 else node

    def comparison(self) -> Node:
        left = self.sum()
        if operator := self.take(*_COMPARISONS):
            right = self.sum()
            if self.tokens[self.at][1] in _COMPARISONS:
                raise _Fault("comparisons cannot be chained: join them with `and`")
            return Apply(operator, (left, right))
        return Apply("in", (left, *self.members())) if self.take("in") else left

    def members(self) -> list[Node]:
        self.need("[")
        found = [self.sum()]
        while self.take(","):
            found.append(self.sum())
        self.need("]")
        return found

    def sum(self) -> Node:
        return self.chain(lambda: self.chain(self.unary, "*", "//", "/", "%"), "+", "-")

    def unary(self) -> Node:
        minus = 0
        while sign := self.take("-", "+"):
            minus += sign == "-"
        node = self.atom()
        return Apply("negative", (node,)) if minus % 2 else node

    def atom(self) -> Node:
        kind, word, unit = self.tokens[self.at]
        if self.take("("):
            node = self.condition()
            self.need(")")
            return node
        self.at += 1
        if kind == "number":
            return Number(float(word), word + " " + unit if unit else "")
        if kind == "text":
            return Text(word[1:-1])
        if kind == "end":
            raise _Fault("it ends too soon")
        if kind != "name":
            raise _Fault(f"did not expect {word!r}")
        return self.call(word) if self.take("(") else Name(word)

    def call(self, function: str) -> Node:
        if function not in ("abs", *_FUNCTIONS):
            raise _Fault(f"unknown function {function!r}; known: abs, min, max")
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        self.need(")")
        if (len(arguments) == 1) != (function == "abs"):
            raise _Fault(f"{function} takes {'one value' if function == 'abs' else 'several'}")
        node = arguments[0] if function != "abs" else Apply("abs", (arguments[0],))
        for argument in arguments[1:]:
            node = Apply(function, (node, argument))
        return node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Apply):
        for argument in node.arguments:
            yield from _walk(argument)


def _is_condition(node: Node) -> bool:
    if not isinstance(node, Apply):
        return False
    if node.operator in ("and", "or", "not"):
        return all(_is_condition(a) for a in node.arguments)
    return (node.operator in _COMPARISONS or node.operator == "in") and not any(
        _is_condition(inner) for a in node.arguments for inner in _walk(a)
    )


def bind(
    expression: Expression,
    quantities: Mapping[str, Quantity],
    *,
    file: object = None,
    field: str | None = None,
) -> Expression:
    """The same condition with its names checked and its units resolved.

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
    except _Fault as fault:
        raise InputError(str(fault), file=file, field=field, value=expression.text) from None
    except InputError as error:
        raise error.at(file=file, field=field) from None


def _bind(node: Node, quantities: Mapping[str, Quantity]) -> Node:
    if not isinstance(node, Apply):
        return node
    if node.operator in ("and", "or", "not"):
        return replace(node, arguments=tuple(_bind(a, quantities) for a in node.arguments))
    leaves: list[Node] = [n for n in _walk(node) if not isinstance(n, Apply)]
    _check_texts(node, leaves, quantities)
    used = {quantities[n.name] for n in leaves if isinstance(n, Name)}
    return _resolve(node, used)


def _check_texts(node: Apply, leaves: list[Node], quantities: Mapping[str, Quantity]) -> None:
    texts = [
        isinstance(n, Text) or (isinstance(n, Name) and quantities[n.name].unit == "text")
        for n in leaves
    ]
    plain = node.operator in ("==", "!=", "in") and not any(
        isinstance(a, Apply) for a in node.arguments
    )
    if any(texts) and not (all(texts) and plain):
        raise _Fault("text can only be compared with text, by ==, != or in")


def _resolve(node: Node, used: set[Quantity]) -> Node:
    if isinstance(node, Apply):
        return replace(node, arguments=tuple(_resolve(a, used) for a in node.arguments))
    if not isinstance(node, Number) or not node.unit:
        return node
    if len(used) != 1:
        raise _Fault(f"the unit of {node.unit!r} does not follow from what it is compared with")
    quantity = next(iter(used))
    return Number(units.parse(node.unit, quantity.unit) * quantity.scale)


def holds(expression: Expression, values: Values) -> np.ndarray:
    """(D,) bool, or 0-d where no name is used: whether the condition holds; NaN never does."""
    with np.errstate(all="ignore"):
        return _truth(expression.tree, values)


def _truth(node: Node, values: Values) -> np.ndarray:
    assert isinstance(node, Apply)  # parse() refuses anything else
    arguments = node.arguments
    if node.operator == "not":
        return np.logical_not(_truth(arguments[0], values))
    if node.operator in ("and", "or"):
        left, right = _truth(arguments[0], values), _truth(arguments[1], values)
        return np.logical_and(left, right) if node.operator == "and" else np.logical_or(left, right)
    left = _number(arguments[0], values)
    if node.operator == "in":
        found = [np.equal(left, _number(a, values)) for a in arguments[1:]]
        return np.asarray(np.logical_or.reduce(np.broadcast_arrays(*found)), dtype=bool)
    return np.asarray(_COMPARISONS[node.operator](left, _number(arguments[1], values)), dtype=bool)


def _number(node: Node, values: Values) -> np.ndarray:
    if isinstance(node, Name):
        return values(node.name)
    if isinstance(node, Number | Text):
        return np.asarray(node.value)
    arguments = [_number(a, values) for a in node.arguments]
    if node.operator == "negative":
        return np.negative(arguments[0])
    if node.operator == "abs":
        return np.abs(arguments[0])
    operation = _ARITHMETIC.get(node.operator) or _FUNCTIONS[node.operator]
    return operation(arguments[0], arguments[1])


def margin(expression: Expression, values: Values) -> np.ndarray:
    """(D,) how far the condition is from holding, relative to its right side.

    At most 0 exactly where it holds; 0.1 means missed by 10 %. NaN on either side gives 1.
    """
    with np.errstate(all="ignore"):
        distance = np.nan_to_num(_distance(expression.tree, values), nan=1.0)
        true = _truth(expression.tree, values)
    least = np.finfo(float).tiny
    return np.where(true, np.minimum(distance, 0.0), np.maximum(distance, least))


def _distance(node: Node, values: Values) -> np.ndarray:
    assert isinstance(node, Apply)
    if node.operator in ("and", "or"):
        both = [_distance(a, values) for a in node.arguments]
        return np.maximum(*both) if node.operator == "and" else np.minimum(*both)
    if node.operator in ("not", "in", "!="):
        return np.where(_truth(node, values), -1.0, 1.0)
    left, right = (_number(a, values) for a in node.arguments)
    if left.dtype.kind not in "fiub" or right.dtype.kind not in "fiub":
        return np.where(_truth(node, values), -1.0, 1.0)
    size = np.where(right == 0, 1.0, np.abs(right))
    gap = (left - right) / size
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
    if isinstance(left, Name) and not any(isinstance(n, Name | Text) for n in _walk(right)):
        yield left.name, operator, float(_number(right, _no_names))


def _no_names(name: str) -> np.ndarray:
    raise AssertionError(name)  # only called on trees without names
