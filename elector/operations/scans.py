"""Layers that carry a state from token to token instead of looking back at all of them.

in-projection -> short convolution -> scan of the state -> gate and norm -> out-projection.
mamba    selective scan of a diagonal state, element by element (Gu & Dao 2023, arXiv 2312.00752)
mamba2   heads that share a decay: in chunks of Q tokens like attention, between the chunks a state
         of heads x head size x state (Dao & Gu 2024, arXiv 2405.21060, section 6)
delta    the same with keys that replace what they find (gated delta rule: Yang et al. 2024,
         arXiv 2412.06464); in a chunk one triangular system of Q x Q more for each head
kda      the delta rule with a decay of every channel, and gates of a low rank (Kimi Linear,
         arXiv 2510.26692)
lightning  heads with keys of their own and fixed decays, without a convolution (MiniMax-01,
         arXiv 2501.08313)
convolution  no state but the last taps (LFM2's gated short convolution)
A generated token reads and writes the whole state, whatever the length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.describe.model import Models
from elector.operations.collect import Shape, Sizes
from elector.operations.graph import Value, added, derived
from elector.operations.pairs import low_rank
from elector.operations.passes import norm
from elector.operations.roles import Role
from elector.operations.rows import Row
from elector.operations.scope import Matrix, Saves, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step
from elector.operations.tape import AttentionNode

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class ScanSizes:
    """Sizes of a block's scan, all (M,).

    inner : channels of values. keys : width of one key (state size), of `groups` of them.
    heads, head : heads of the scan and the width of each. convolved : channels of the short
    convolution. projected : columns of the in-projection. fixed : its decays are not trained.
    """

    inner: Array
    keys: Array
    groups: Array
    heads: Array
    head: Array
    convolved: Array
    projected: Array
    fixed: bool = False

    @property
    def size(self) -> Array:
        """(M,) numbers of the state of one sequence."""
        return self.heads * self.head * self.keys


def state_of(models: Models, index: int) -> ScanSizes:
    """Sizes of the scan of a block."""
    at, mixer = models.at, models.template.blocks[index].scans
    heads, head = at("state_heads", index), at("state_head_size", index)
    keys, groups = at("state_size", index), at("state_groups", index)
    inner = heads * head
    both = 2.0 * groups * keys
    if mixer == "mamba2":
        return ScanSizes(inner, keys, groups, heads, head, inner + both, 2.0 * inner + both + heads)
    if mixer == "kda":  # steps, and both ranks of decays and gates, which are as wide as a head
        wide = inner + both + heads + 2.0 * head
        return ScanSizes(inner, keys, groups, heads, head, inner + both, wide)
    if mixer == "lightning":
        return ScanSizes(inner, keys, groups, heads, head, 0.0 * inner, 2.0 * inner + both, True)
    if mixer == "delta":
        wide = 2.0 * inner + both + 2.0 * heads
        return ScanSizes(inner, keys, groups, heads, head, inner + both, wide)
    if mixer == "mamba":  # every channel is a head of its own
        return ScanSizes(inner, keys, groups, heads, head, inner, 2.0 * inner)
    hidden = models.block["hidden"][index]
    none = np.zeros_like(hidden)
    return ScanSizes(hidden, none, none, none, none, hidden, 3.0 * hidden)


def scanned(step: Step, scope: Scope, index: int, x: Value) -> Value:
    """A whole layer of that kind, without the norm before it."""
    s, block = state_of(step.models, index), step.models.template.blocks[index]
    both = step.linear(scope, x, Matrix(Role.STATE_IN, s.projected))
    both = low_rank(step, scope, x, both, Role.STATE_IN)
    if block.scans == "lightning":
        wide = s.inner + 2.0 * s.groups * s.keys
        y = step.vector(scope, _ACTIVATION, both.view(both.rows, wide))
    else:
        y = both.view(both.rows, s.convolved)
        y = step.vector(scope, _taps(block.kernel, block.scans), y)
    gate = both
    if block.scans == "convolution":
        y = _gated(step, scope, y, gate)
        return _out(step, scope, index, y)
    if block.scans == "kda":
        y, gate = _by_channel(step, scope, s, y, both)
    if block.scans == "mamba":
        y = _by_element(step, scope, index, s, y)
    elif scope.run.decoding:
        y = _step_of_state(step, scope, s, y)
    else:
        y = _chunks(step, scope, index, s, y)
    y = _gated(step, scope, y.view(x.rows, s.inner), gate)
    if block.scans != "mamba" and (block.scans != "mamba2" or step.models.template.scan_norm):
        y = norm(step, scope, Role.STATE_NORM, y)
    return _out(step, scope, index, y)


def _by_channel(
    step: Step, scope: Scope, s: ScanSizes, y: Value, both: Value
) -> tuple[Value, Value]:
    """Queries, keys and values behind the decays of every channel of a key, and the gate; both
    are made by way of a rank as wide as a head."""
    channels = s.groups * s.keys
    small = both.view(both.rows, s.head)
    decay = step.linear(scope, small, Matrix(Role.STATE_STEP, channels))
    keys = derived([y, decay], y.rows, 2.0 * channels)
    weaker = VectorRecipe(
        Role.STATE_DECAY,
        "elementwise",
        formula("gate", "silu"),
        formula("gate_backward", "silu_backward"),
        Saves.INPUT,
    )
    keys = step.vector(scope, weaker, keys)
    changed = derived([keys, y], y.rows, y.width)
    gate = step.linear(scope, small, Matrix(Role.STATE_GATE, s.inner))
    return changed, gate


#: The function of queries, keys and values of lightning attention.
_ACTIVATION = VectorRecipe(
    Role.STATE_ACTIVATION,
    "elementwise",
    formula("silu"),
    formula("silu_backward"),
    Saves.INPUT,
    streamed=True,
)


def _out(step: Step, scope: Scope, index: int, y: Value) -> Value:
    """The projection back to the hidden width."""
    projected = step.linear(scope, y, Matrix(Role.STATE_OUT, step.models.block["hidden"][index]))
    return low_rank(step, scope, y, projected, Role.STATE_OUT)


def _taps(kernel: int, mixer: str) -> VectorRecipe:
    """Depthwise convolution along the tokens, and its activation."""
    simple, special = (0.0, 0.0) if mixer == "convolution" else formula("silu")
    return VectorRecipe(
        Role.STATE_CONVOLUTION,
        "elementwise",
        (2.0 * kernel + simple, special),
        (4.0 * kernel + 3.0 * simple, special),
        Saves.INPUT,
        Subset.BODY,
        variant="",
    )


def _gated(step: Step, scope: Scope, y: Value, both: Value) -> Value:
    """The result times a gate that the in-projection made, too."""
    recipe = VectorRecipe(
        Role.STATE_OUTPUT,
        "elementwise",
        formula("gate", "silu"),
        formula("gate_backward", "silu_backward"),
        Saves.BOTH,
        streamed=True,
    )
    return step.vector(scope, recipe, y, both.view(y.rows, y.width))


#: Simple and special operations for each number of a state and token: decay, what is added
#: (a product), sum, product with the query and its sum; the decay's exponential.
_STEP = (5.0, 1.0)


def _by_element(step: Step, scope: Scope, index: int, s: ScanSizes, y: Value) -> Value:
    """A scan on the vector unit: what it needs of each token, and the states one by one."""
    # Of each token the step size (low rank), the input's and the output's weights of the state.
    rank = step.models.at("state_groups", index)
    small = step.linear(scope, y, Matrix(Role.STATE_PARAMETERS, rank + 2.0 * s.keys))
    delta = step.linear(scope, small.view(small.rows, rank), Matrix(Role.STATE_STEP, s.inner))
    state = derived([y, delta], y.rows, s.inner * s.keys)
    states = _state(step, scope, s, state)
    return states.view(y.rows, s.inner)


def _step_of_state(step: Step, scope: Scope, s: ScanSizes, y: Value) -> Value:
    """One token: the whole state is read, changed and written."""
    return _state(step, scope, s, derived([y], scope.run.tokens, s.size))


def _state(step: Step, scope: Scope, s: ScanSizes, state: Value) -> Value:
    """Work on every number of a state, for each token."""
    decoding = scope.run.decoding
    recipe = VectorRecipe(
        Role.STATE_UPDATE,
        "elementwise",
        _STEP,
        (2.0 * _STEP[0], _STEP[1]),
        Saves.INPUT,
        None if s.fixed else Subset.BODY,
        cached=decoding,
    )
    # Between tokens of a prompt the state stays in registers: what is read and written is what
    # goes into it and what comes out.
    width = step.workload.format.activation
    moved = state.rows * s.inner * width if not decoding else state.elements * width
    return step.vector(scope, recipe, state, sizes=Sizes(reads=moved, writes=moved))


def _chunks(step: Step, scope: Scope, index: int, s: ScanSizes, y: Value) -> Value:
    """The scan in chunks: inside of each like attention, between them by a state."""
    run, length = scope.run, float(step.models.template.blocks[index].scan)
    chunk = np.minimum(run.queries, length)
    number = run.batch * (run.queries / chunk)
    kind = step.models.template.blocks[index].scans
    delta = kind in ("delta", "kda")
    inner = scope.inside(scope.count)
    keys, queries = (y.view(y.rows, s.groups * s.keys) for _ in range(2))
    values = y.view(y.rows, s.inner)
    groups = s.heads if delta or kind == "lightning" else s.groups
    scores = _product(
        step,
        inner,
        Role.STATE_SCORES,
        Shape(number * groups, chunk, s.keys, chunk),
        (queries, keys),
    )
    masked = _decayed(step, inner, scores, number * s.heads * chunk, chunk)
    if delta:
        values = _replaced(step, inner, s, number, chunk, (keys, values))
    whole = number * s.heads
    here = _product(
        step, inner, Role.STATE_INSIDE, Shape(whole, chunk, chunk, s.head), (masked, values)
    )
    state = _product(
        step, inner, Role.STATE_UPDATE, Shape(whole, s.keys, chunk, s.head), (keys, values)
    )
    passed = VectorRecipe(
        Role.STATE_PASS, "elementwise", formula("gate", "residual"), formula("gate_backward")
    )
    state = step.vector(inner, passed, state)
    before = _product(
        step, inner, Role.STATE_OUTPUT, Shape(whole, chunk, s.keys, s.head), (queries, state)
    )
    return added([here.view(y.rows, s.inner), before.view(y.rows, s.inner)])


def _decayed(step: Step, scope: Scope, scores: Value, rows: Array, chunk: Array) -> Value:
    """Scores of all heads, masked and weakened by how far apart their tokens are."""
    masked = Value(rows, chunk, scope.count, scores.needed)
    masked.reads(scores)
    decay = VectorRecipe(
        Role.STATE_DECAY,
        "elementwise",
        formula("gate", "mask"),
        formula("gate_backward"),
        Saves.INPUT,
    )
    return step.vector(scope, decay, masked)


def _replaced(
    step: Step,
    scope: Scope,
    s: ScanSizes,
    number: Array,
    chunk: Array,
    parts: tuple[Value, Value],
) -> Value:
    """Values less what their keys already find: a triangular system for each chunk and head.

    Keys times keys, the inverse of the triangle (by forward substitution, Q^3 / 3
    multiply-additions), and that times values and times keys.
    """
    keys, values = parts
    whole = number * s.heads
    square = _product(
        step, scope, Role.STATE_SCORES, Shape(whole, chunk, s.keys, chunk), (keys, keys)
    )
    # Simple operations of an element: of Q^2 elements of the triangle each takes 2 Q / 3.
    solve = VectorRecipe(
        Role.STATE_STEP,
        "elementwise",
        (2.0 * float(chunk.max()) / 3.0, 0.0),
        (4.0 * float(chunk.max()) / 3.0, 0.0),
        Saves.OUTPUT,
    )
    triangle = step.vector(scope, solve, square)
    return _product(
        step,
        scope,
        Role.STATE_INSIDE,
        Shape(whole, chunk, chunk, s.head + s.keys),
        (triangle, values),
    ).view(values.rows, values.width)


def _product(
    step: Step, scope: Scope, role: Role, shape: Shape, operands: tuple[Value, Value]
) -> Value:
    """A product of two tensors of the scan, (m x k) by (k x n), and its gradients."""
    left, right = operands
    row = Row(
        role,
        scope.place,
        scope.phase,
        "attention",
        True,
        b="activation",
        in_attention=True,
    )
    out = Value(shape.batch * shape.m, shape.n, scope.count)
    out.made_by(step.out.matmul(row, scope.count, shape, (left, right)))
    out.needed, out.missing = step.wanted((left, right), None)
    if step.records(scope):
        as_scores = replace(shape, k=shape.n, n=shape.k)
        roles = (Role.STATE_INSIDE, Role.STATE_UPDATE)
        step.tape.append(AttentionNode(scope, role, left, right, out, as_scores, left, roles))
        step.keep(scope, right, left)
        step.keep(scope, left, right)
    return out
