"""What a call of an operator computes: products and vector work with their sizes.

Operators are those of PyTorch (aten) and ONNX. Products are told by what they multiply; vector
work by data/imported_operations.csv. An operator that is not known is counted as one operation
an element, and named; one whose name speaks of products is refused.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.describe.imports.traced import Traced

#: Parts of the names of operators that multiply matrices.
_MULTIPLIES = re.compile(
    r"mm|conv|lstm|gru|rnn|attention|fft|matmul|linear|einsum|gemm|cdist|bilinear(?!2d)|dft|stft",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ProgramTensor:
    """A tensor of a program.

    shape : its sides. floating : whether it holds numbers that are computed with, and no indices
    or masks. weight : what its parameters are called, empty where it is computed; held : how many
    of them there are.
    """

    shape: tuple[int, ...]
    floating: bool = True
    weight: str = ""
    held: int = 0

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class OperatorCall:
    """One call of an operator.

    name : of the operator, without its set and its overload. path : where it stands.
    args : ProgramTensor, number, text, list or None each. named : arguments given by name.
    outs : what it makes.
    """

    name: str
    path: str
    args: Sequence[object]
    outs: Sequence[ProgramTensor]
    named: dict[str, object] = field(default_factory=dict)

    def tensor(self, place: int) -> ProgramTensor:
        """An argument that has to be a tensor.

        place : of the argument, from 0.
        """
        value = self.args[place] if place < len(self.args) else None
        if not isinstance(value, ProgramTensor):
            raise InputError(f"{self.path}: {self.name} has no tensor as argument {place + 1}")
        return value

    def given(self, name: str, place: int, usual: object) -> object:
        """An argument by name or by place.

        usual : the value where it is not given.
        """
        if name in self.named:
            return self.named[name]
        return self.args[place] if place < len(self.args) else usual

    @property
    def tensors(self) -> list[ProgramTensor]:
        """All arguments that are tensors, those in lists too."""
        tensors: list[ProgramTensor] = []
        for value in (*self.args, *self.named.values()):
            listed = value if isinstance(value, list | tuple) else [value]
            tensors += [part for part in listed if isinstance(part, ProgramTensor)]
        return tensors


@dataclass
class UnknownOperators:
    """What was taken without being known.

    names : operators that were counted as one operation an element. asked : modules that asked
    whether all of a mask is set, and were told yes.
    """

    names: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)


def rows(call: OperatorCall, kind: str, unknown: UnknownOperators) -> list[Traced]:
    """What a call runs.

    kind : aten | onnx. unknown : collects the names of operators that are not known.
    Raises InputError for an operator that multiplies matrices in a way that is not known.
    """
    multiply = PRODUCTS[kind].get(call.name)
    if multiply is not None:
        return multiply(call)
    name = call.name if kind == "onnx" else call.name.rstrip("_")
    known = _table(kind).get(name)
    if known is None:
        if _MULTIPLIES.search(call.name):
            raise InputError(f"{call.path}: the operator {call.name} is not known")
        if not any(out.floating for out in call.outs):
            return []
        unknown.names.add(call.name)
        known = (("residual",), "out")
    functions, over = known
    out = next((o for o in call.outs if o.floating), None)
    if out is None or not functions:
        return []
    return [_vector(call, function, over, out) for function in functions]


def _vector(call: OperatorCall, function: str, over: str, out: ProgramTensor) -> Traced:
    """Vector work: what it reads and writes, where that is not what it computes."""
    inputs = [t for t in call.tensors if t.floating]
    computed = [t for t in inputs if not t.weight and t.shape]
    elements = computed[0].elements if over == "in" and computed else out.elements
    sizes = {"elements": elements}
    if function == "embedding" and not (inputs and inputs[0].weight):
        function = "none"  # a gather of what was computed
    if over == "in" and out.elements != elements:
        sizes["writes"] = out.elements
    if over == "out" and len(computed) > 1 and function not in ("none", "embedding"):
        # Of two that are not of one shape, the one that is spread over the other.
        first_fits = computed[0].shape == out.shape
        sizes["second"] = computed[1 if first_fits else 0].elements
    first = "stream" if function == "embedding" else "activation"
    return Traced(call.path, function, tuple(sizes.items()), a=first)


@functools.cache
def _table(kind: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Operator -> functions of data/vector_operations.csv, and what their elements are."""
    _, lines = read_csv(DATA / "imported_operations.csv")
    functions_of = {}
    for _, (of, names, functions, over, _why) in lines:
        if of == kind:
            for name in names.split("|"):
                functions_of[name] = (tuple(f for f in functions.split("|") if f), over)
    return functions_of


# ---- products ----


def product(
    path: str, sides: tuple[int, int, int, int], second: ProgramTensor, sharing: int = 1
) -> Traced:
    """A product. sides : batch, m, k, n. sharing : products with one second operand together.

    A weight that all of a batch read is one matrix, and the batch more rows.
    """
    batch, m, k, n = sides
    if second.weight and batch > 1 and second.held == k * n:
        batch, m = 1, batch * m
    sizes = [("batch", batch), ("m", m), ("k", k), ("n", n)]
    if not second.weight and sharing > 1:
        sizes.append(("sharing", sharing))
    b = "weight" if second.weight else "activation"
    return Traced(path, "", tuple(sizes), b=b, weight=second.weight)


def matmul(path: str, a: ProgramTensor, b: ProgramTensor) -> list[Traced]:
    """A product with broadcasting; the operand that is a weight comes second."""
    left, right = _two(a.shape, first=True), _two(b.shape, first=False)
    if a.weight and not b.weight:
        return matmul(path, _turned(b, right), _turned(a, left))
    m, k, n = left[-2], left[-1], right[-1]
    of_right = math.prod(right[:-2])
    batch = math.prod(_broadcast(left[:-2], right[:-2]))
    if of_right == 1:  # one second operand for all: more rows
        return [product(path, (1, batch * m, k, n), b)]
    return [product(path, (batch, m, k, n), b, batch // of_right)]


def _two(shape: tuple[int, ...], first: bool) -> tuple[int, ...]:
    if len(shape) >= 2:
        return shape
    side = shape[0] if shape else 1
    return (1, side) if first else (side, 1)


def _turned(tensor: ProgramTensor, shape: tuple[int, ...]) -> ProgramTensor:
    turned = (*shape[:-2], shape[-1], shape[-2])
    return ProgramTensor(turned, tensor.floating, tensor.weight, tensor.held)


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    size = max(len(a), len(b))
    a, b = (1,) * (size - len(a)) + a, (1,) * (size - len(b)) + b
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _of(first: int, second: int) -> Callable[[OperatorCall], list[Traced]]:
    return lambda call: matmul(call.path, call.tensor(first), call.tensor(second))


def _linear(call: OperatorCall) -> list[Traced]:
    """x w^T."""
    weight = call.tensor(1)
    return matmul(call.path, call.tensor(0), _turned(weight, _two(weight.shape, first=True)))


def _convolution(call: OperatorCall, transposed: bool = False, groups: int = 1) -> list[Traced]:
    """The product of the unrolled input and the filters, one for each group."""
    x, weight, out = call.tensor(0), call.tensor(1), call.outs[0]
    window = math.prod(weight.shape[2:])
    if transposed:  # every input makes a window of outputs
        pixels = x.elements // x.shape[1]
        sides = (groups, pixels, weight.shape[0] // groups, weight.shape[1] * window)
    else:
        pixels = out.elements // out.shape[1]
        sides = (groups, pixels, weight.shape[1] * window, weight.shape[0] // groups)
    return [product(call.path, sides, weight)]


def _aten_convolution(call: OperatorCall) -> list[Traced]:
    groups, transposed = call.given("groups", 8, 1), call.given("transposed", 6, False)
    return _convolution(call, bool(transposed), _whole(groups))


def _conv_nd(call: OperatorCall) -> list[Traced]:
    return _convolution(call, groups=_whole(call.given("groups", 6, 1)))


def _conv_transposed(call: OperatorCall) -> list[Traced]:
    return _convolution(call, transposed=True, groups=_whole(call.given("groups", 6, 1)))


def _onnx_conv(call: OperatorCall) -> list[Traced]:
    transposed = call.name == "ConvTranspose"
    return _convolution(call, transposed, _whole(call.named.get("group", 1)))


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 1


def _attention(call: OperatorCall) -> list[Traced]:
    """softmax(q k^T) v: (..., heads, queries, size) and (..., key heads, keys, size)."""
    q, k, v = (call.tensor(i) for i in range(3))
    if len(q.shape) < 3:
        raise InputError(f"{call.path}: {call.name} of {len(q.shape)} dimensions is not known")
    *outer, queries, size = q.shape
    heads, keys, width = math.prod(outer), k.shape[-2], v.shape[-1]
    sharing = max(heads // max(math.prod(k.shape[:-2]), 1), 1)
    return [
        product(f"{call.path}.scores", (heads, queries, size, keys), k, sharing),
        Traced(f"{call.path}.softmax", "softmax", (("elements", heads * queries * keys),)),
        product(f"{call.path}.context", (heads, queries, keys, width), v, sharing),
    ]


def _einsum(call: OperatorCall) -> list[Traced]:
    """Two operands: letters of both and the result are a batch, of both alone are summed."""
    equation = str(call.named.get("equation", call.args[0])).replace(" ", "")
    operands = [t for t in call.tensors if isinstance(t, ProgramTensor)]
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if len(terms) != 2 or len(operands) != 2 or not arrow or "." in equation:
        raise InputError(f"{call.path}: the product {equation} is not known")
    sides = {
        c: s for t, o in zip(terms, operands, strict=True) for c, s in zip(t, o.shape, strict=True)
    }
    one, other = map(set, terms)
    a, b = operands
    if a.weight and not b.weight:
        one, other, a, b = other, one, b, a
    kept = set(result)

    def size(letters: set[str]) -> int:
        return math.prod(sides[c] for c in letters)

    batch, summed = one & other & kept, (one & other) - kept
    m, n = one - other, other - one
    return [product(call.path, (size(batch), size(m), size(summed), size(n)), b)]


PRODUCTS: dict[str, dict[str, Callable[[OperatorCall], list[Traced]]]] = {
    "aten": {
        "mm": _of(0, 1),
        "bmm": _of(0, 1),
        "matmul": _of(0, 1),
        "mv": _of(0, 1),
        "dot": _of(0, 1),
        "addmm": _of(1, 2),
        "addbmm": _of(1, 2),
        "baddbmm": _of(1, 2),
        "addmv": _of(1, 2),
        "linear": _linear,
        "convolution": _aten_convolution,
        "_convolution": _aten_convolution,
        "conv1d": _conv_nd,
        "conv2d": _conv_nd,
        "conv3d": _conv_nd,
        "conv_transpose1d": _conv_transposed,
        "conv_transpose2d": _conv_transposed,
        "einsum": _einsum,
        "scaled_dot_product_attention": _attention,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_flash_attention": _attention,
        "_scaled_dot_product_efficient_attention": _attention,
        "_scaled_dot_product_attention_math": _attention,
    },
    "onnx": {
        "MatMul": _of(0, 1),
        "Gemm": lambda call: matmul(
            call.path, _gemm_side(call, 0, "transA"), _gemm_side(call, 1, "transB")
        ),
        "MatMulInteger": _of(0, 1),
        "QLinearMatMul": _of(0, 3),
        "Conv": _onnx_conv,
        "ConvInteger": _onnx_conv,
        "ConvTranspose": _onnx_conv,
        "Einsum": _einsum,
    },
}


def _gemm_side(call: OperatorCall, place: int, turned: str) -> ProgramTensor:
    tensor = call.tensor(place)
    return _turned(tensor, tensor.shape) if call.named.get(turned) else tensor
