"""Which modules are pruned, and what they are called."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from elector.base.errors import InputError
from transcode.dynaprop.place import MatchedModule
from transcode.dynaprop.site import Site

#: Ends of the names of Hugging Face's encoders (BERT, RoBERTa, ELECTRA; DistilBERT; ViT)
#: -> the simulator's operations.
_KNOWN = tuple(
    (re.compile(rf"(^|\.){end}$"), operation)
    for end, operation in (
        (r"attention\.(self\.query|q_lin|attention\.query)", "query"),
        (r"attention\.(self\.(key|value)|[kv]_lin|attention\.(key|value))", "key, value"),
        (r"attention\.(output\.dense|out_lin)", "output"),
        (r"(intermediate\.dense|ffn\.lin1)", "feed-forward in"),
        (r"(layer\.\d+\.output\.dense|ffn\.lin2)", "feed-forward out"),
        (r"pooler\.dense", "pooler"),
    )
)
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|h|blocks)\.(\d+)(?:\.|$)")


def places(
    module: nn.Module, patterns: Sequence[str] | None
) -> list[tuple[nn.Module, MatchedModule]]:
    """Modules to prune behind, each once, in order.

    patterns : of module names (fnmatch: *, ?, [...]); None takes all sites, or every nn.Linear
    where there is none. Raises InputError for a pattern, or a module, that matches nothing.
    """
    named = {name: part for name, part in module.named_modules() if name}
    if not isinstance(module, nn.ModuleList) and not named:
        named = {type(module).__name__.lower(): module}  # a single layer, handed in as it is
    if patterns is None:
        sites = [name for name, part in named.items() if isinstance(part, Site)]
        chosen = sites or [n for n, part in named.items() if isinstance(part, nn.Linear)]
        if not chosen:
            raise InputError(
                "has no module to prune behind: no Site, no nn.Linear",
                field="module",
                value=type(module).__name__,
                hint="name modules by `patterns`",
            )
    else:
        chosen = _matching(list(named), patterns)
    return [(named[name], _place(name, named[name])) for name in chosen]


def _matching(names: list[str], patterns: Sequence[str]) -> list[str]:
    if isinstance(patterns, str) or not patterns:
        raise InputError(
            "must be a list of patterns, one at least", field="patterns", value=patterns
        )
    matched: set[str] = set()
    for pattern in patterns:
        matches = {name for name in names if fnmatchcase(name, pattern)}
        if not matches:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            raise InputError(
                "matches no module",
                field="patterns",
                value=pattern,
                hint=f"nearest names: {', '.join(near)}" if near else None,
            )
        matched |= matches
    return [name for name in names if name in matched]


def _place(name: str, module: nn.Module) -> MatchedModule:
    if isinstance(module, Site):
        return MatchedModule(name, module.operation, module.layer)
    match = _LAYER.search(name)
    layer = int(match[1]) + 1 if match else None
    for ending, operation in _KNOWN:
        if ending.search(name):
            return MatchedModule(name, operation, layer)
    return MatchedModule(name, name, layer)
