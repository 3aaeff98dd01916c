"""Attention heads of FlexiBERT 2.0: what stands between the projections and the output.

sdp: scaled dot product. wma: the keys of each head pass through one more e x e matrix.
dft, dct: a two-dimensional transform of the values, as products with constant matrices
(real part of the Fourier transform: two products along e, two along L; cosine: one each).
c5, c9, c13: span-based dynamic convolution (Jiang et al. 2020, arXiv 2008.02496): separable
convolution of the keys, times the queries, to a kernel by a product and a softmax over the
kernel, applied to the values behind a product of their own. Tuli et al. 2022 (arXiv 2205.11656),
TransCODE (2303.14882).
A homogeneous model is the case in which every head is sdp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from elector.describe.model import HEAD_TYPES
from elector.operations.collect import Shape
from elector.operations.graph import RoleWeights, Value, derived
from elector.operations.roles import Role
from elector.operations.scope import Product, Saves, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Heads:
    """Queries, keys and values of `number` (M,) heads of a layer, count (M,) times.

    shared : all heads read the same keys and values (a latent).
    """

    queries: Value
    keys: Value
    values: Value
    number: Array
    count: Array
    shared: bool = False

    def some(self, number: Array, e: Array, count: Array) -> Heads:
        """Some of the heads, each e (M,) wide; all of them where there are no others."""
        if (number == self.number).all():
            return self
        queries, keys, values = (
            v.view(v.rows, number * e, count) for v in (self.queries, self.keys, self.values)
        )
        return Heads(queries, keys, values, number, count)


#: (step, scope, block, heads) -> context of scaled dot products.
Core = Callable[[Step, Scope, int, Heads], Value]


def head_mixing(step: Step, scope: Scope, index: int, heads: Heads, core: Core) -> Value:
    """The rows of every head type a layer has; `core` writes the scaled dot product."""
    types = dict(zip(HEAD_TYPES, step.models.head_types[index], strict=True))
    e, run = step.models.block["head_size"][index], scope.run
    products, mixed = types["sdp"] + types["wma"], []
    if step.records(scope) and step.models.template.blocks[index].head_types:
        # Which heads there are is a number; what a row writes is the same for all models.
        step.saved.written += [heads.queries, heads.keys, heads.values]

    def some(number: Array) -> tuple[Scope, Heads]:
        count = scope.count * (number > 0)
        return scope.inside(count), heads.some(number, e, count)

    if products.any():
        inner, mine = some(products)
        if types["wma"].any():
            mine = _weighted(step, inner, mine, types["wma"], e)
        mixed.append(core(step, scope, index, mine))
    for variant, parts in (("dft", 2.0), ("dct", 1.0)):
        if types[variant].any():
            inner, mine = some(types[variant])
            mixed.append(_transform(step, inner, mine, e, variant, parts))
    for kernel in (5, 9, 13):
        if types[f"c{kernel}"].any():
            inner, mine = some(types[f"c{kernel}"])
            mixed.append(_convolution(step, inner, mine, e, float(kernel)))
    if len(mixed) == 1:
        return mixed[0]
    context = derived(mixed, run.tokens, heads.number * e, scope.count)
    # Each kind of heads writes its columns of one tensor, which stays once.
    context.whole = [(part, part.width > 0) for part in mixed]
    return context


def _weighted(step: Step, scope: Scope, heads: Heads, number: Array, e: Array) -> Heads:
    """Keys of `number` (M,) of the heads pass through a matrix each."""
    keys, count = heads.keys, heads.count * (number > 0)
    other = keys.view(keys.rows, number * e, count)
    mine = keys.view(keys.rows, (heads.number - number) * e)
    inner = scope.inside(count)
    weighted = step.product(inner, other, _per_head(inner, Role.WEIGHTED_KEYS, number, e, e))
    whole = derived([mine, weighted], keys.rows, heads.number * e)
    return replace(heads, keys=whole)


def _per_head(
    scope: Scope, role: Role, number: Array, e: Array, n: Array, variant: str = ""
) -> Product:
    """A trained e x n matrix for each of `number` (M,) heads."""
    tokens = scope.run.tokens
    return Product(role, Shape(number, tokens, e, n), tokens, number * n, variant=variant)


def relative_positions(
    step: Step, scope: Scope, heads: Heads, scores: Shape
) -> tuple[Value, tuple[RoleWeights, Shape]]:
    """Queries times the embedding of each distance, added to the scores.

    One (batch x heads, e) by (e, keys) product for each query (Shaw et al. 2018, arXiv
    1803.02155); all of them together read 2 L - 1 rows of the table.
    """
    run, (_, keys) = scope.run, scores.whole("n")
    share = (run.queries + keys - 1.0) / (run.queries * keys)
    shape = Shape(run.queries, run.batch * heads.number, scores.k, keys, share)
    product = Product(
        Role.RELATIVE_POSITIONS,
        shape,
        scores.batch * scores.m,
        keys,
        held="weight" if run.first else "reuse",
        out="none" if step.workload.attention == "flash" else "activation",
        summed=True,
    )
    y = step.product(scope, heads.queries, product)
    return y, (RoleWeights(Role.RELATIVE_POSITIONS, scope.place, scope.cross), shape)


def _transform(
    step: Step, scope: Scope, heads: Heads, e: Array, variant: str, parts: float
) -> Value:
    run, number, constant = scope.run, heads.number, Subset.CONSTANT
    shape = Shape(np.ones_like(number), run.tokens * number, e, parts * e)
    product = Product(
        Role.ALONG_HEADS, shape, run.tokens * number, parts * e, constant, variant=variant
    )
    x = step.product(scope, heads.values, product)
    shape = Shape(run.batch * number, run.queries, parts * run.queries, e)
    product = Product(
        Role.ALONG_TOKENS, shape, run.tokens, number * e, constant, first=True, variant=variant
    )
    return step.product(scope, x, product)


def _convolution(step: Step, scope: Scope, heads: Heads, e: Array, kernel: float) -> Value:
    number, variant = heads.number, f"c{kernel:.0f}"

    def matrices(x: Value, role: Role, n: Array) -> Value:
        return step.product(scope, x, _per_head(scope, role, number, e, n, variant))

    x = _taps(step, scope, Role.DEPTHWISE, kernel, heads.keys, None)
    x = matrices(x, Role.POINTWISE, e)
    times = VectorRecipe(
        Role.TIMES_QUERY,
        "elementwise",
        formula("gate"),
        formula("gate_backward"),
        Saves.EACH,
        streamed=True,
        variant=variant,
    )
    x = step.vector(scope, times, x, heads.queries)
    x = matrices(x, Role.KERNEL, np.full_like(e, kernel))
    softmax = VectorRecipe(
        Role.KERNEL_SOFTMAX,
        "softmax",
        formula("softmax"),
        formula("softmax_backward"),
        Saves.OUTPUT,
        variant=variant,
    )
    taps = step.vector(scope, softmax, x)
    values = matrices(heads.values, Role.SPAN_VALUES, e)
    return _taps(step, scope, Role.APPLICATION, kernel, values, taps)


def _taps(
    step: Step, scope: Scope, role: Role, kernel: float, x: Value, taps: Value | None
) -> Value:
    """`kernel` multiply-adds for each element on the vector unit; backward twice as many.

    taps : what each element is multiplied with, where it is computed and no parameter.
    """
    recipe = VectorRecipe(
        role,
        "elementwise",
        (2.0 * kernel, 0.0),
        (4.0 * kernel, 0.0),
        Saves.WEIGHTED if taps is None else Saves.EACH,
        Subset.BODY if taps is None else None,
        variant=f"c{kernel:.0f}",
    )
    return step.vector(scope, recipe, x, taps)
