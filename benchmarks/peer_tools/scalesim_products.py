"""Products through SCALE-Sim: cycles and on-chip reads and writes (peer_tools/answering.py).

A case has m, n, k, rows, cols and dataflow.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from answering import Case, Values, answer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from scalesim_peer import simulate

NAMES = ("cycles", "a_reads", "b_reads", "out_writes")


def solve(case: Case) -> Values:
    """One product."""
    scalesim = importlib.import_module("scalesim.scale_sim").scalesim
    product = [str(case[key]) for key in ("m", "n", "k", "rows", "cols", "dataflow")]
    with tempfile.TemporaryDirectory() as folder:
        numbers, seconds = simulate(scalesim, product, Path(folder))
    return dict(zip(NAMES, map(float, numbers), strict=True)) | {"seconds": seconds}


if __name__ == "__main__":
    answer("scalesim", solve)
