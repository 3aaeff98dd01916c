"""Matrix products through SCALE-Sim 3.0.0 itself, for whoever wants to compare.

Runs in the peer's own environment (it does not work with the numpy we use; see
benchmarks/peer-constraints.txt and `make test-all`, which builds it in .venv-peer):

    .venv-peer/bin/python benchmarks/scalesim_peer.py products.csv

Each line of products.csv is `M,N,K,rows,cols,dataflow`, without a header. One line for each is
printed: total cycles, on-chip reads of the first and of the second operand, on-chip writes of the
result; with --time also the seconds its simulation took. Memories are large and the bandwidth
is the peer's own choice (CALC), so that nothing stalls.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import io
import tempfile
import time
from pathlib import Path
from typing import Any

CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = 65536
FilterSramSzkB = 65536
OfmapSramSzkB = 65536
IfmapOffset = 0
FilterOffset = 100000000
OfmapOffset = 200000000
Dataflow = {dataflow}
Bandwidth = 10
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""
LAYOUT = "Layer name," + ",".join(f"f{i}" for i in range(1, 19)) + ",\n"


def report(folder: Path, name: str) -> dict[str, str]:
    """The one line of a report, by column."""
    with (folder / "run" / name).open(encoding="utf-8", newline="") as file:
        header, line = list(csv.reader(file))[:2]
    return dict(zip([h.strip() for h in header], [x.strip() for x in line], strict=False))


def simulate(scalesim: Any, product: list[str], folder: Path) -> tuple[list[int], float]:
    """Cycles, reads, reads and writes of one product, and the seconds the peer took."""
    m, n, k, rows, cols, dataflow = product
    topology, layout, config = (folder / f for f in ("topology.csv", "layout.csv", "run.cfg"))
    topology.write_text(f"Layer, M, N, K,\ng, {m}, {n}, {k},\n")
    layout.write_text(LAYOUT + "g," + "1," * 18 + "\n")
    config.write_text(CONFIG.format(rows=rows, cols=cols, dataflow=dataflow))
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run = scalesim(
            save_disk_space=True,
            verbose=False,
            config=str(config),
            topology=str(topology),
            layout=str(layout),
            input_type_gemm=True,
        )
        run.run_scale(top_path=str(folder))
    seconds = time.perf_counter() - start
    compute, detail = (
        report(folder, "COMPUTE_REPORT.csv"),
        report(folder, "DETAILED_ACCESS_REPORT.csv"),
    )
    names = ("SRAM IFMAP Reads", "SRAM Filter Reads", "SRAM OFMAP Writes")
    numbers = [compute["Total Cycles"], *(detail[name] for name in names)]
    return [int(float(x)) for x in numbers], seconds


def main() -> None:
    """Read the products, simulate each, print its numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("products", type=Path)
    parser.add_argument("--time", action="store_true", help="append the seconds of each")
    arguments = parser.parse_args()
    scalesim = importlib.import_module("scalesim.scale_sim").scalesim
    with arguments.products.open(encoding="utf-8", newline="") as file:
        products = [line for line in csv.reader(file) if line]
    with tempfile.TemporaryDirectory() as folder:
        for product in products:
            numbers, seconds = simulate(scalesim, product, Path(folder))
            extra = [f"{seconds:.3f}"] if arguments.time else []
            print(",".join([*map(str, numbers), *extra]), flush=True)


if __name__ == "__main__":
    main()
