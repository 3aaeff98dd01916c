"""Random hybrids of several units, with rules by the names of operations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from elector.operations.roles import vocabulary

#: Units to draw from, each with room for any small model.
UNITS = {
    "tier": "{base: reram, tiles: 4000, transposed_read: bidirectional, digital_macs: 64, "
    "memory_capacity: 64 GB}",
    "array": "{base: systolic, memory_capacity: 64 GB}",
    "tpu": "{base: tpu-v3}",
    "gpu": "{base: a100-sxm-40gb}",
    "edge": "{base: acceltran-server}",
}
WAITS = ("0 s", "10 ns", "1 us")
KINDS = ("norm", "softmax", "elementwise", "attention", "linear")


def hybrid(path: Path, random: np.random.Generator, units: int = 3) -> str:
    """Writes a random hybrid into a file, all of whose units are linked.

    path : the file. units : how many.
    """
    names = [str(name) for name in random.choice(sorted(UNITS), units, replace=False)]
    lines = ["units:", *(f"  {name}: {UNITS[name]}" for name in names), "links:"]
    for ends in itertools.combinations(names, 2):
        width, wait = random.choice([1, 25, 400]), random.choice(WAITS)
        given = f"bandwidth: {width} GB/s, latency: {wait}, energy_per_bit: 1 pJ"
        lines.append(f"  - {{between: [{', '.join(ends)}], {given}}}")
    lines.append("assignment:")
    for _ in range(int(random.integers(3, 40))):
        lines.append(_rule(_match(random), names, random))
    lines.append(_rule(f"kind: {random.choice(KINDS)}", names, random))
    lines.append(f"  - {{unit: {names[0]}}}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _match(random: np.random.Generator) -> str:
    """What a rule asks for: an operation by name, or a word of names in one pass."""
    word = str(random.choice(sorted(vocabulary())))
    if random.random() < 0.8:
        return f'name: "{word}"'
    return f'phase: {random.choice(["forward", "backward"])}, name: "*{word.split()[0]}*"'


def _rule(match: str, names: list[str], random: np.random.Generator) -> str:
    return f"  - {{match: {{{match}}}, unit: {random.choice(names)}}}"
