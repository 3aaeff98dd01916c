"""What `auto` stands for on a GPU: the stack one would run today, and its attention."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from elector.base.table import DATA, read_rows
from elector.machines.gpu.stacks import STACKS

#: Facts that the rules of data/automatic.csv look at.
FACTS = ("mode", "family", "architecture", "compute", "stack")


@functools.cache
def rules() -> tuple[dict[str, str], ...]:
    """Rules in order: patterns of facts (`a|b`, empty: any) -> value of a setting, and why."""
    return tuple(read_rows(DATA / "automatic.csv"))


@functools.cache
def alike(architecture: object) -> object:
    """Which rules a family of chips is open to: families that the same ones speak of are alike."""
    named = [rule["architecture"].split("|") for rule in rules()]
    return tuple(architecture in names for names in named)


def chips_of(stack: str) -> frozenset[str] | None:
    """Families of chips that a stack's releases take; None: it leaves out none that is known."""
    chips = STACKS[stack]["architectures"]
    return frozenset(chips.split("|")) if chips else None


def automatic(setting: str, facts: Mapping[str, str]) -> str:
    """The value of the first rule that fits.

    setting : `implementation` or `attention`, of a workload left to the program.
    facts : what `FACTS` names: mode of the workload, family of the model, architecture of the
        chip, number format of the products, and for attention the stack.
    """
    for rule in rules():
        if rule["setting"] == setting and all(
            not rule[fact] or facts[fact] in rule[fact].split("|") for fact in FACTS
        ):
            return rule["value"]
    raise AssertionError(f"no rule of automatic.csv for {setting} with {facts}")
