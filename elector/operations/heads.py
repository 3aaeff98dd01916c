"""What stands on top of the layers: pooler, classifier, span or vocabulary head, and the loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elector.operations.graph import Value
from elector.operations.passes import activation_saves, bias, biased, norm
from elector.operations.roles import ModelSection, Place, Role
from elector.operations.scope import Matrix, Pass, Saves, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step

Array = np.ndarray


def head(step: Step, run: Pass, x: Value, *, last_only: bool) -> Value:
    """What stands on top of the layers' output x; its result.

    last_only : the last token of a sequence is all that is asked for.
    """
    model = step.models.template
    scope, kind = Scope(run, Place(ModelSection.HEAD), run.times), model.head
    tokens, d = run.batch if last_only else run.tokens, x.width
    x = x.view(x.rows, d, run.times)
    if model.closes:
        x = norm(step, scope, Role.FINAL_NORM, x.view(tokens, d))
    if kind == "pre-training":
        _next_sentence(step, scope, x)
    if kind in ("pooler", "classifier"):
        x = x.gathered(run.batch)  # of each sequence, one token
    if model.transforms and kind not in ("masked-lm", "pre-training"):
        x = _transformed(step, scope, x)
    if kind == "pooler" or (kind == "classifier" and model.head_dense):
        x = _pooled(step, scope, x)
    if kind == "classifier":
        return _classes(step, scope, x)
    if kind in ("token-classifier", "token-detection"):
        return _by_token(step, scope, x.view(run.tokens, d))
    if kind == "question-answering":
        matrix = Matrix(Role.SPAN_HEAD, np.full_like(d, 2.0), Subset.HEAD)
        return logits(step, scope, x.view(run.tokens, d), matrix, Role.SPAN_HEAD_BIAS)
    if kind == "causal-lm":
        return _vocabulary(step, scope, _narrowed(step, scope, x.view(tokens, d)))
    if kind in ("masked-lm", "pre-training"):
        return _masked(step, scope, x)
    return x


def _masked(step: Step, scope: Scope, x: Value) -> Value:
    """A score for every word at the masked positions; at all of them in inference."""
    if step.training:  # only the masked positions have a loss (Devlin et al. 2018)
        x = x.gathered(scope.run.batch * step.workload.predictions)
    if step.models.template.transforms:
        x = _transformed(step, scope, x)
    return _vocabulary(step, scope, x)


def _classes(step: Step, scope: Scope, x: Value) -> Value:
    """A score for every class; the classes of decoders have no bias."""
    matrix = Matrix(Role.CLASSIFIER, step.models.numbers["labels"], Subset.HEAD)
    decoder = step.models.template.family == "decoder"
    return logits(step, scope, x, matrix, None if decoder else Role.CLASSIFIER_BIAS)


def _vocabulary(step: Step, scope: Scope, x: Value) -> Value:
    """A score for every word of the vocabulary."""
    model = step.models.template
    # A tied head is the token embedding once more, and trains only where that does.
    subset = Subset.BODY if model.tied_embeddings else Subset.HEAD
    matrix = Matrix(Role.VOCABULARY_HEAD, step.models.numbers["vocabulary"], subset)
    return logits(
        step, scope, x, matrix, Role.VOCABULARY_HEAD_BIAS if model.vocabulary_bias else None
    )


def _narrowed(step: Step, scope: Scope, x: Value) -> Value:
    """Back to the width of the token embedding, where that is another (OPT-350M)."""
    width = step.models.template.embedding_size
    if not width:
        return x
    return step.linear(scope, x, Matrix(Role.EMBEDDING_DOWN, np.full_like(x.width, float(width))))


def _next_sentence(step: Step, scope: Scope, x: Value) -> None:
    """The other task of BERT's pre-training: whether one sentence follows the other."""
    x = _pooled(step, scope, x.gathered(scope.run.batch))
    matrix = Matrix(Role.NEXT_SENTENCE, np.full_like(x.width, 2.0), Subset.HEAD)
    logits(step, scope, x, matrix, Role.NEXT_SENTENCE_BIAS)


def _by_token(step: Step, scope: Scope, x: Value) -> Value:
    """Labels of every token; whether it was replaced, behind a dense layer (ELECTRA)."""
    model, labels = step.models.template, step.models.numbers["labels"]
    if model.head == "token-detection":
        x = step.linear(scope, x, Matrix(Role.TOKEN_DENSE, x.width, Subset.HEAD))
        also, back = biased(step, True, Subset.HEAD)
        name = model.activation
        recipe = VectorRecipe(
            Role.TOKEN_ACTIVATION,
            "activation",
            formula(name, *also),
            formula(f"{name}_backward", *back),
            activation_saves(name),
            Subset.HEAD,
            streamed=True,
        )
        x, labels = step.vector(scope, recipe, x), np.ones_like(labels)
    return logits(
        step, scope, x, Matrix(Role.CLASSIFIER, labels, Subset.HEAD), Role.CLASSIFIER_BIAS
    )


def _pooled(step: Step, scope: Scope, x: Value) -> Value:
    """The dense layer on the first tokens."""
    x = step.linear(scope, x, Matrix(Role.POOLER, x.width, Subset.HEAD))
    also, back = biased(step, True, Subset.HEAD)
    recipe = VectorRecipe(
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
    model = step.models.template
    activation, own = model.activation, model.embedding_size
    width = np.full_like(x.width, float(own)) if own else x.width
    x = step.linear(scope, x, Matrix(Role.MASKED_LM_TRANSFORM, width, Subset.HEAD))
    also, back = biased(step, model.transform_bias, Subset.HEAD)
    recipe = VectorRecipe(
        Role.MASKED_LM_ACTIVATION,
        "activation",
        formula(activation, *also),
        formula(f"{activation}_backward", *back),
        activation_saves(activation),
        Subset.HEAD if model.transform_bias else None,
        streamed=True,
    )
    x = step.vector(scope, recipe, x)
    return norm(step, scope, Role.MASKED_LM_NORM, x, Subset.HEAD)


def logits(step: Step, scope: Scope, x: Value, matrix: Matrix, with_bias: Role | None) -> Value:
    """The last projection and, in training, the loss and what is measured beside it."""
    y = step.linear(scope, x, matrix)
    if with_bias is not None:
        y = step.vector(scope, bias(step, with_bias, Subset.HEAD), y)
    if step.training:
        recipe = VectorRecipe(
            Role.LOSS, "loss", formula("loss"), formula("loss_backward"), Saves.OUTPUT
        )
        step.vector(scope, recipe, y)
        metric = VectorRecipe(Role.METRIC, "loss", formula("loss"))
        step.aside(replace(scope, count=scope.count * step.workload.metrics), metric, y)
    return y
