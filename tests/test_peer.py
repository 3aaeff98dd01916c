"""SCALE-Sim itself, on shapes nobody has seen: its cycles are ours under its convention."""

from __future__ import annotations

import csv
import random
import subprocess
from pathlib import Path

import pytest

import elector

CONFIGURATION = """[general]
run_name = peer
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {cols}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
Bandwidth: 100
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 8
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
RUN = """
import sys
from scalesim.scale_sim import scalesim
peer = scalesim(save_disk_space=True, verbose=False, config=sys.argv[1], topology=sys.argv[2],
                layout=sys.argv[2], input_type_gemm=True)
peer.run_scale(top_path=sys.argv[3])
"""


def peer_cycles(python: Path, folder: Path, topology: Path, **array: object) -> list[int]:
    """Total cycles of every layer of a topology, as SCALE-Sim reports them."""
    configuration = folder / "peer.cfg"
    configuration.write_text(CONFIGURATION.format(**array), encoding="utf-8")
    words = [str(python), "-c", RUN, str(configuration), str(topology), str(folder / "out")]
    subprocess.run(words, check=True, capture_output=True, cwd=folder)
    report = next((folder / "out").rglob("COMPUTE_REPORT.csv"))
    rows = list(csv.reader(report.open(encoding="utf-8")))
    column = [name.strip() for name in rows[0]].index("Total Cycles")
    return [int(float(row[column])) for row in rows[1:] if row]


@pytest.mark.slow
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_cycles_of_fresh_shapes(dataflow: str, scalesim_python: Path, tmp_path: Path) -> None:
    draw = random.Random(f"peer {dataflow}")
    shapes = [[draw.randint(1, 150) for _ in range(3)] for _ in range(8)]
    rows, cols = draw.randint(4, 40), draw.randint(4, 40)
    topology = tmp_path / "shapes.csv"
    lines = ["Layer,M,N,K,", *(f"g{i},{m},{n},{k}," for i, (m, n, k) in enumerate(shapes))]
    topology.write_text("\n".join(lines) + "\n", encoding="utf-8")
    expected = peer_cycles(
        scalesim_python, tmp_path, topology, rows=rows, cols=cols, dataflow=dataflow
    )
    settings: dict[str, object] = {
        "accelerator.convention": "scalesim",
        "accelerator.rows": rows,
        "accelerator.cols": cols,
        "accelerator.dataflow": dataflow,
    }
    result = elector.simulate(str(topology), "systolic", settings=settings, operations=True)
    cycles = [row["cycles"] for row in result["operations"]]  # type: ignore[attr-defined]
    assert cycles == expected
