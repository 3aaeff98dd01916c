"""Products through ZigZag and its search of mappings (peer_tools/answering.py).

A case has m, n, k, rows, cols, sram [bytes], and optimize: `latency` or `energy`. The machine is a
weight-stationary array: a word of weights in every cell, 1,024 sums of four bytes under every
column, one memory for all operands that takes a row of weights a cycle, and main memory.
Every bit to or from main memory costs one unit of energy and nothing else costs any, so that the
least energy is the least traffic: main memory has a bus of a byte then, as energy is counted by
whole accesses, and one that nothing waits for where latency counts. Cycles are those of the array
with its stalls, the first load and the last store included.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

from answering import Case, Values, answer

#: Bits a cycle where nothing may wait for a port; bits of a sum.
WIDE = 1 << 20
SUM = 32


def port(name: str, kind: str, bits: int, *moves: str) -> dict[str, Any]:
    """A port of a memory; moves : operand and direction of each."""
    allocation = list(moves)
    return {
        "name": name,
        "type": kind,
        "bandwidth_min": 8,
        "bandwidth_max": bits,
        "allocation": allocation,
    }


def memory(
    size: int, cost: float, operands: list[str], ports: list[dict[str, Any]], served: list[str]
) -> dict[str, Any]:
    """A level of memory; size : bits. cost : energy of a full access of a port."""
    return {
        "size": size,
        "r_cost": cost,
        "w_cost": cost,
        "area": 0,
        "latency": 1,
        "operands": operands,
        "ports": ports,
        "served_dimensions": served,
    }


def machine(case: Case) -> dict[str, Any]:
    """The accelerator. D1 are its columns (outputs), D2 its rows (the sum runs along them)."""
    every, sides = ["I1", "I2", "O"], ["D1", "D2"]
    weights = memory(
        16,
        0,
        ["I2"],
        [port("w_port_1", "write", 8, "I2, fh"), port("r_port_1", "read", 8, "I2, tl")],
        [],
    )
    sums = memory(
        SUM * 1024,
        0,
        ["O"],
        [
            port("r_port_1", "read", SUM, "O, tl"),
            port("r_port_2", "read", SUM, "O, th"),
            port("w_port_1", "write", SUM, "O, fh"),
            port("w_port_2", "write", SUM, "O, fl"),
        ],
        ["D2"],
    )
    on_chip = memory(
        8 * case["sram"],
        0,
        every,
        [
            port("r_port_1", "read", 8 * case["cols"], "I2, tl"),
            port("r_port_2", "read", WIDE, "I1, tl", "O, tl", "O, th"),
            port("w_port_1", "write", WIDE, "I1, fh", "I2, fh", "O, fh", "O, fl"),
        ],
        sides,
    )
    moves = [f"{operand}, {way}" for operand in every for way in ("fh", "tl")]
    bus = 8 if case["optimize"] == "energy" else WIDE
    main = memory(
        10**13, bus, every, [port("rw_port_1", "read_write", bus, *moves, "O, fl", "O, th")], sides
    )
    return {
        "name": "weight_stationary",
        "memories": {"weights": weights, "sums": sums, "on_chip": on_chip, "main": main},
        "operational_array": {
            "unit_energy": 0,
            "unit_area": 0,
            "dimensions": sides,
            "sizes": [case["cols"], case["rows"]],
            "systolic_dimensions": sides,
        },
    }


def product(case: Case) -> list[dict[str, Any]]:
    """The workload: a product of int8 with sums of four bytes."""
    return [
        {
            "id": 0,
            "name": "product",
            "operator_type": "Gemm",
            "equation": "O[d][k]+=I[d][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["C", "D", "K"],
            "loop_sizes": [case["k"], case["m"], case["n"]],
            "operand_precision": {"O": SUM, "O_final": 8, "W": 8, "I": 8},
            "operand_source": {"I": 0, "W": 0},
        }
    ]


def solve(case: Case) -> Values:
    """One product: cycles with and without stalls, bytes to and from main memory."""
    yaml = importlib.import_module("yaml")
    run = importlib.import_module("zigzag.api").get_hardware_performance_zigzag
    mapping = [
        {
            "name": "default",
            "spatial_mapping": {"D1": [f"K, {case['cols']}"], "D2": [f"C, {case['rows']}"]},
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
        }
    ]
    for name, content in (("w", product(case)), ("a", machine(case)), ("m", mapping)):
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    energy, _, results = run(
        "w.yaml",
        "a.yaml",
        "m.yaml",
        opt=case["optimize"],
        dump_folder="out",
        loma_show_progress_bar=False,
    )
    if case["optimize"] == "energy":
        return {"dram_bytes": float(energy) / 8.0}
    return {"cycles": float(results[0][0].latency_total2)}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answer("zigzag-dse", solve)
