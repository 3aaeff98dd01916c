"""Backward pass: the tape played in reverse.

y = x w gives dx = dy w^T (T x n x k) and dw = x^T dy (k x T x n); scores and context give
dQ, dK, dP, dV. With unfused attention and everything trained that is exactly twice the
forward products; flash attention computes the scores again (Dao et al. 2022, arXiv
2205.14135), which makes its attention backward 2.5 times the forward.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.operations.collect import Shape, Sizes
from elector.operations.graph import Value
from elector.operations.roles import RESIDUALS, Role, RowPart
from elector.operations.rows import Row
from elector.operations.scope import Saves
from elector.operations.step import Step
from elector.operations.tape import AgainNode, AttentionNode, LinearNode, VectorNode

Array = np.ndarray


def backward(step: Step) -> None:
    """Every gradient of the step that is wanted."""
    for node in reversed(step.tape):
        if isinstance(node, LinearNode):
            _linear(step, node)
        elif isinstance(node, VectorNode):
            _vector(step, node)
        elif isinstance(node, AgainNode):
            _again(step, node)
        elif node.roles[0] is Role.QUERY:
            _scores(step, node)
        else:
            _context(step, node)


def _runs(node: LinearNode | AttentionNode | VectorNode | AgainNode, *tensors: Value) -> Array:
    """(M,) how often the gradients of all these tensors are wanted."""
    count = node.scope.count
    for tensor in tensors:
        count = np.minimum(count, node.scope.count - tensor.missing)
    return np.maximum(count, 0.0)


def _linear(step: Step, t: LinearNode) -> None:
    if t.x.needed:
        row = _product_row(t, RowPart.INPUT_GRADIENT, b="reuse")
        s = t.shape
        share = s.share if t.summed else 1.0
        place = step.out.matmul(
            row, t.copies * _runs(t, t.x), s.but(s.m, s.n, s.k, share), (t.y.gradient, t.weight)
        )
        t.x.gradient.made_by(place)
    if step.trains(t.subset):
        _weight_gradient(step, t)


def _weight_gradient(step: Step, t: LinearNode) -> None:
    f, s = step.workload.format, t.shape
    row = _product_row(t, RowPart.WEIGHT_GRADIENT, a="saved", b="activation", out="stream")
    shape = Shape(1.0, s.k, s.m * s.batch, s.n) if t.summed else s.but(s.k, s.m, s.n, 1.0)
    widths = f.activation, f.gradient, f.weight_gradient
    count = t.copies * t.scope.count
    place = step.out.matmul(replace(row, off_chain=True), count, shape, (t.x, t.y.gradient), widths)
    assert t.weight is not None
    step.gradients.setdefault(t.weight, []).append(place)


def _product_row(
    t: LinearNode, part: RowPart, a: str = "activation", b: str = "none", out: str = "activation"
) -> Row:
    """A gradient of a product with parameters."""
    return Row(
        t.role,
        t.scope.place,
        "backward",
        t.kind,
        True,
        a,
        b,
        out,
        part,
        t.scope.cross,
        t.index,
        t.variant,
        t.copies,
    )


def _scores(step: Step, t: AttentionNode) -> None:
    """dQ = dS K and dK = dS^T Q."""
    s, ds = t.shape, t.out.gradient
    if t.left.needed:
        row = _core_row(step, t, t.roles[0], "k", between=True)
        place = step.out.matmul(row, _runs(t, t.left), s.but(s.m, s.n, s.k), (ds, t.right))
        t.left.gradient.made_by(place)
    if t.right.needed:
        row = _core_row(step, t, t.roles[1], "k", between=True)
        shape = _by_keys(s)
        place = step.out.matmul(row, _runs(t, t.right), shape, (ds, t.left))
        t.right.gradient.made_by(place)


def _context(step: Step, t: AttentionNode) -> None:
    """dV = P^T dO and dP = dO V^T."""
    s, do = t.shape, t.out.gradient
    if t.right.needed:
        held = "saved" if t.scope.recorded == "saved" else _between(step)
        row = replace(_core_row(step, t, t.roles[1], "k"), a=held, b="activation")
        shape = _by_keys(s)
        place = step.out.matmul(row, _runs(t, t.right), shape, (t.read, do))
        t.right.gradient.made_by(place)
    if t.left.needed:
        row = replace(_core_row(step, t, t.roles[0], "n"), out=_between(step))
        place = step.out.matmul(row, _runs(t, t.left), s.but(s.m, s.k, s.n), (do, t.right))
        t.left.gradient.made_by(place)


def _between(step: Step) -> str:
    """Class of scores and their gradients: flash attention keeps them on the chip."""
    return "none" if step.workload.attention == "flash" else "activation"


def _by_keys(s: Shape) -> Shape:
    """Products with a row for each key, over the queries: of those that see it, if some do not."""
    if s.reach is None:
        return s.but(s.n, s.m, s.k, 1.0)
    return Shape(s.batch, s.reach, s.n * (s.m / s.reach), s.k, 1.0, s.span, s.m)


def _core_row(step: Step, node: AttentionNode, role: Role, side: str, between: bool = False) -> Row:
    """A gradient of one of the two products of the heads; `side` lies along keys or queries."""
    scope = node.scope
    return Row(
        role,
        scope.place,
        "backward",
        "attention",
        True,
        _between(step) if between else "activation",
        "saved",
        part=RowPart.GRADIENT,
        cross=scope.cross,
        in_attention=True,
        grows="" if node.shape.reach is None else side,
    )


def _again(step: Step, t: AgainNode) -> None:
    """Scores and softmax once more, from the saved queries and keys."""
    if not t.wanted.needed:
        return
    between, scope = _between(step), t.scope
    phase = "backward" if between == "none" else "recompute"
    row = Row(
        Role.SCORES,
        scope.place,
        phase,
        "attention",
        True,
        "saved",
        "saved",
        between,
        RowPart.AGAIN,
        scope.cross,
        in_attention=True,
        grows="" if t.shape.reach is None else "n",
    )
    runs = _runs(t, t.wanted)
    place = step.out.matmul(row, runs, t.shape, (t.queries, t.keys))
    t.scores.made_by(place)
    if t.positions is not None:
        table, shape = t.positions
        own = replace(row, role=Role.RELATIVE_POSITIONS, b="reuse", grows="")
        place = step.out.matmul(own, runs, shape, (t.queries, table))
        t.scores.made_by(place)
    _softmax_again(step, t, row, runs)


def _softmax_again(step: Step, t: AgainNode, scores: Row, runs: Array) -> None:
    """Probabilities from scores that were computed again; `scores` is their row."""
    between = scores.out
    softmax = replace(
        scores,
        role=Role.SOFTMAX,
        kind="softmax",
        matmul=False,
        grows="",
        a=between,
        b="none",
        streamed=between == "none",
        simple=t.work[0],
        special=t.work[1],
    )
    place = step.out.vector(softmax, runs, t.scores.computed, Sizes(), (t.scores, None))
    t.probabilities.made_by(place)


def _vector(step: Step, t: VectorNode) -> None:
    recipe, scope = t.recipe, t.scope
    assert recipe.back is not None
    wanted = [t.y, *(v for v in (t.a, t.b) if v is not None and recipe.role in RESIDUALS)]
    if not all(value.needed for value in wanted):
        return _pass(t)
    around = "none" if scope.recorded == "none" else "activation"
    second, size, operand = _read(step, t)
    row = Row(
        recipe.role,
        scope.place,
        "backward",
        recipe.kind,
        False,
        around,
        second,
        around,
        RowPart.GRADIENT,
        scope.cross,
        recipe.index,
        recipe.variant,
        streamed=recipe.streamed,
        in_attention=scope.in_attention,
        simple=recipe.back[0],
        special=recipe.back[1],
    )
    dy = t.y.gradient
    sizes = Sizes(extra=size, writes=_written(step, t))
    place = step.out.vector(row, _runs(t, *wanted), t.a.computed, sizes, (dy, operand))
    if second == "saved" and t.b is not None and recipe.saves in (Saves.BOTH, Saves.EACH):
        step.out.further[place] = t.b
    for value in (t.a, t.b):
        if value is not None and value.needed:
            if recipe.passes:
                value.gradient.takes(dy)
            else:
                value.gradient.made_by(place)


def _written(step: Step, t: VectorNode) -> Array | None:
    """Bytes of the gradients of both factors of a product; None for one tensor."""
    if t.b is None or t.recipe.saves not in (Saves.BOTH, Saves.EACH):
        return None
    return (t.a.computed + t.b.computed) * step.workload.format.activation


def _pass(t: VectorNode) -> None:
    """A sum of which one operand only has a gradient hands it on."""
    for value in (t.a, t.b):
        if value is not None and value.needed:
            value.gradient.takes(t.y.gradient)


def _read(step: Step, t: VectorNode) -> tuple[str, Array | None, Value | None]:
    """What a gradient reads beside that of its result: class, bytes and tensor."""
    width, scope, saves = step.workload.format.activation, t.scope, t.recipe.saves
    if t.recipe.role in RESIDUALS:  # the gradient that went around the sublayer
        return "activation", t.a.computed * width, t.y.gradient
    if saves is Saves.NOTHING or scope.recorded == "none":
        return "none", None, None
    if saves is Saves.MASK and scope.recorded == "saved":
        mask = Value(t.y.rows, t.y.width / width, t.y.count)  # a byte each
        mask.sources, mask.copied = t.y.sources, True
        return "saved", t.a.computed * 1.0, mask
    elements = t.a.computed
    if saves is Saves.BOTH:
        assert t.b is not None
        elements = elements + t.b.elements
    return scope.recorded, elements * width, t.y if saves is Saves.OUTPUT else t.a
