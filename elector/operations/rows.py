"""The table of operations: what a row says.

R rows describe the work of M (model, workload) pairs of one structure. What all pairs
share (role, kind, operand classes) is one `Row`; what differs is an (R, M) array.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from elector.base.segments import Fold
from elector.describe.numbers import Precision
from elector.describe.workload import PROMPTS, Workload
from elector.operations import names
from elector.operations.graph import Graph
from elector.operations.roles import Place, Role, RowPart, layer_word, word
from elector.operations.routing import Routing

#: Where an operand comes from, and with it when it is already on the chip:
#: activation  handed over by the operation before: stays if it is small enough
#: saved       kept from the forward pass for the backward pass: stays if all of it fits
#: weight      parameters at their first use in a step: always fetched
#: reuse       parameters used before in the same step: stay if all of them fit
#: cache       keys and values of earlier tokens: stay if all of them fit
#: stream      always in main memory (optimizer states, embedding rows, gradients)
#: none        no such operand
CLASSES = ("activation", "saved", "weight", "reuse", "cache", "stream", "none")
#: Classes of a second operand that are parameters.
PARAMETERS = ("weight", "reuse")

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Row:
    """What is the same for every pair.

    role : what it computes in the model. place : the part of the model it stands in.
    phase : forward | prefill | prefill_more | decode | recompute | backward | update.
    kind : linear | attention (matrix products), softmax | norm | activation | elementwise |
        embedding | loss | optimizer | cast.
    matmul : whether it is a matrix product; everything else runs on the vector unit.
    a, b, out : operand classes of the product, or first input, second input, output.
    part : what of its role it is: the operation itself, one of its gradients, its update.
    cross : it belongs to the attention to an encoder's output.
    index : number of its feed-forward stack; 0 where there is one.
    variant : function, transform, kernel or name that sets it apart (see `Role`).
    copies : products of that kind in one layer (keys and values: 2).
    streamed : element-wise work that can follow its producer without a trip to memory.
    in_attention : independent for every head and sequence.
    off_chain : nothing later in the step waits for it (gradients of weights).
    grows : "n" or "k" where that size grows with the token index: one after another in
        decoding (`b` is then the cache, and m the queries that share a key head), or within a
        product of which a mask hides a part; else "".
    simple, special : vector operations for each element.
    """

    role: Role
    place: Place
    phase: str
    kind: str
    matmul: bool
    a: str = "activation"
    b: str = "none"
    out: str = "activation"
    part: RowPart = RowPart.FORWARD
    cross: bool = False
    index: int = 0
    variant: str = ""
    copies: float = 1.0
    streamed: bool = False
    in_attention: bool = False
    off_chain: bool = False
    grows: str = ""
    simple: float = 0.0
    special: float = 0.0

    def unpacks_for(self, other: Row) -> bool:
        """Whether it turns the operand of a product into the format that is multiplied."""
        return self.part is RowPart.UNPACKED and other.matmul and self._site == other._site

    @property
    def _site(self) -> tuple[object, ...]:
        return self.role, self.place, self.phase, self.cross, self.index, self.variant

    @property
    def word(self) -> str:
        """The word users' files have for the operation."""
        return word(self.role, self.part, self.cross, self.index, self.variant)

    @property
    def layer_word(self) -> str:
        """The word users' files have for its layer."""
        return layer_word(self.place, self.part)

    @property
    def name(self) -> str:
        """What a report calls it; decides nothing."""
        return names.operation(self.role, self.part, self.cross, self.index, self.variant)

    @property
    def layer(self) -> str:
        """What a report calls its layer; decides nothing."""
        return names.layer(self.place, self.part)


def unpacked(rows: tuple[Row, ...]) -> list[tuple[int, int]]:
    """Rows that turn a packed operand into one to multiply, and the product that reads it."""
    pairs = []
    for r, row in enumerate(rows):
        if row.part is not RowPart.UNPACKED:
            continue
        for i in range(r + 1, len(rows)):
            if row.unpacks_for(rows[i]):
                pairs.append((r, i))
                break
    return pairs


@dataclass(frozen=True, eq=False, repr=False)
class Shares:
    """A share for each operation and pair; many operations have the same.

    values : (K, M), the first all 1. code : (R,) index into values.
    """

    values: np.ndarray
    code: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Operations:
    """R operations of M (model, workload) pairs.

    rows : R of what is shared.
    count : (R, M) how often the operation runs in a step; 0 where a pair lacks it.
    batch, m, k, n : (R, M) independent products of (m x k) by (k x n); for vector work batch
        is 1, m the elements and k = n = 1.
    span : (R, M) how far the growing size reaches: it runs over span + 1 consecutive
        integers centred on the value given; 0 elsewhere.
    reach : (R, M) the growing size of the whole product, where a mask hides a part of it that
        the size then leaves out; 0 elsewhere.
    dense : (R, M) the growing size without any mask: `reach`, and of a prompt that is read in
        pieces all of it; 0 where all of the product is computed.
    a_bytes, b_bytes, out_bytes : (R, M) bytes of the whole operands of one run.
    a_width, b_width, out_width : (R,) bytes of an element.
    parameters : (M,) trainable or not. in_use : (M,) their bytes as products read them. active :
        (M,) those that one token takes.
    memory : name -> (M,) bytes of weights, gradients, optimizer, activations, cache.
    macs : (M,) dense multiply-accumulates of the matrix products of the step.
    executed : (M,) those of them that no mask hides.
    layers : (M,) layers a forward pass of all micro-batches goes through (periods of a chain).
    streams : (M,) sequences that do not depend on one another.
    heads : (M,) heads of an attention that do not depend on one another.
    tables : (M,) elements of the token table and of the positions in use.
    format : bytes of an element by class.
    workload : the M workloads.
    graph : which rows make the operands of which.
    rewritten : (R,) bool, products whose result streamed work right behind them writes: where
        that follows without a trip to memory, the product writes nothing.
    densities : a, b, out -> share of the operand's elements that are not zero; empty where
        everything is dense.
    left : (R, M) bool, results that would stay for the backward pass, but stay where another unit
        of a hybrid got them: here they are activations like others; None: none.
    compressed : the machine keeps tensors with zeros compressed, in memory and on their way.
    routed : places of products of experts -> how tokens fall on them; m is then the mean of those
        that get any, and batch their number.
    fold : None; where each column is a layer of its pair, which belong together. `parameters`
        and what follows are then those of the whole pair in each of its columns.
    """

    rows: tuple[Row, ...]
    count: np.ndarray
    batch: np.ndarray
    m: np.ndarray
    k: np.ndarray
    n: np.ndarray
    span: np.ndarray
    reach: np.ndarray
    dense: np.ndarray
    a_bytes: np.ndarray
    b_bytes: np.ndarray
    out_bytes: np.ndarray
    a_width: np.ndarray
    b_width: np.ndarray
    out_width: np.ndarray
    parameters: np.ndarray
    in_use: np.ndarray
    active: np.ndarray
    memory: dict[str, np.ndarray]
    macs: np.ndarray
    executed: np.ndarray
    layers: np.ndarray
    streams: np.ndarray
    heads: np.ndarray
    tables: np.ndarray
    format: Precision
    workload: Workload
    graph: Graph
    rewritten: np.ndarray
    densities: dict[str, Shares] = field(default_factory=dict)
    left: np.ndarray | None = None
    compressed: bool = False
    routed: dict[int, Routing] = field(default_factory=dict)
    fold: Fold | None = None

    def whole(self, values: np.ndarray) -> np.ndarray:
        """(M,) sums over the columns of a pair.

        values : one number for each column.
        """
        return values if self.fold is None else self.fold.spread(self.fold.sum(values))

    def at_once(self, phases: Sequence[str]) -> np.ndarray:
        """(M,) whole sequences, one at least, that pass the rows of some phases together: of
        prompts, those that share a pass.

        phases : of one stage.
        """
        for phase in PROMPTS:
            if phase in phases:
                return self.workload.prompts(phase)
        return self.streams

    def whole_sides(self) -> tuple[np.ndarray, np.ndarray]:
        """(R, M) k and n of the whole products, with what a mask hides."""
        grows = np.array([row.grows for row in self.rows])[:, None]
        hidden = self.reach > 0
        k = np.where(hidden & (grows == "k"), self.reach, self.k)
        return k, np.where(hidden & (grows == "n"), self.reach, self.n)

    def density(self, operand: str) -> np.ndarray:
        """(R, M) share of an operand's elements that are not zero."""
        if operand not in self.densities:
            return np.ones(self.count.shape)
        shares = self.densities[operand]
        return shares.values[shares.code]

    def stored(self, operand: str, row: int) -> np.ndarray | float:
        """(M,) stored size of an operand of a product over its dense size."""
        if not (self.compressed and self.densities and self.rows[row].matmul):
            return 1.0
        shares = self.densities[operand]
        if not shares.code[row]:
            return 1.0
        return stored_share(shares.values[shares.code[row]], getattr(self, f"{operand}_width")[row])

    def where(self, **wanted: object) -> np.ndarray:
        """Indices of the rows whose attributes equal all of `wanted`, not to be changed."""

        def places() -> np.ndarray:
            hits = [
                i
                for i, row in enumerate(self.rows)
                if all(getattr(row, name) == value for name, value in wanted.items())
            ]
            whole = np.array(hits, dtype=np.intp)
            whole.setflags(write=False)
            return whole

        return self.once(tuple(sorted(wanted.items(), key=lambda item: item[0])), places)

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """What `make` makes of the rows alone, made once: every chunk of designs asks the same.

        key : tells what is made from whatever else is.
        """
        if key not in self._made:
            self._made[key] = make()
        made: _Made = self._made[key]
        return made

    @functools.cached_property
    def _made(self) -> dict[object, Any]:
        return {}


def stored_share(density: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """Size of a compressed tensor over its dense size, of elements of `width` [byte].

    An element takes its bits where it is not zero and one bit of the mask always (Tuli and Jha
    2023, arXiv 2302.14705); where that is no smaller it is stored dense, without a mask.

    density : share of elements that are not zero.
    """
    return np.asarray(np.minimum(density + 1.0 / (8.0 * width), 1.0))


def groups(rows: tuple[Row, ...]) -> np.ndarray:
    """(R,) the group of each row: rows that the schedule and the phases never tell apart."""
    keys = [(row.phase, row.in_attention, row.off_chain, row.place.in_layers) for row in rows]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([place[key] for key in keys], dtype=np.intp)
