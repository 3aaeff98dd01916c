"""Number formats, and which of them a step stores and computes each kind of tensor in.

A format (data/formats.csv) says what one value is; a precision (data/precisions.csv) names a
format for each kind of tensor, and `workload.precision` names a precision. Nothing decides by
a name: machines ask what a format can do. A new format or combination is one more row.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from elector.base.table import DATA, read_rows

#: Kinds of formats.
KINDS = ("float", "integer", "fixed")
#: When the weights in use are made from a master copy: in each pass through the model, inference
#: included, or once behind the update.
CASTS = ("pass", "update")
#: Bits from which on weights need no wider copy for the updates that are added to them.
_WIDE = 32.0


@dataclass(frozen=True)
class Format:
    """One number format; a row of data/formats.csv.

    name : also of the multiply-accumulate that a technology prices.
    kind : one of KINDS.
    bits : of a value in memory.
    significand : bits a multiplier sees (of a float, the hidden one included).
    scale : values that share a scale found at run time ("tensor": all of a tensor's; "": none).
    scale_bits : bits of that scale.
    trains : whether gradients can be computed in it.
    unpack : operations for each value that is turned into one to multiply, where weights and
        caches may be stored in it (`workload.weights`, `workload.kv_cache`); None: they may not.
    """

    name: str
    kind: str
    bits: float
    significand: int
    scale: str
    scale_bits: float
    trains: bool
    unpack: float | None

    @functools.cached_property
    def width(self) -> float:
        """Bytes of one value in memory, its part of a scale included (1 of a tensor: none)."""
        group = float(self.scale) if self.grouped else float("inf")
        return (self.bits + self.scale_bits / group) / 8.0

    @property
    def grouped(self) -> bool:
        """Whether the values of a tensor have scales for groups of them."""
        return self.scale.isdigit()

    @property
    def scaled(self) -> bool:
        """Whether a value of a wider format has to be measured and scaled to become one."""
        return bool(self.scale)


@dataclass(frozen=True)
class Precision:
    """The formats of a step by kind of tensor; a row of data/precisions.csv.

    products : what matrix products multiply in.
    weights, activations, keys_values : storage while the step runs; keys_values: of the cache.
    sums : partial sums of products.
    vectors : what norms, softmax and other vector work compute in.
    gradients : of activations; weight_gradients : of parameters.
    masters : a copy of the weights that the optimizer updates; None: they are their own.
    states : of the optimizer.
    casts : when weights are made from the master copy, one of CASTS; "" without one.
    native : modes in which a machine that multiplies in `products` runs it by itself.
    packed : format the matrices of layers are stored in; None: as all weights. Where it is that
        of the products, nothing is unpacked.
    cached : format of the cache, where it is not the precision's own; None: it is.
    """

    name: str
    products: Format
    weights: Format
    activations: Format
    sums: Format
    keys_values: Format
    vectors: Format
    gradients: Format
    weight_gradients: Format
    masters: Format | None
    states: Format
    casts: str
    native: tuple[str, ...]
    packed: Format | None = None
    cached: Format | None = None

    @property
    def compute(self) -> str:
        """Name of the multiply-accumulate that is priced."""
        return self.products.name

    @property
    def weight(self) -> float:
        """Bytes of a weight in use."""
        return self.weights.width

    @property
    def packed_weight(self) -> float:
        """Bytes of a weight in the matrices of layers."""
        return self.weight if self.packed is None else self.packed.width

    @property
    def layer_weights(self) -> Format:
        """The format of the matrices of layers."""
        return self.weights if self.packed is None else self.packed

    @property
    def activation(self) -> float:
        """Bytes of an activation."""
        return self.activations.width

    @property
    def key_value(self) -> float:
        """Bytes of an element of the key/value cache."""
        return (self.cached or self.keys_values).width

    @property
    def repacked(self) -> Format | None:
        """The format that keys and values are packed into, and unpacked from where they are read;
        None where they stay as they are multiplied, or are kept wider (as engines do that
        multiply weights in 8 bits, and attention in 16)."""
        wider = self.cached is None or self.cached.bits > self.products.bits
        return None if wider else self.cached

    @property
    def accumulator(self) -> float:
        """Bytes of a partial sum."""
        return self.sums.width

    @property
    def gradient(self) -> float:
        """Bytes of an activation's gradient."""
        return self.gradients.width

    @property
    def weight_gradient(self) -> float:
        """Bytes of a parameter's gradient."""
        return self.weight_gradients.width

    @property
    def master(self) -> float:
        """Bytes of a weight's master copy; 0 where it has none."""
        return 0.0 if self.masters is None else self.masters.width

    @property
    def state(self) -> float:
        """Bytes of one state of the optimizer."""
        return self.states.width

    @property
    def quantises(self) -> bool:
        """Whether the operands of products are scaled at run time."""
        return self.activations.scaled

    @property
    def widens(self) -> bool:
        """Whether vector work computes in wider numbers than activations are stored in."""
        return self.vectors.bits > self.activations.bits

    @property
    def casts_each_pass(self) -> bool:
        """Whether weights are kept in a master copy in inference, too, and cast in each pass."""
        return self.casts == "pass"


#: What a tensor is stored in that is stored as the precision says.
SAME = "same"


@functools.cache
def stored(precision: str, weights: str = SAME, kv_cache: str = SAME) -> Precision:
    """The formats of a step whose layers' matrices and cache are stored in others.

    They are turned into the format that is multiplied where they are read. A format that the
    precision has by itself changes nothing.

    weights, kv_cache : names of formats, or `same`.
    """
    own = precisions()[precision]
    packed = own.packed if weights in (SAME, own.weights.name) else formats()[weights]
    cached = None if kv_cache in (SAME, own.keys_values.name) else formats()[kv_cache]
    return replace(own, packed=packed, cached=cached)


@functools.cache
def unpacking() -> dict[str, float]:
    """Format that weights and caches may be stored in -> `Format.unpack`."""
    return {name: f.unpack for name, f in formats().items() if f.unpack is not None}


@functools.cache
def formats() -> dict[str, Format]:
    """Name -> format, from data/formats.csv."""
    by_name = {}
    for row in read_rows(DATA / "formats.csv"):
        assert row["kind"] in KINDS and row["trains"] in ("yes", "no"), row
        assert row["scale"] in ("", "tensor") or row["scale"].isdigit(), row
        by_name[row["format"]] = Format(
            row["format"],
            row["kind"],
            float(row["bits"]),
            int(row["significand"]),
            row["scale"],
            float(row["scale_bits"]),
            row["trains"] == "yes",
            float(row["unpack"]) if row["unpack"] else None,
        )
    return by_name


#: Columns of data/precisions.csv that name a format.
_TENSORS = (
    "products",
    "weights",
    "activations",
    "sums",
    "keys_values",
    "vectors",
    "gradients",
    "weight_gradients",
    "states",
)


@functools.cache
def precisions() -> dict[str, Precision]:
    """Name -> precision, from data/precisions.csv."""
    known, by_name = formats(), {}
    for row in read_rows(DATA / "precisions.csv"):
        assert row["casts"] in (*CASTS, "") and bool(row["casts"]) == bool(row["masters"]), row
        by_name[row["precision"]] = Precision(
            name=row["precision"],
            **{tensor: known[row[tensor]] for tensor in _TENSORS},
            masters=known[row["masters"]] if row["masters"] else None,
            packed=known[row["packed"]] if row["packed"] else None,
            casts=row["casts"],
            native=tuple(row["native"].split("|")),
        )
    return by_name


def storage_note(precision: Precision) -> str:
    """What is to be said of training without wider master weights; "" where nothing is."""
    weights = precision.weights
    if precision.masters is not None or weights.bits >= _WIDE:
        return ""
    return (
        f"trains in {weights.name} without a wider copy: weights, gradients and optimizer "
        f"states are kept in {weights.bits:g} bits"
    )


def native(products: str, mode: str) -> Precision:
    """The precision that a machine which multiplies in `products` runs by itself in a mode."""
    return next(p for p in precisions().values() if p.compute == products and mode in p.native)
