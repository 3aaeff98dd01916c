"""Products through AccelForge and its optimal mapper (peer_tools/answering.py).

A case has m, n, k, rows, cols, sram [bytes], and optimize: `latency` or `energy`. The machine is a
weight-stationary array of cells with one weight each, one memory for all operands, and main
memory; every bit to or from main memory costs one unit of energy, nothing else costs any. Sums
have four bytes in every memory, as it knows one width a tensor: a result that is written once
counts a byte in what is reported.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from answering import Case, Values, answer

MACHINE = """arch:
  nodes:
  - !Memory
    name: MainMemory
    size: inf
    leak_power: 0
    area: 0
    tensors: {keep: All}
    actions:
    - {name: read, energy: 1, throughput: inf}
    - {name: write, energy: 1, throughput: inf}
  - !Memory
    name: OnChip
    size: SRAM_BITS
    leak_power: 0
    area: 0
    tensors: {keep: All}
    actions:
    - {name: read, energy: 0, throughput: inf}
    - {name: write, energy: 0, throughput: inf}
  - !Container
    name: Cells
    spatial:
    - {name: columns, fanout: COLS, reuse: input, min_usage: 0}
    - {name: rows, fanout: ROWS, reuse: output, min_usage: 0}
  - !Memory
    name: Register
    size: 8
    leak_power: 0
    area: 0
    tensors: {keep: weight}
    actions:
    - {name: read, energy: 0, throughput: inf}
    - {name: write, energy: 0, throughput: inf}
  - !Compute
    name: Multiplier
    leak_power: 0
    area: 0
    actions:
    - {name: compute, energy: 0, throughput: 1}
"""
WORKLOAD = """workload:
  iteration_space_shape:
    m: 0 <= m < M_SIZE
    n: 0 <= n < N_SIZE
    k: 0 <= k < K_SIZE
  bits_per_value: {A: 8, B: 8, C: 32}
  einsums:
  - name: Product
    tensor_accesses:
    - {name: A, projection: [m, k]}
    - {name: B, projection: [k, n]}
    - {name: C, projection: [m, n], output: True}
    renames: {weight: B, input: A, output: C}
"""


def solve(case: Case) -> Values:
    """One product: cycles of its array, bytes to and from main memory."""
    accelforge = importlib.import_module("accelforge")
    mappings = importlib.import_module("accelforge.mapper.FFM.mappings").Mappings
    # Its mapper draws the mapping that it found with Graphviz, which may be missing; the numbers
    # do not need the picture.
    mappings.render = lambda *_, **__: ""
    words = {
        "SRAM_BITS": 8 * case["sram"],
        "ROWS": case["rows"],
        "COLS": case["cols"],
        **{f"{key.upper()}_SIZE": case[key] for key in "mnk"},
    }
    machine, workload = MACHINE, WORKLOAD
    for word, value in words.items():
        machine, workload = (t.replace(word, str(value)) for t in (machine, workload))
    Path("machine.yaml").write_text(machine, encoding="utf-8")
    Path("workload.yaml").write_text(workload, encoding="utf-8")
    spec = accelforge.Spec.from_yaml("machine.yaml", "workload.yaml")
    metrics = accelforge.mapper.Metrics
    spec.mapper.metrics = {"latency": metrics.LATENCY, "energy": metrics.ENERGY}[case["optimize"]]
    mapping = spec.map_workload_to_arch(print_progress=False)
    moved = mapping.actions()
    bits = {way: float(moved.get(("MainMemory", way), 0.0)) for way in ("read", "write")}
    results = case["m"] * case["n"]
    spilled = bits["write"] - 32.0 * results  # sums that go out to come in again
    return {
        "cycles": float(mapping.latency()),
        "dram_bytes": (bits["read"] + spilled) / 8.0 + results,
    }


if __name__ == "__main__":
    answer("accelforge", solve)
