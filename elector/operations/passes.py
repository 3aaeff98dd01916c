"""The rows by element that every sublayer has."""

from __future__ import annotations

from elector.operations.graph import Value
from elector.operations.roles import Role
from elector.operations.scope import Saves, Scope, Subset, VectorRecipe, formula
from elector.operations.step import Step


def norm(step: Step, scope: Scope, role: Role, x: Value, subset: Subset = Subset.BODY) -> Value:
    """Layer norm or root-mean-square norm of rows."""
    return step.vector(scope, norm_of(step, role, subset), x)


def norm_of(step: Step, role: Role, subset: Subset = Subset.BODY) -> VectorRecipe:
    """The norm of a model, which is a root-mean-square norm or one of the layer norms."""
    kind = step.models.template.norm
    operation = "rms_norm" if kind == "rms" else "layer_norm"
    trained = None if kind == "layer-plain" else subset
    return VectorRecipe(
        role,
        "norm",
        formula(operation),
        formula(f"{operation}_backward"),
        Saves.INPUT,
        trained,
    )


def dropout(step: Step, scope: Scope, role: Role, x: Value) -> Value:
    """Random zeros; the mask is one byte an element and stays for the backward pass.

    Where nothing of the scope is saved, its random numbers are drawn again.
    """
    recipe = VectorRecipe(
        role,
        "elementwise",
        formula("dropout"),
        formula("dropout_backward"),
        Saves.MASK,
        streamed=True,
    )
    return step.vector(scope, recipe, x)


def bias(step: Step, role: Role, subset: Subset = Subset.BODY) -> VectorRecipe:
    """A bias added to rows; its gradient sums them, and passes on as it is."""
    back = formula("bias_backward") if step.trains(subset) else None
    return VectorRecipe(
        role,
        "elementwise",
        formula("bias"),
        back,
        subset=subset,
        streamed=True,
        passes=True,
    )


def activation_saves(activation: str) -> Saves:
    """What the gradient of an activation reads: of ReLU, the signs of its result will do."""
    return Saves.OUTPUT if activation == "relu" else Saves.INPUT


def biased(step: Step, there: bool, subset: Subset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Formulas of a bias that is added in the same pass, forward and backward.

    there : whether there is one.
    """
    if not there:
        return (), ()
    return ("bias",), ("bias_backward",) if step.trains(subset) else ()
