"""Groups of compressed-tensors whose targets name modules: which part each of them stores.

A module's group is the one of which a target is its name, or a pattern (`re:`) that its name begins
with, or else its class (`Linear`); modules that `ignore` names so stay as they are. Names are those
that the classes of transformers give to modules; a file whose targets fit none of them, or that
stores one part in several formats, is not told apart here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from elector.describe.formats.hf.stored_values import Stored, wrong
from elector.describe.model import Block, Model
from elector.describe.quantization import LAYER, MODULES, Quantization, nearest_said
from elector.describe.variants import layers_of

#: The class of the modules that are stored, as targets name it.
_CLASS = "Linear"
#: What stands before the layers in names, of text models and of parts of other models.
_BEFORE = ("model.", "model.language_model.", "language_model.model.", "")
#: How long a pattern may be, and how many of them a file may have.
_LENGTH, _PATTERNS = 400, 200
#: Ways to match a name that a repetition may have, of digits and of others; names have about 60
#: letters, of which those before the place are tried in order.
_OF_DIGITS, _OF_ANY = 4, 40
#: Ways that one pattern may have: two repetitions, and a few alternatives; and those of all
#: patterns on all names, which is below a second.
_WAYS, _ALL_WAYS = 16 * _OF_ANY**2, 10_000_000
_LATENT = ("kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
#: What carries a state -> the modules of its matrices.
_OF_SCANS = {
    "delta": ("linear_attn.in_proj", "linear_attn.out_proj"),
    "mamba": ("mamba.in_proj", "mamba.out_proj"),
    "lightning": tuple(f"self_attn.{name}" for name in ("qkv_proj", "output_gate", "out_proj")),
    "kda": tuple(
        f"self_attn.{name}_proj" for name in ("q", "k", "v", "b", "f_a", "f_b", "g_a", "g_b", "o")
    ),
}
_PLAIN = ("q_proj", "k_proj", "v_proj", "o_proj")


def names_parts(entries: Mapping[str, Any]) -> bool:
    """Whether groups are of modules by their names, not of all of a class."""
    groups = entries.get("config_groups")
    if not isinstance(groups, dict):
        return False
    targets = [group.get("targets") for group in groups.values() if isinstance(group, dict)]
    return any(own not in (None, [_CLASS]) for own in targets)


def by_targets(
    entries: Mapping[str, Any],
    read: Callable[[Mapping[str, Any], str, object], Stored],
    model: Model,
    file: object,
) -> dict[str, Stored | None] | None:
    """Part of MODULES -> what its modules store, None for as they are; None where a part has
    several formats, or a target fits no module.

    entries : a `quantization_config`. read : what reads the numbers of a group.
    Raises InputError for targets that are no names or patterns.
    """
    groups: list[tuple[_Modules, Stored]] = []
    patterns: list[str] = []
    for name, group in entries["config_groups"].items():
        where = f"config_groups.{name}"
        stored = read(group["weights"], f"{where}.weights", file)
        targets = _listed(group.get("targets") or [], f"{where}.targets", file)
        groups.append((_Modules.of(targets), stored))
        patterns += targets
    ignored = _listed(entries.get("ignore") or [], "ignore", file)
    if not all(own.listed for own, _ in groups) or len(set(patterns)) < len(patterns):
        return None  # which group is a module's?
    shared = _shared(patterns)
    for before in _BEFORE:
        names = {part: list(_names(part, model, before, shared)) for part in MODULES}
        every = [name for part in names.values() for name in part]
        if not _are_bounded([*patterns, *ignored], len(every)):
            return None
        unmet = _Modules.of({*patterns} - {*every, _CLASS})
        named = len(unmet.patterns) == len(unmet.listed)  # the others are patterns
        if named and all(any(_fits(t, name) for name in every) for t in unmet.patterns):
            return _of_parts(names, groups, _Modules.of(ignored))
    return None


@dataclass(frozen=True)
class _Modules:
    """What a file lists of modules: names, or their class, and patterns."""

    listed: frozenset[str]
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> _Modules:
        listed = tuple(entries)
        return cls(frozenset(listed), tuple(e for e in listed if e.startswith("re:")))

    def fit(self, name: str) -> bool:
        """Whether a pattern fits a module of this name."""
        return any(_fits(pattern, name) for pattern in self.patterns)


def _of_parts(
    names: Mapping[str, list[str]], groups: list[tuple[_Modules, Stored]], ignored: _Modules
) -> dict[str, Stored | None] | None:
    """What each part stores; None where one has several formats."""
    parts: dict[str, Stored | None] = {}
    for part, own in names.items():
        kinds = {_group_of(name, groups, ignored) for name in own}
        if len(kinds) > 1:
            return None
        if kinds:
            parts[part] = kinds.pop()
    return parts


def _group_of(name: str, groups: list[tuple[_Modules, Stored]], ignored: _Modules) -> Stored | None:
    """What the module of a name stores; None where it stays as it is."""
    if {name, _CLASS} & ignored.listed or ignored.fit(name):
        return None
    ways: tuple[Callable[[_Modules], bool], ...] = (
        lambda own: name in own.listed,
        lambda own: own.fit(name),
        lambda own: _CLASS in own.listed,
    )
    return next((stored for fits in ways for own, stored in groups if fits(own)), None)


def _fits(pattern: str, name: str) -> bool:
    return pattern.startswith("re:") and re.match(pattern[3:], name) is not None


def _are_bounded(entries: Iterable[str], names: int) -> bool:
    """Whether to match the patterns among entries with so many names takes less than a second."""
    patterns = [entry for entry in entries if entry.startswith("re:")]
    if len(patterns) > _PATTERNS:
        return False
    ways = list(map(_ways, patterns))
    return max(ways, default=0) <= _WAYS and sum(ways) * names <= _ALL_WAYS


def _ways(pattern: str) -> float:
    """A bound of the ways to match a pattern with a name: each repetition, optional part and
    alternative multiplies them; infinite for repeated groups, whose ways may grow exponentially."""
    spaced = re.search(r"\(\?[a-zA-Z-]*x", pattern)  # between what is repeated and the sign
    if len(pattern) > _LENGTH or spaced or re.search(r"\)[*+{]", pattern):
        return math.inf
    # a rest of any letters always fits at once
    tried = re.sub(r"(?<!\\)\.\*\$?$", "", pattern)
    digits = len(re.findall(r"(?:\\d|\[0-9\])[*+{]", tried))
    others = len(re.findall(r"[*+{]", tried)) - digits
    optional = len(re.findall(r"(?<![(*+?}\\])\?", tried))
    return _alternatives(tried) * _OF_ANY**others * _OF_DIGITS**digits * 2**optional


def _alternatives(pattern: str) -> int:
    """The product of the numbers of alternatives of all groups."""
    product, inside = 1, [1]
    for letter in pattern:
        if letter == "(":
            inside.append(1)
        elif letter == "|":
            inside[-1] += 1
        elif letter == ")" and len(inside) > 1:
            product *= inside.pop()
    return product * math.prod(inside)


def _listed(value: object, where: str, file: object) -> list[str]:
    """Names and patterns of modules."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise wrong(where, value, "must be a list of modules", file)
    patterns = [entry for entry in value if entry.startswith("re:") and len(entry) <= _LENGTH]
    for entry in patterns[:_PATTERNS]:
        try:
            re.compile(entry[3:])
        except (re.error, OverflowError, RecursionError) as error:
            raise wrong(where, entry, f"is no pattern: {error}", file) from None
    return value


def _names(part: str, model: Model, before: str, shared: str) -> Iterator[str]:
    """Names of the modules of a part, in every layer that has it."""
    if part == "head":
        if model.has_part(part):
            yield "lm_head"
        return
    for number, block in enumerate(layers_of(model)):
        if block.has_part(part):
            for module in _modules(part, block, model, shared):
                yield f"{before}layers.{number}.{module}"


def _modules(part: str, block: Block, model: Model, shared: str) -> Iterator[str]:
    """Names of the modules of a part of a layer."""
    if part == "attention":
        latent = (("q_a_proj", "q_b_proj") if block.q_lora_rank else ("q_proj",)) + _LATENT
        own = latent if block.mixer == "latent" else _PLAIN
        yield from (f"self_attn.{name}" for name in own)
        return
    if part == "state":
        yield from _OF_SCANS.get(block.scans, _OF_SCANS["mamba"])
        return
    gated = model.gated if part == "feed forward" else model.experts_gated
    own = (*(("gate_proj",) if gated else ()), "up_proj", "down_proj")
    experts = sorted({0, 1, block.experts - 1} & set(range(block.experts)))
    inside_of = {
        "feed forward": ["mlp"],
        "experts": [f"mlp.experts.{number}" for number in experts],
        "shared experts": [f"mlp.{shared}"],
    }
    yield from (f"{inside}.{name}" for inside in inside_of[part] for name in own)


def _shared(patterns: Iterable[str]) -> str:
    """One shared expert, or several, as the classes call them that patterns are of."""
    single = any(re.search(r"shared_expert(?!s)", pattern) for pattern in patterns)
    return "shared_expert" if single else "shared_experts"


def unsaid(entries: Mapping[str, Any], model: Model, formats: Quantization) -> list[str]:
    """A note on what `ignore` leaves as it is and is counted in the format of the others.

    entries : a `quantization_config`. formats : what was read of it; where it tells parts apart,
    or is not counted, there is nothing to say.
    """
    if formats.weights in ("", "mixed") or formats.parts:
        return []
    ignored = entries.get("ignore") or []
    own, shared = _Modules.of(ignored), _shared(ignored)
    parts = [part for part in MODULES if part not in ("head", *formats.kept)]
    counted = "as they are, which is not counted here: they are stored like the others"
    for before in _BEFORE:
        names = [name for part in parts for name in _names(part, model, before, shared)]
        if not _are_bounded(own.patterns, len(names)):
            return [f"patterns of quantization_config.ignore leave modules {counted}"]
        left = [name for name in names if name in own.listed or own.fit(name)]
        if left:
            return [f"quantization_config.ignore leaves matrices of {_places(left)} {counted}"]
    return []


def _places(names: Iterable[str]) -> str:
    """The layers of modules, the first of them by number."""
    layers = sorted({int(number[1]) for name in names if (number := LAYER.search(name))})
    more = f" and {len(layers) - 4} more" if len(layers) > 4 else ""
    word = "layers" if len(layers) > 1 else "layer"
    return f"{word} {', '.join(map(str, layers[:4]))}{more}"


def told_apart(formats: Quantization, parts: Mapping[str, Stored | None]) -> Quantization | None:
    """A file whose parts are stored in formats of their own; None where one has no row here.

    formats : what was read without a look at the parts.
    """
    method = formats.method
    each = {p: Quantization(method, *of) for p, of in parts.items() if of}
    own = {p: each[p].format if p in each else "" for p in parts}
    packed = [part for part, name in own.items() if name]
    if not packed or any(of and not own[part] for part, of in parts.items()):
        return None
    main = next((part for part in ("experts", "feed forward") if own.get(part)), packed[0])
    stored = parts[main]
    assert stored is not None
    # a head is stored apart from the matrices of layers, whatever its format
    others = tuple(
        (part, own.get(part, ""))
        for part in MODULES
        if own.get(part, "") != own[main] or part == "head"
    )
    near = nearest_said({part: each[part] for part, _ in others if part in each})
    own_of_main = replace(formats, weights=stored[0], bits=stored[1], group=stored[2])
    return replace(own_of_main, parts=others, near=near)
