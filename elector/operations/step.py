"""One step being written down: rows, the tensors between them, and what their gradients need.

Every forward operation notes its own gradient on a tape, so that no backward row can be
forgotten: `backward` only plays the tape in reverse. What stays of the forward pass is what
those gradients read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from elector.describe.model import Models
from elector.describe.workload import SKIPPING, Workload
from elector.operations import graph
from elector.operations.collect import Collector, Shape, Sizes
from elector.operations.graph import Operand, RoleWeights, Value, joined
from elector.operations.rows import Row
from elector.operations.saved import Saved
from elector.operations.scope import Matrix, Product, Saves, Scope, Subset, VectorRecipe
from elector.operations.tape import LinearNode, Node, VectorNode

Array = np.ndarray
PLAIN = Sizes()


@dataclass
class Step:
    """Everything the emitters share while the rows of one structure are written down.

    saved : what stays for the backward pass. cached : block -> keys and values of the encoder's
    output. live : (M,) bytes alive at the same time in inference. gradients : parameters ->
    rows with their gradients.
    """

    models: Models
    workload: Workload
    out: Collector
    tape: list[Node] = field(default_factory=list)
    saved: Saved = field(default_factory=Saved)
    cached: dict[int, tuple[Value, Value]] = field(default_factory=dict)
    live: Array = field(default_factory=lambda: np.zeros(1))
    gradients: dict[RoleWeights, list[int]] = field(default_factory=dict)

    @property
    def training(self) -> bool:
        """Whether the step trains."""
        return self.workload.training

    @property
    def skips(self) -> bool:
        """Whether attention leaves out what its mask hides."""
        return self.workload.attention in SKIPPING

    @property
    def dropout(self) -> bool:
        """Whether activations are dropped."""
        return self.training and self.models.template.dropout

    def trains(self, subset: Subset | None) -> bool:
        """Whether parameters of a subset train."""
        everything = self.workload.trainable == "all"
        return self.training and (subset is Subset.HEAD or (subset is Subset.BODY and everything))

    def records(self, scope: Scope) -> bool:
        """Whether the backward pass reads this pass, and not one that computes it again."""
        again = self.workload.activations == "recompute" and scope.layered
        return self.training and (scope.phase == "recompute" if again else True)

    # ---- what stays for the backward pass ----

    def keep(self, scope: Scope, value: Value, reader: Value | None = None) -> None:
        """The gradient of `reader` reads this tensor (None: that of parameters that train)."""
        if not self.records(scope) or (reader is not None and not reader.needed):
            return
        missing = 0.0 if reader is None else reader.missing
        self.saved.keep(value, np.maximum(value.count - missing, 0.0), scope.again)

    def checkpoint(self, value: Value) -> None:
        """A tensor from which layers are computed again stays from the forward pass on."""
        self.saved.keep(value, value.count, None)

    # ---- emitters ----

    def linear(self, scope: Scope, x: Value, matrix: Matrix) -> Value:
        """y = x w for every token."""
        row = Row(
            matrix.role,
            scope.place,
            scope.phase,
            "linear",
            True,
            b="weight" if scope.run.first else "reuse",
            cross=scope.cross,
            index=matrix.index,
            variant=matrix.variant,
            copies=matrix.copies,
        )
        shape = Shape(1.0, x.rows, x.width, matrix.width)
        self.note_live(x.rows * (x.width + matrix.width) * (scope.count > 0))
        y = Value(x.rows, matrix.copies * matrix.width, scope.count)
        weight = RoleWeights(matrix.role, scope.place, scope.cross, matrix.index, matrix.variant)
        node = LinearNode(
            scope,
            matrix.role,
            "linear",
            x,
            y,
            weight,
            shape,
            matrix.subset,
            matrix.copies,
            matrix.index,
            matrix.variant,
        )
        return self._product(row, node)

    def product(self, scope: Scope, x: Value, product: Product) -> Value:
        """A product with a matrix for every head, or with a constant one."""
        constant = product.subset is Subset.CONSTANT
        row = Row(
            product.role,
            scope.place,
            scope.phase,
            product.kind,
            True,
            a="reuse" if product.first else "activation",
            b="activation" if product.first else "reuse" if constant else product.held,
            out=product.out,
            cross=scope.cross,
            variant=product.variant,
            in_attention=product.kind == "attention",
        )
        y = Value(product.rows, product.width, scope.count)
        role = product.of or product.role
        read = RoleWeights(role, scope.place, scope.cross, variant=product.variant)
        weight = None if constant else read
        node = LinearNode(
            scope,
            product.role,
            product.kind,
            x,
            y,
            weight,
            product.shape,
            product.subset,
            variant=product.variant,
            summed=product.summed,
        )
        return self._product(row, node, second=product.first)

    def _product(self, row: Row, node: LinearNode, second: bool = False) -> Value:
        """Writes the row of a product with parameters and notes its gradients.

        second : the parameters stand first.
        """
        scope, x, y = node.scope, node.x, node.y
        operands: tuple[Operand, Operand] = (node.weight, x) if second else (x, node.weight)
        place = self.out.matmul(row, node.copies * scope.count, node.shape, operands)
        y.made_by(place)
        y.needed, y.missing = self.wanted((x,), node.subset)
        if self.trains(node.subset):
            self.keep(scope, x)
        if self.records(scope):
            self.tape.append(node)
        return y

    def vector(
        self,
        scope: Scope,
        recipe: VectorRecipe,
        a: Value,
        b: Value | None = None,
        sizes: Sizes = PLAIN,
    ) -> Value:
        """Vector work y = f(a, b) on the elements of a."""
        if b is not None and recipe.saves in (Saves.BOTH, Saves.EACH):
            sizes = replace(sizes, extra=b.computed * self.workload.format.activation)
        row = self._vector_row(scope, recipe, sizes)
        y = Value(a.rows, a.width, scope.count, *self.wanted((a, b), recipe.subset))
        y.done = a.done
        y.made_by(self.out.vector(row, scope.count, a.computed, sizes, (a, b)))
        if recipe.in_place:
            y.home = a
        self._remember(VectorNode(scope, recipe, a, b, y))
        return y

    def aside(self, scope: Scope, recipe: VectorRecipe, a: Value) -> None:
        """Vector work on the elements of a that is only looked at: no gradient passes it."""
        row = self._vector_row(scope, recipe, PLAIN)
        y = Value(a.rows, a.width, scope.count, False, 0.0)
        y.done = a.done
        y.made_by(self.out.vector(row, scope.count, a.computed, PLAIN, (a, None)))

    def _vector_row(self, scope: Scope, recipe: VectorRecipe, sizes: Sizes) -> Row:
        """What vector work is, whatever its sizes."""
        around = "none" if scope.recorded == "none" else "activation"
        return Row(
            recipe.role,
            scope.place,
            scope.phase,
            recipe.kind,
            False,
            a="stream" if recipe.table else "cache" if recipe.cached else around,
            b="none" if sizes.extra is None else "activation",
            out=around,
            cross=scope.cross,
            index=recipe.index,
            variant=recipe.variant,
            streamed=recipe.streamed,
            in_attention=scope.in_attention,
            simple=recipe.work[0],
            special=recipe.work[1],
        )

    def vectors(
        self, scope: Scope, recipe: VectorRecipe, parts: Sequence[Value], sizes: Sizes = PLAIN
    ) -> list[Value]:
        """The same vector work on several tensors in one row; what becomes of each."""
        x = joined(parts)
        y = self.vector(scope, recipe, x, sizes=sizes)
        pieces = []
        for part in parts:
            needed = self.wanted((part,), recipe.subset)
            piece = Value(part.rows, part.width, part.count, *needed)
            piece.reads(y)
            piece.home = part if recipe.in_place else None
            if part.needed:
                passes = recipe.passes or recipe.back is None
                part.gradient.takes((piece if passes else x).gradient)
            pieces.append(piece)
        return pieces

    def _remember(self, node: VectorNode) -> None:
        """Notes the gradient of vector work, and keeps what it reads."""
        scope, y = node.scope, node.y
        if not self.records(scope):
            return
        if node.recipe.back is None:  # the gradient of the result is that of the operand
            for operand in (node.a, node.b):
                if operand is not None and operand.needed:
                    operand.gradient.takes(y.gradient)
            return
        self.tape.append(node)
        if scope.recorded == "saved":
            self._keep_for(node)

    def _keep_for(self, node: VectorNode) -> None:
        """Keeps what the gradient of vector work reads."""
        scope, saves, a, b, y = node.scope, node.recipe.saves, node.a, node.b, node.y
        if saves in (Saves.INPUT, Saves.BOTH):
            self.keep(scope, a, y)
        if saves is Saves.BOTH and b is not None:
            self.keep(scope, b, y)
        if saves is Saves.EACH and b is not None:
            self.keep(scope, a, b)
            self.keep(scope, b, a)
        if saves is Saves.WEIGHTED and self.trains(node.recipe.subset):
            self.keep(scope, a)
        if saves is Saves.OUTPUT:
            self.keep(scope, y, y)
        if saves is Saves.MASK and y.needed:
            self.saved.mask(y, np.maximum(y.count - y.missing, 0.0), scope.again)

    def wanted(
        self, operands: Sequence[Value | None], subset: Subset | None
    ) -> tuple[bool, Array | float]:
        """Whether the gradient of a result is wanted, and in how many runs it is not."""
        return (True, 0.0) if self.trains(subset) else graph.wanted(operands)

    def note_live(self, elements: Array) -> None:
        """Note elements alive at the same time in inference.

        elements : (M,).
        """
        self.live = np.maximum(self.live, elements * self.workload.format.activation)
