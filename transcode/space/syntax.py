"""The syntax of conditions and expressions: texts become trees here, and never reach eval.

Operators, weakest first: or, and, not, comparisons (== != <= >= < > in), + and -, * / // %,
unary minus; functions abs, min, max. Numbers may carry a unit, such as 5 ms or 3 uJ*s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from elector.base import units
from elector.base.errors import InputError

#: Most characters of a text, brackets inside one another, and operators one upon another.
_LONGEST, _DEEPEST, _HIGHEST = 2000, 40, 150
_WORDS = ("and", "or", "not", "in")
COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
LOGIC = ("and", "or", "not")
FUNCTIONS = ("min", "max")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        (?:\s*(?P<unit>%(?=\s*(?:$|[)\],<>=!]|and\b|or\b))
          | (?!(?:and|or|not|in)\b)[A-Za-zµ][A-Za-z0-9µ]*(?:[*/][A-Za-zµ][A-Za-z0-9µ]*)*))?
    | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<sign>==|!=|<=|>=|//|[-<>+*/%()\[\],])
    )""",
    re.VERBOSE,
)


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
    """An operator or a function on its arguments.

    text : a comparison as it was written; "" for anything else.
    """

    operator: str
    arguments: tuple[Node, ...]
    text: str = field(default="", compare=False)


Node = Number | Text | Name | Apply


@dataclass(frozen=True)
class Expression:
    """A condition, or an expression that gives numbers: what was written and what it means."""

    text: str
    tree: Node

    @property
    def names(self) -> tuple[str, ...]:
        """The names it uses, each once, in order of appearance."""
        return tuple(dict.fromkeys(n.name for n in walk(self.tree) if isinstance(n, Name)))


def parse(text: object, *, file: object = None, field: str | None = None) -> Expression:
    """The condition written in `text`. Raises InputError at the first thing not understood."""
    condition = _read(text, "a condition", file, field)
    if not is_condition(condition.tree):
        raise InputError(
            "is not a condition", file=file, field=field, value=text, hint="compare it: <= 5"
        )
    return condition


def parse_value(text: object, *, file: object = None, field: str | None = None) -> Expression:
    """The expression written in `text`, which gives a number for each design, not a condition."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    expression = _read(text, "an expression", file, field)
    inner = list(walk(expression.tree))
    if any(_decides(n) or isinstance(n, Text) for n in inner):
        raise InputError(
            "is a condition, not a number", file=file, field=field, value=text, hint=_EXAMPLE
        )
    return expression


#: What an expression looks like.
_EXAMPLE = "such as energy_j * latency_s"


def _read(text: object, what: str, file: object, field: str | None) -> Expression:
    if not isinstance(text, str):
        raise InputError(f"{what} is text", file=file, field=field, value=text)
    if len(text) > _LONGEST:
        raise InputError(f"is longer than {_LONGEST} characters", file=file, field=field)
    try:
        reader = _ExpressionReader(text, list(_tokens(text)))
        tree = reader.condition()
        reader.end()
        if _height(tree) > _HIGHEST:
            raise Fault(f"it has more than {_HIGHEST} terms in a row")
    except Fault as fault:
        raise InputError(f"cannot be read: {fault}", file=file, field=field, value=text) from None
    return Expression(text, tree)


#: Signs of other languages -> what stands for them here.
_MEANT = (("=", "=="), ("&", "and"), ("|", "or"), ("!", "not"))


class Fault(Exception):
    """Where the reader stopped, in words."""


def _tokens(text: str) -> Iterator[tuple[str, str, str, int, int]]:
    """(kind, text, unit, where it begins and ends) of each token, and an end mark."""
    at = 0
    if not text.strip():
        raise Fault("it is empty")
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].strip()
            meant = next((f"; it is {sign!r}" for odd, sign in _MEANT if rest.startswith(odd)), "")
            raise Fault(f"at {rest[:12]!r}{meant}")
        kind = next(k for k in ("number", "name", "text", "sign") if match[k] is not None)
        word = match[kind]
        if kind == "name" and word in _WORDS:
            kind = "sign"
        unit = _known(match["unit"] or "")
        begin = match.end() - len(match[0].lstrip())
        at = match.start("unit") + len(unit) if unit else match.end()
        yield kind, word, unit, begin, at
    yield "end", "", "", at, at


def _known(unit: str) -> str:
    """As much of a unit as is one: of 5 ms*rate the ms, since rate is a name."""
    while not units.known(unit) and (cut := max(unit.rfind("*"), unit.rfind("/"))) > 0:
        unit = unit[:cut]
    return unit


class _ExpressionReader:
    """Recursive descent over the tokens."""

    def __init__(self, text: str, tokens: list[tuple[str, str, str, int, int]]) -> None:
        self.text, self.tokens, self.at, self.depth = text, tokens, 0, 0

    def take(self, *signs: str) -> str | None:
        kind, word, *_ = self.tokens[self.at]
        if kind == "sign" and word in signs:
            self.at += 1
            return word
        return None

    def need(self, sign: str) -> None:
        if self.take(sign) is None:
            kind, word, *_ = self.tokens[self.at]
            place = "at the end" if kind == "end" else f"before {word!r}"
            raise Fault(f"expected {sign!r} {place}")

    def end(self) -> None:
        if self.tokens[self.at][0] != "end":
            raise Fault(f"did not expect {self.tokens[self.at][1]!r}")

    def chain(self, below: Callable[[], Node], *signs: str) -> Node:
        node = below()
        while operator := self.take(*signs):
            node = Apply(operator, (node, below()))
        return node

    def condition(self) -> Node:
        return self.inside(lambda: self.joined(lambda: self.joined(self.negation, "and"), "or"))

    def inside(self, below: Callable[[], Node]) -> Node:
        """What stands in brackets."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise Fault("it is nested too deeply")
        node = below()
        self.depth -= 1
        return node

    def joined(self, below: Callable[[], Node], operator: str) -> Node:
        """Operands of an operator whose order of evaluation does not matter, in a flat tree."""
        nodes = [below()]
        while self.take(operator):
            nodes.append(below())
        return _flat(operator, nodes)

    def negation(self) -> Node:
        negations = 0
        while self.take("not"):
            negations += 1
        node = self.comparison()
        return Apply("not", (node,)) if negations % 2 else node

    def comparison(self) -> Node:
        first = self.at
        left = self.sum()
        if operator := self.take(*COMPARISONS):
            right = self.sum()
            if self.tokens[self.at][1] in COMPARISONS:
                raise Fault("comparisons cannot be chained: join them with `and`")
            return Apply(operator, (left, right), self.written(first))
        if self.take("in"):
            return Apply("in", (left, *self.members()), self.written(first))
        return left

    def written(self, first: int) -> str:
        """The text from a token to the one before this, as it was written."""
        return self.text[self.tokens[first][3] : self.tokens[self.at - 1][4]]

    def members(self) -> list[Node]:
        self.need("[")
        members = [self.sum()]
        while self.take(","):
            members.append(self.sum())
        self.need("]")
        return members

    def sum(self) -> Node:
        return self.chain(lambda: self.chain(self.unary, "*", "//", "/", "%"), "+", "-")

    def unary(self) -> Node:
        minus = 0
        while sign := self.take("-", "+"):
            minus += sign == "-"
        node = self.atom()
        return Apply("negative", (node,)) if minus % 2 else node

    def atom(self) -> Node:
        kind, word, unit, *_ = self.tokens[self.at]
        if self.take("("):
            node = self.condition()
            self.need(")")
            return node
        self.at += 1
        if kind == "number":
            if math.isinf(float(word)):
                raise Fault(f"{word!r} is larger than any number")
            return Number(float(word), word + " " + unit if unit else "")
        if kind == "text":
            return Text(word[1:-1])
        if kind == "end":
            raise Fault("it ends too soon")
        if kind != "name":
            raise Fault(f"did not expect {word!r}")
        return self.call(word) if self.take("(") else Name(word)

    def call(self, function: str) -> Node:
        if function not in ("abs", *FUNCTIONS):
            raise Fault(f"unknown function {function!r}; known: abs, min, max")
        arguments = [self.inside(self.sum)]
        while self.take(","):
            arguments.append(self.inside(self.sum))
        self.need(")")
        if (len(arguments) == 1) != (function == "abs"):
            raise Fault(f"{function} takes {'one value' if function == 'abs' else 'several'}")
        if function == "abs":
            return Apply("abs", (arguments[0],))
        return _flat(function, arguments)


def _flat(operator: str, nodes: Sequence[Node]) -> Node:
    """The operands as a tree of the least height, in their order."""
    if len(nodes) == 1:
        return nodes[0]
    middle = len(nodes) // 2
    return Apply(operator, (_flat(operator, nodes[:middle]), _flat(operator, nodes[middle:])))


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order in which they are written."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Apply):
            waiting += reversed(node.arguments)


def _height(tree: Node) -> int:
    """Nodes on the longest way down."""
    height, floor = 0, [tree]
    while floor:
        height += 1
        floor = [below for node in floor if isinstance(node, Apply) for below in node.arguments]
    return height


def is_condition(node: Node) -> bool:
    """Whether a node is true or false, rather than a number or text."""
    if not isinstance(node, Apply):
        return False
    if node.operator in LOGIC:
        return all(is_condition(a) for a in node.arguments)
    return compares(node) and not any(_decides(n) for a in node.arguments for n in walk(a))


def compares(node: Node) -> TypeGuard[Apply]:
    """Whether a node is a comparison."""
    return isinstance(node, Apply) and (node.operator in COMPARISONS or node.operator == "in")


def _decides(node: Node) -> bool:
    """Whether a node is true or false, or would be if what stands in it were."""
    return compares(node) or (isinstance(node, Apply) and node.operator in LOGIC)
