"""What stands on top of the layers: pooler, classifier, span or vocabulary head, and the loss."""

from __future__ import annotations

import numpy as np

from elector.operations.graph import Value
from elector.operations.passes import activation_saves, bias, biased, norm
from elector.operations.roles import Place, Role, Section
from elector.operations.scope import Matrix, Pass, Recipe, Saves, Scope, Subset, formula
from elector.operations.step import Step

Array = np.ndarray


def head(step: Step, run: Pass, x: Value, *, last_only: bool) -> Value:
    """What stands on top of the layers' output x; its result.

    last_only : the last token of a sequence is all that is asked for.
    """
    model, numbers = step.models.template, step.models.numbers
    scope, kind = Scope(run, Place(Section.HEAD), run.times), model.head
    tokens, d = run.batch if last_only else run.tokens, x.width
    x = x.view(x.rows, d, run.times)
    if model.pre_norm:
        x = norm(step, scope, Role.FINAL_NORM, x.view(tokens, d))
    if kind in ("pooler", "classifier"):
        x = x.gathered(run.batch)  # of each sequence, one token
        if kind == "pooler" or model.head_dense:
            x = _pooled(step, scope, x)
    if kind == "classifier":
        with_bias = None if model.family == "decoder" else Role.CLASSIFIER_BIAS
        return logits(
            step, scope, x, Matrix(Role.CLASSIFIER, numbers["labels"], Subset.HEAD), with_bias
        )
    if kind == "question-answering":
        matrix = Matrix(Role.SPAN_HEAD, np.full_like(d, 2.0), Subset.HEAD)
        return logits(step, scope, x.view(run.tokens, d), matrix, Role.SPAN_HEAD_BIAS)
    if kind in ("masked-lm", "causal-lm"):
        # A tied head is the token embedding once more, and trains only where that does.
        subset = Subset.BODY if model.tied_embeddings else Subset.HEAD
        matrix = Matrix(Role.VOCABULARY_HEAD, numbers["vocabulary"], subset)
        if kind == "causal-lm":
            return logits(step, scope, x.view(tokens, d), matrix, None)
        if step.training:  # only the masked positions have a loss (Devlin et al. 2018)
            x = x.gathered(run.batch * step.workload.predictions)
        x = _transformed(step, scope, x)
        return logits(step, scope, x, matrix, Role.VOCABULARY_HEAD_BIAS)
    return x


def _pooled(step: Step, scope: Scope, x: Value) -> Value:
    """The dense layer on the first tokens."""
    x = step.linear(scope, x, Matrix(Role.POOLER, x.width, Subset.HEAD))
    also, back = biased(step, True, Subset.HEAD)
    recipe = Recipe(
        Role.POOLER_ACTIVATION,
        "activation",
        formula("tanh", *also),
        formula("tanh_backward", *back),
        Saves.OUTPUT,
        Subset.HEAD,
        streamed=True,
    )
    return step.vector(scope, recipe, x)


def _transformed(step: Step, scope: Scope, x: Value) -> Value:
    """Dense layer, activation and norm of the predicted positions."""
    activation = step.models.template.activation
    x = step.linear(scope, x, Matrix(Role.MASKED_LM_TRANSFORM, x.width, Subset.HEAD))
    also, back = biased(step, True, Subset.HEAD)
    recipe = Recipe(
        Role.MASKED_LM_ACTIVATION,
        "activation",
        formula(activation, *also),
        formula(f"{activation}_backward", *back),
        activation_saves(activation),
        Subset.HEAD,
        streamed=True,
    )
    x = step.vector(scope, recipe, x)
    return norm(step, scope, Role.MASKED_LM_NORM, x, Subset.HEAD)


def logits(step: Step, scope: Scope, x: Value, matrix: Matrix, with_bias: Role | None) -> Value:
    """The last projection and, in training, the loss."""
    y = step.linear(scope, x, matrix)
    if with_bias is not None:
        y = step.vector(scope, bias(step, with_bias, Subset.HEAD), y)
    if step.training:
        recipe = Recipe(Role.LOSS, "loss", formula("loss"), formula("loss_backward"), Saves.OUTPUT)
        step.vector(scope, recipe, y)
    return y
