"""Groups of compressed-tensors whose targets name modules: which part each of them stores.

A module's group is the one of which a target is its name, or a pattern (`re:`) that its name begins
with, or else its class (`Linear`); modules that `ignore` names so stay as they are. Names are those
that the classes of transformers give to modules; a file whose targets fit none of them, or that
stores one part in several formats, is not told apart here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from elector.describe.formats.hf.stored_values import Stored, wrong
from elector.describe.model import Block, Model
from elector.describe.quantization import MODULES, Quantization, nearest_said
from elector.describe.variants import layers_of

#: The class of the modules that are stored, as targets name it.
_CLASS = "Linear"
#: What stands before the layers in names, of text models and of parts of other models.
_BEFORE = ("model.", "model.language_model.", "language_model.model.", "")
#: How many repetitions a pattern may have, and how long it may be; with a repeated group in it the
#: time for one name could grow without a bound.
_REPEATS, _LENGTH = 8, 400
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
    groups: list[tuple[list[str], Stored]] = []
    for name, group in entries["config_groups"].items():
        where = f"config_groups.{name}"
        stored = read(group["weights"], f"{where}.weights", file)
        groups.append((_listed(group.get("targets") or [], f"{where}.targets", file), stored))
    ignored = _listed(entries.get("ignore") or [], "ignore", file)
    patterns = [target for targets, _ in groups for target in targets]
    if not all(targets for targets, _ in groups) or len(set(patterns)) < len(patterns):
        return None  # which group is a module's?
    if not all(map(_is_bounded, [*patterns, *ignored])):
        return None
    for before in _BEFORE:
        names = {part: list(_names(part, model, before, patterns)) for part in MODULES}
        every = [name for own in names.values() for name in own]
        if all(t == _CLASS or any(_fits(t, name) for name in every) for t in patterns):
            return _of_parts(names, groups, ignored)
    return None


def _of_parts(
    names: Mapping[str, list[str]], groups: list[tuple[list[str], Stored]], ignored: list[str]
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


def _group_of(
    name: str, groups: list[tuple[list[str], Stored]], ignored: list[str]
) -> Stored | None:
    """What the module of a name stores; None where it stays as it is."""
    if any(_fits(target, name) or target == _CLASS for target in ignored):
        return None
    for fits in (lambda t: t == name, lambda t: _fits(t, name), lambda t: t == _CLASS):
        for targets, stored in groups:
            if any(fits(target) for target in targets):
                return stored
    return None


def _fits(target: str, name: str) -> bool:
    if target.startswith("re:"):
        return re.match(target[3:], name) is not None
    return target == name


def _is_bounded(pattern: str) -> bool:
    """Whether the time to match a name is bounded: few repetitions, none of a group."""
    if not pattern.startswith("re:"):
        return True
    few = len(re.findall(r"[*+{]", pattern)) <= _REPEATS
    return few and len(pattern) <= _LENGTH and not re.search(r"\)[*+{]", pattern)


def _listed(value: object, where: str, file: object) -> list[str]:
    """Names and patterns of modules."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise wrong(where, value, "must be a list of modules", file)
    for entry in value:
        try:
            re.compile(entry.removeprefix("re:"))
        except re.error as error:
            raise wrong(where, entry, f"is no pattern: {error}", file) from None
    return value


def _names(part: str, model: Model, before: str, patterns: list[str]) -> Iterator[str]:
    """Names of the modules of a part, in every layer that has it."""
    if part == "head":
        if model.has_part(part):
            yield "lm_head"
        return
    for number, block in enumerate(layers_of(model)):
        if block.has_part(part):
            for module in _modules(part, block, model, patterns):
                yield f"{before}layers.{number}.{module}"


def _modules(part: str, block: Block, model: Model, patterns: list[str]) -> Iterator[str]:
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
    # one shared expert, or several, as the classes call them
    single = any(re.search(r"shared_expert(?!s)", pattern) for pattern in patterns)
    shared = "shared_expert" if single else "shared_experts"
    experts = sorted({0, 1, block.experts - 1} & set(range(block.experts)))
    inside_of = {
        "feed forward": ["mlp"],
        "experts": [f"mlp.experts.{number}" for number in experts],
        "shared experts": [f"mlp.{shared}"],
    }
    yield from (f"{inside}.{name}" for inside in inside_of[part] for name in own)


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
