"""How many heterogeneous pairs (FlexiBERT 2.0 encoder, accelerator) are evaluated in a second.

    python benchmarks/pairs.py                      2,000 and 20,000 pairs, all threads
    python benchmarks/pairs.py --pairs 20000 --jobs 1

Pairs are drawn at random from spaces/transcode.yaml before the clock starts: no two share an
encoder or an accelerator. Beside the wall clock stands the processor time, which other work on
the machine disturbs less, and the ratio to AccelTran's fast mode, which takes 0.14-28 s a pair
(others' figure on a machine of two cores, not repeated here).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np

from elector.evaluate import evaluate
from elector.table import Column
from transcode.space import load

SPACE = Path(__file__).resolve().parent.parent / "spaces" / "transcode.yaml"
#: Seconds a pair in AccelTran's fast mode.
PEER = (0.14, 28.0)
MODES = {"inference": ("serve",), "training": ("tune",), "both": ("serve", "tune")}


def pairs(size: int, workload: str) -> dict[str, Column]:
    """Columns of `size` random pairs of the space, in one of its workloads."""
    space = load(SPACE)
    draw = np.random.default_rng(0).random((size, len(space.parameters)))
    columns = space.decode(space.canonical(space.from_unit(draw)))
    fixed = space.workloads[workload].items()
    return columns | {name: Column.constant(value, size) for name, value in fixed}


def seconds(size: int, mode: str, jobs: int, times: int = 3) -> tuple[float, float]:
    """Least wall-clock and processor seconds of `times` runs."""
    tables = [pairs(size, workload) for workload in MODES[mode]]
    wall, processor = [], []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        for columns in tables:
            evaluate(columns, size, jobs=jobs)
        wall.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return min(wall), min(processor)


def main() -> None:
    """Print a line for each size and mode."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--jobs", type=int, default=0, help="threads; 0: all processors")
    arguments = parser.parse_args()
    threads = arguments.jobs or len(os.sched_getaffinity(0))
    print(f"{threads} threads; AccelTran's fast mode: {PEER[0]:g}-{PEER[1]:g} s a pair")
    for size in arguments.pairs:
        for mode in MODES:
            wall, processor = seconds(size, mode, arguments.jobs)
            least, most = (peer * size / wall for peer in PEER)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {size:>7,} {mode:9}  {size / wall:>7,.0f} pairs/s  {size / processor:>7,.0f} "
                  f"a processor second  {least:,.0f}-{most:,.0f} times  ({memory:,.0f} MB)")


if __name__ == "__main__":
    main()
