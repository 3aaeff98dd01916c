"""Rows of a list of operations: what an operation list or a list of matrix products runs.

Products of streams with weights have nothing to do with one another, and training adds their
two gradients. Everything else reads what the operation before it handed over.
"""

from __future__ import annotations

import functools

import numpy as np

from elector.base.errors import InputError
from elector.describe.listing import WORKLOAD, Listed, Listing, of_products
from elector.describe.model import Model, Models
from elector.describe.sizes import Size
from elector.describe.workload import Workload
from elector.operations.collect import Shape, Sizes
from elector.operations.graph import Operand, RoleWeights, Value, Way
from elector.operations.roles import ModelSection, Place, Role
from elector.operations.rows import PARAMETERS, Row
from elector.operations.scope import Pass, Scope, Subset, formula
from elector.operations.step import Step
from elector.operations.tape import LinearNode

Array = np.ndarray

#: function of data/vector_operations.csv -> the kind of its row; others are element-wise.
_KINDS = {
    "softmax": "softmax",
    "layer_norm": "norm",
    "rms_norm": "norm",
    "gelu": "activation",
    "relu": "activation",
    "silu": "activation",
    "tanh": "activation",
    "embedding": "embedding",
    "cast": "cast",
}
#: Kinds that need one element at a time, and so can follow their producer.
_STREAMED = ("activation", "elementwise")


def listing_of(model: Model) -> Listing | None:
    """The operations of a model that is a list of them; None for one of layers."""
    if model.gemms:
        return of_products(tuple((g.name, g.m, g.n, g.k, g.count) for g in model.gemms))
    return model.listing


def emit(step: Step, listing: Listing, times: Array) -> None:
    """The rows of a list; what has a size of 0 does not run. times : (M,) passes of a step.

    Raises InputError where nothing is left to run.
    """
    try:
        _emit(step, listing, times)
    except InputError as error:  # of a size, which only a workload shows to be wrong
        raise error.at(file=listing.file) from None


def _emit(step: Step, listing: Listing, times: Array) -> None:
    one = np.ones(step.models.size)
    run = Pass("forward", one, one, one, 0.0 * one, times, one)
    numbers = _Numbers(listing, step.workload, one)
    before: Value | None = None
    total = 0.0 * one
    for index, entry in enumerate(listing.entries):
        place = Place(ModelSection.LIST, variant=entry.layer)
        count = numbers.at(entry.count, index, "count") * times
        if entry.matmul:
            shape, there = _at_least_one(numbers.shape(entry, index))
            scope = Scope(run, place, count * there)
            made = _product(step, scope, entry, shape, before)
        else:
            sizes = numbers.vector(entry, index)
            elements = sizes["elements"]
            assert elements is not None
            there = elements > 0
            scope = Scope(run, place, count * there)
            sizes["elements"] = np.maximum(elements, 1.0)
            made = _vector(step, scope, entry, sizes, before)
        before = _latest(made, before)
        total = total + scope.count
    if not (total > 0).all():
        raise InputError("nothing runs: each has a count or a size of 0", field="operations")


def _latest(made: Value, before: Value | None) -> Value | None:
    """What the last operation that runs has handed over: an entry that does not run hands on what
    the one before it did.

    made, before : by an entry, and by those before it; None where there is none.
    """
    there = made.count > 0
    if before is None or there.all():
        return made
    if not there.any():
        return before
    rows, width, count = (
        np.where(there, getattr(made, key), getattr(before, key))
        for key in ("rows", "width", "count")
    )
    latest = Value(rows, width, count, made.needed)
    for value, where, way in ((made, there, Way.THERE), (before, ~there, Way.ELSE)):
        latest.reads(value, value.count * where, way)
        latest.whole.append((value, where))
    return latest


def _at_least_one(shape: Shape) -> tuple[Shape, Array]:
    """A product without a side of 0, and (M,) whether it had none and so runs."""
    sides = [np.asarray(side) for side in (shape.batch, shape.m, shape.k, shape.n)]
    there = np.asarray(np.minimum.reduce(sides) > 0)
    batch, m, k, n = (np.maximum(side, 1.0) for side in sides)
    return Shape(batch, m, k, n, shape.share), there


def weights(models: Models, listing: Listing) -> list[tuple[str, str, Array, Array]]:
    """(layer, name, elements, count) of what products read as weights, both (M,), and the rest.

    The sizes of weights follow the list's own symbols, never the workload.
    """
    try:
        return _weights(models, listing)
    except InputError as error:
        raise error.at(file=listing.file) from None


def _weights(models: Models, listing: Listing) -> list[tuple[str, str, Array, Array]]:
    one = np.ones(models.size)
    own = {name: np.array(float(value)) for name, value in listing.symbols}
    own |= {name: np.ones(()) for name in WORKLOAD}
    tensors, held = [], 0.0 * one
    for index, entry in enumerate(listing.entries):
        if not (entry.matmul and entry.b == "weight"):
            continue
        _refuse_variable(entry, index)
        batch, k, n, sharing = (
            _known(entry.size(key)).at(own) for key in ("batch", "k", "n", "sharing")
        )
        elements = one * (batch * k * n / sharing)
        count = one * entry.count.at(own)
        held = held + elements * count
        tensors.append((entry.layer, entry.name, elements, count))
    if listing.parameters is not None:
        rest = listing.parameters - held
        if (rest < 0).any():
            raise InputError(
                f"is less than the {held[0]:,.0f} weights that the products read",
                field="parameters",
                value=listing.parameters,
                hint="b: reuse says that a product reads weights that an earlier one reads",
            )
        tensors.append(("parameters", "other parameters", rest, one))
    return tensors


def require_inference(listing: Listing, workload: Workload) -> None:
    """Raise InputError for what a list says nothing of."""
    if workload.training and not listing.trains:
        raise InputError(
            "an operation list says what inference runs; gradients do not follow from it",
            field="workload.mode",
            value=workload.mode,
            allowed=["inference"],
            hint="describe the model as layers (YAML or config.json) to train it",
        )


class _Numbers:
    """Sizes of entries under M workloads, as arrays."""

    def __init__(self, listing: Listing, workload: Workload, one: Array) -> None:
        self.one = one
        self.values = listing.values({key: getattr(workload, key) for key in WORKLOAD.values()})

    def at(self, size: Size, index: int, key: str) -> Array:
        """(M,) one size. Raises InputError naming the entry and the key."""
        try:
            return self.one * size.at(self.values)
        except InputError as error:
            raise InputError(
                error.problem, field=f"operations[{index}].{key}", value=error.value
            ) from None

    def shape(self, entry: Listed, index: int) -> Shape:
        """The sides of a product."""
        sides = {
            key: self.at(_known(entry.size(key)), index, key)
            for key in ("batch", "m", "k", "n", "sharing")
        }
        share = 1.0 / np.maximum(sides["sharing"], 1.0)
        return Shape(sides["batch"], sides["m"], sides["k"], sides["n"], share)

    def vector(self, entry: Listed, index: int) -> dict[str, Array | None]:
        """Elements of vector work: computed, read, read as a second input, written."""
        return {
            key: None if size is None else self.at(size, index, key)
            for key in ("elements", "reads", "second", "writes")
            for size in [entry.size(key)]
        }


@functools.cache
def _one() -> Size:
    return Size("1")


def _known(size: Size | None) -> Size:
    """The size, 1 where the list does not say."""
    return size or _one()


def _refuse_variable(entry: Listed, index: int) -> None:
    """Weights have one size: those of a workload's batch or length are none."""
    for key in ("batch", "k", "n", "sharing"):
        wrong = sorted(_known(entry.size(key)).names & set(WORKLOAD))
        if wrong:
            raise InputError(
                f"weights cannot depend on {wrong[0]}",
                field=f"operations[{index}].{key}",
                value=_known(entry.size(key)).text,
                hint="b: activation is an operand that the model computes",
            )


def _product(step: Step, scope: Scope, entry: Listed, shape: Shape, before: Value | None) -> Value:
    """One entry of products; what it hands over."""
    training = step.training
    row = Row(
        Role.PRODUCT,
        scope.place,
        "forward",
        "linear" if entry.b in PARAMETERS else "attention",
        True,
        a=entry.a,
        b=entry.b,
        out=entry.out,
        variant=entry.name,
    )
    x = Value(shape.batch * shape.m, shape.k, scope.count, training)
    y = Value(shape.batch * shape.m, shape.n, scope.count, training)
    if before is not None and entry.a == "activation":
        x.reads(before)
    weight = RoleWeights(Role.PRODUCT, scope.place, variant=entry.name)
    second: Operand = weight if entry.b in PARAMETERS else _second(entry, shape, before)
    y.made_by(step.out.matmul(row, scope.count, shape, (x, second)))
    held = shape.k * shape.n * shape.share if entry.b not in PARAMETERS else 0.0
    step.note_live(shape.batch * (shape.m * (shape.k + shape.n) + held) * (scope.count > 0))
    step.keep(scope, x)
    if training:
        step.tape.append(
            LinearNode(
                scope,
                Role.PRODUCT,
                "linear",
                x,
                y,
                weight,
                shape,
                Subset.BODY,
                variant=entry.name,
            )
        )
    return y


def _second(entry: Listed, shape: Shape, before: Value | None) -> Value | None:
    """The second operand of a product of activations, which the operation before handed over."""
    if before is None or entry.b != "activation":
        return None
    operand = Value(shape.batch * shape.k * shape.share, shape.n, before.count)
    operand.reads(before)
    return operand


def _vector_row(scope: Scope, entry: Listed, two: bool) -> Row:
    """The row of an entry of vector work; `two` where it has a second operand."""
    kind = _KINDS.get(entry.function, "elementwise")
    simple, special = formula(entry.function)
    second = entry.b if entry.b != "none" else "activation"
    return Row(
        Role.PRODUCT,
        scope.place,
        "forward",
        kind,
        False,
        a=entry.a,
        b=second if two else "none",
        out=entry.out,
        variant=entry.name,
        streamed=kind in _STREAMED,
        simple=simple,
        special=special,
    )


def _vector(
    step: Step,
    scope: Scope,
    entry: Listed,
    sizes: dict[str, Array | None],
    before: Value | None,
) -> Value:
    """One entry of vector work; what it hands over."""
    elements, width = sizes["elements"], step.workload.format.activation
    assert elements is not None
    row = _vector_row(scope, entry, two=sizes["second"] is not None)
    x = Value(elements, np.ones_like(elements), scope.count)
    if before is not None and entry.a == "activation":
        x.reads(before)
    given = {
        name: None if values is None else values * width
        for name, values in (
            ("reads", sizes["reads"]),
            ("extra", sizes["second"]),
            ("writes", sizes["writes"]),
        )
    }
    y = Value(elements, np.ones_like(elements), scope.count)
    y.made_by(step.out.vector(row, scope.count, elements, Sizes(**given), (x, None)))
    reads = elements if sizes["reads"] is None else sizes["reads"]
    writes = elements if sizes["writes"] is None else sizes["writes"]
    if entry.a != "activation":  # rows of a table that lies in memory
        reads = 0.0 * reads
    step.note_live(np.maximum(reads, writes) * (scope.count > 0))
    return y
