"""Indexers: every query scores all keys in a few narrow heads, and attention runs over the best.

DeepSeek-V3.2 (arXiv 2512.02556, section 2.1) sums relu(scores) over the heads by weights that a
projection makes of each token, and takes the best keys. MiniMax M3 norms queries and keys, and
takes the best blocks of keys by the largest score in each, without weights (`index_block`).
"""

from __future__ import annotations

from elector.operations.attention import appended
from elector.operations.collect import Shape
from elector.operations.graph import Value, detached
from elector.operations.passes import norm
from elector.operations.roles import Role
from elector.operations.rows import Row
from elector.operations.scope import Matrix, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step


def index_scores(step: Step, scope: Scope, index: int, x: Value, low: Value) -> None:
    """The indexer of a layer: projections, scores of all keys, and the choice of the best.

    It is trained apart (section 2.1.1 of the report), so that a step of the model leaves no
    gradients of it. low : what its queries read: the rank of the queries, or the layer's input.
    """
    heads, e = (step.models.at(n, index) for n in ("index_heads", "index_head_size"))
    blocks = bool(step.models.at("index_block", index).any())
    run, constant = scope.run, Subset.CONSTANT
    x = detached(x)
    q = step.linear(scope, detached(low), Matrix(Role.INDEX_QUERY, heads * e, constant))
    k = step.linear(scope, x, Matrix(Role.INDEX_KEY, e, constant))
    if blocks:
        q = norm(step, scope, Role.INDEX_QUERY_NORM, q, constant)
    k = norm(step, scope, Role.INDEX_KEY_NORM, k, constant)
    if not blocks:
        step.linear(scope, x, Matrix(Role.INDEX_WEIGHTS, heads, constant))
    queries, grows = heads * run.queries, "n" if run.appends else ""
    if run.appends:
        (k,) = appended(step, scope, [k])
    row = Row(
        Role.INDEX_SCORES,
        scope.place,
        scope.phase,
        "attention",
        True,
        b="cache" if run.appends else "activation",
        in_attention=True,
        grows=grows,
    )
    span = run.span if grows else 0.0
    shape = Shape(run.batch, queries, e, run.keys, 1.0, span, dense=run.whole)
    scores = Value(run.batch * queries, run.keys, scope.count)
    scores.made_by(step.out.matmul(row, scope.count, shape, (q, k)))
    # the largest of a block; or relu, times a weight, added up
    work = formula("relu") if blocks else formula("relu", "gate", "residual")
    step.vector(
        scope.inside(scope.count), VectorRecipe(Role.INDEX_CHOICE, "elementwise", work), scores
    )
