"""How a model's own file says that its weights are stored."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from elector.describe.numbers import formats, unpacking

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
    """

    method: str
    weights: str
    bits: float = 0.0
    group: int = 0
    kv_cache: str = ""
    left_out: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def format(self) -> str:
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

    def in_several(self) -> Quantization:
        """The same, of a file that stores a part in several formats."""
        return replace(self, weights="mixed", bits=0.0, group=0, parts=())

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
