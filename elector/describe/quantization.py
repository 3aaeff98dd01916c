"""How a model's own file says that its weights are stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from elector.describe.numbers import Format, formats, unpacking

#: Parts of a layer that files leave as they are, and what their modules are called. Norms,
#: convolutions and routers are never stored in a format of their own here.
_PROJECTIONS = r"(\*|\.\*|$|\.\w*proj\w*)"
PARTS = {
    "attention": re.compile(r"(?<!linear_)(self_attn|\battn|\battention)" + _PROJECTIONS),
    "state": re.compile(r"linear_attn" + _PROJECTIONS),
    "shared experts": re.compile(r"shared_experts?" + _PROJECTIONS),
}
#: Parts of a model whose modules files list with a format of their own each; the first that fits.
MODULES = {
    "head": re.compile(r"(^|\.)(lm_)?head$"),
    "shared experts": re.compile(r"shared_experts?\b"),
    "experts": re.compile(r"\bexperts\b"),
    "state": re.compile(r"\b(linear_attn|mamba)\b|\bmixer\.(in|out)_proj"),
    "attention": re.compile(r"\b(self_attn|attn|attention)\b|\bmixer\.[qkvo]_proj"),
    "feed forward": re.compile(r"\b(mlp|ffn|feed_forward)\b|\bmixer\.(up|gate|down)_proj"),
}
LAYER = re.compile(r"layers?\.(\d+)\b")
#: Blocks that no format has, as they are named here: the format, and the sides of a block.
_BLOCKS = re.compile(r"(.+) of (\d+) x (\d+)")
#: Bits of a scale of floats of 8 bits (fp32), where they have one for a block or a group.
_FLOAT_SCALE = 32.0
#: How the names of formats end whose scales are stored in 8 bits themselves.
_TWICE = "-dq"
#: Within this share of its bytes a format is taken before one that is nearer by another name.
_NEAR = 0.03
#: A part stays as it is where this share of the layers that are named lists it.
_MOST = 0.5


@dataclass(frozen=True)
class Quantization:
    """How a file says that its weights are stored.

    method : gptq | awq | bitsandbytes | fp8 | mxfp4 | modelopt | ... as the file calls it.
    weights : fp8 | fp8-block | int4 | int8 | nf4 | nvfp4 | mxfp4 ... ; "" where they stay
        as they are.
    bits : of a weight, without scales. group : weights that share a scale, of a block its side
        (0: a tensor, or as the format has it). kv_cache : format of keys and values; "" as
        computed.
    left_out : patterns of the modules that stay as they are. parts : of MODULES, those that are
    stored in another format than `weights`, with it ("": as they are).
    near : what files store of parts (MODULES) in groups or blocks that no format has, in words.
    """

    method: str
    weights: str
    bits: float = 0.0
    group: int = 0
    kv_cache: str = ""
    left_out: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    near: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """The row of data/formats.csv that its weights are counted in.

        Their own, or, where files have groups or blocks that no row has, the one of as many bits
        whose bytes are nearest; "" where there is none of as many bits.
        """
        return self.own_format or self._nearest()

    @property
    def own_format(self) -> str:
        """The row of data/formats.csv that its weights are stored in; "" where there is none."""
        if self.weights not in unpacking():
            return ""
        own = formats()[self.weights]
        if own.kind != "integer":
            # nobody described these numbers in other groups than the format's own
            # (of 8 bits, files give the side of a square block)
            shared = (self.group, self.group**2) if own.bits == 8 else (self.group,)
            return self.weights if not self.group or own.scale in map(str, shared) else ""
        scale = str(self.group) if self.group else "tensor"
        stored = (formats()[name] for name in unpacking())
        return next(
            (f.name for f in stored if (f.kind, f.bits, f.scale) == ("integer", self.bits, scale)),
            "",
        )

    @property
    def stored_bits(self) -> float:
        """Bits of a weight in the file, its part of a scale included [bit]."""
        if self.own_format:
            return 8.0 * formats()[self.own_format].width
        _, scale_bits, values = self._scales()
        return self.bits + (scale_bits / values if values else 0.0)

    @property
    def said(self) -> str:
        """What the file stores its weights in, in words."""
        return self.weights + (f" in groups of {self.group}" if self.group else "")

    @property
    def nearest_said(self) -> str:
        """What the file stores its weights in, and the nearest format that they are counted in."""
        counted = formats()[self.format]
        return (
            f"{self.said} ({self.method}), {self.stored_bits:.4g} bits a weight, counted as "
            f"{counted.name}, {8.0 * counted.width:.4g} bits"
        )

    def _scales(self) -> tuple[Format | None, float, int]:
        """The format whose values these are, None for none; bits of a scale; values that share one
        (0: of a tensor)."""
        blocks = _BLOCKS.fullmatch(self.weights)
        name, values = self.weights, self.group
        if blocks:
            name, values = blocks[1], int(blocks[2]) * int(blocks[3])
        own = formats().get(name)
        if own is None and name.endswith(_TWICE):
            twice = next(f for name, f in formats().items() if name.endswith(_TWICE))
            return own, twice.scale_bits, values
        if own is None or own.kind == "integer":
            # a scale of 16 bits and a zero as wide as a value; of ternary values, of the tensor
            return own, 16.0 + self.bits, values
        return own, own.scale_bits or _FLOAT_SCALE, values

    def _nearest(self) -> str:
        own, scale_bits, _ = self._scales()
        kind = own.kind if own else "float" if self.weights.startswith("fp") else "integer"
        alike = [
            f
            for f in (formats()[name] for name in unpacking())
            if (f.kind, f.bits) == (kind, self.bits)
            and (kind == "integer" or own is None or f.significand == own.significand)
        ]

        def far(other: Format) -> tuple[float, bool]:
            wrong = abs(8.0 * other.width / self.stored_bits - 1.0)
            taken = other is own and kind == "float" and wrong <= _NEAR
            return 0.0 if taken else wrong, other.scale_bits != scale_bits

        return min(alike, key=far).name if alike else ""

    def in_several(self) -> Quantization:
        """The same, of a file that stores a part in several formats."""
        return replace(self, weights="mixed", bits=0.0, group=0, parts=(), near=())

    @property
    def kept(self) -> tuple[str, ...]:
        """Parts of most layers (PARTS) that stay as they are."""
        layers = {part: set[str]() for part in PARTS}
        for pattern in self.left_out:
            number = LAYER.search(pattern)
            for part, module in PARTS.items():
                if module.search(pattern):
                    layers[part].add(number[1] if number else "*")
        named = len({n[1] for p in self.left_out if (n := LAYER.search(p))})
        listed = tuple(
            part for part, places in layers.items() if "*" in places or len(places) > _MOST * named
        )
        stay = (part for part, own in self.parts if not own and part not in listed)
        return (*listed, *stay)


def nearest_said(stored: Mapping[str, Quantization]) -> tuple[str, ...]:
    """What is said of parts in groups or blocks that no format has.

    stored : part of MODULES -> how its weights are stored.
    """
    return tuple(
        f"{part} in {own.nearest_said}"
        for part, own in stored.items()
        if own.format and not own.own_format
    )
