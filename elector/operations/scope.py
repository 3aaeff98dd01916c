"""What the emitters hand to `Step`: the pass, where an operation stands, what it computes."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from elector.base.table import DATA, read_csv
from elector.describe.workload import PROMPTS
from elector.operations.collect import Shape
from elector.operations.roles import Place, Role

Array = np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Pass:
    """One pass through the layers.

    phase : forward | prefill | prefill_more | decode | recompute.
    batch : (M,) sequences; queries : (M,) tokens of each; keys : (M,) tokens attended to;
    span : (M,) how far keys grow around that value; times : (M,) passes of a step;
    source : (M,) tokens of the encoder's output.
    whole : (M,) tokens of a prompt of which the pass reads a piece, against the cache of those
        before; None where it reads all of them.
    again : its weights count as read by another pass, that of the prompt's last piece.
    """

    phase: str
    batch: Array
    queries: Array
    keys: Array
    span: Array
    times: Array
    source: Array
    whole: Array | None = None
    again: bool = False

    @property
    def tokens(self) -> Array:
        """(M,) rows of the residual stream."""
        return self.batch * self.queries

    @property
    def decoding(self) -> bool:
        """One token at a time, against a cache."""
        return self.phase == "decode"

    @property
    def first(self) -> bool:
        """Whether it is the first in a step to read weights."""
        return self.phase in ("forward", *PROMPTS) and not self.again

    @property
    def appends(self) -> bool:
        """Whether keys and values go behind those of earlier tokens, in the cache."""
        return self.decoding or self.whole is not None


@dataclass(frozen=True, eq=False, repr=False)
class Scope:
    """Where operations stand.

    run : the pass. place : the part of the model. count : (M,) runs in a step.
    layered : in a layer, which recomputation runs again.
    cross : in the attention to an encoder's output. in_attention : for every head alone.
    recorded : class of what the backward pass reads of it: saved; activation (it is computed
        again first); none (it is computed again and never leaves the chip).
    """

    run: Pass
    place: Place
    count: Array
    layered: bool = False
    cross: bool = False
    in_attention: bool = False
    recorded: str = "saved"

    @property
    def phase(self) -> str:
        """The phase of its rows."""
        return self.run.phase

    @property
    def again(self) -> int | None:
        """The block that computes it again; None in a pass from the bottom up."""
        return self.place.index if self.run.phase == "recompute" else None

    def inside(self, count: Array, recorded: str = "saved") -> Scope:
        """The same place, for every head alone."""
        return replace(self, count=count, in_attention=True, recorded=recorded)


class Subset(Enum):
    """Which parameters train with which setting of `workload.trainable`."""

    BODY = "all"  # only where everything trains
    HEAD = "head"  # in every subset: heads, and low-rank pairs
    CONSTANT = "never"  # a matrix of numbers that nobody trains


@dataclass(frozen=True, eq=False, repr=False)
class Matrix:
    """Parameters that tokens are multiplied with.

    width : (M,) columns. copies : matrices of that kind. index, variant : see `Row`.
    """

    role: Role
    width: Array
    subset: Subset = Subset.BODY
    copies: float = 1.0
    index: int = 0
    variant: str = ""


class Saves(Enum):
    """What the gradient of vector work reads of the forward pass."""

    NOTHING = 0
    INPUT = 1
    OUTPUT = 2
    BOTH = 3  # both inputs
    EACH = 4  # each input for the gradient of the other: a product
    WEIGHTED = 5  # the input, for the gradient of the parameters it is multiplied with
    MASK = 6  # a byte for each element


#: Simple and special operations for each element.
Work = tuple[float, float]


@dataclass(frozen=True)
class VectorRecipe:
    """Vector work.

    role, kind, streamed, index, variant : see `Row`. work : of an element.
    back : of an element of its gradient; None: it has no row of its own.
    saves : what the gradient reads. subset : of the parameters in it (a bias, the scale of a
    norm); None without any. table : its first operand lies in main memory. cached : it lies
    with the keys and values of earlier tokens.
    """

    role: Role
    kind: str
    work: Work
    back: Work | None = None
    saves: Saves = Saves.NOTHING
    subset: Subset | None = None
    streamed: bool = False
    index: int = 0
    variant: str = ""
    table: bool = False
    in_place: bool = False
    passes: bool = False
    cached: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class Product:
    """A product with parameters or constants for every head, or for every query.

    shape : all of its sides. rows, width : (M,) of the result.
    held : class of the parameters: weight | reuse. out : class of the result.
    first : constants stand first. summed : see `LinearNode`.
    kind : see `Row`: linear where the matrices are not of the heads but of experts.
    of : the role whose parameters they are, where another product reads them first.
    """

    role: Role
    shape: Shape
    rows: Array
    width: Array
    subset: Subset = Subset.BODY
    held: str = "weight"
    out: str = "activation"
    first: bool = False
    summed: bool = False
    variant: str = ""
    kind: str = "attention"
    of: Role | None = None


@functools.lru_cache(maxsize=1)
def _costs() -> dict[str, Work]:
    names, lines = read_csv(DATA / "vector_operations.csv")
    place = [names.index(name) for name in ("operation", "simple", "special")]
    return {c[place[0]]: (float(c[place[1]]), float(c[place[2]])) for _, c in lines}


@functools.lru_cache(maxsize=1024)
def formula(*operations: str) -> Work:
    """Simple and special operations of several vector operations in one.

    From elector/data/vector_operations.csv, where each row carries its formula.
    """
    costs = [_costs()[name] for name in operations]
    return sum(c[0] for c in costs), sum(c[1] for c in costs)
