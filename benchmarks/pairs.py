"""How many heterogeneous pairs (FlexiBERT 2.0 encoder, accelerator) are evaluated in a second.

    python benchmarks/pairs.py                      2,000 and 20,000 pairs, all processors
    python benchmarks/pairs.py --pairs 20000 --jobs 1

Pairs are drawn at random from spaces/transcode.yaml before the clock starts: no two share an
encoder or an accelerator. They are shared out to one process a processor, as a search does; the
processes stand ready, and what they send back is counted. Beside the wall clock stands the
processor time, which other work on the machine disturbs less, and the ratio to AccelTran's fast
mode, which takes 0.14-28 s a pair (others' figure on a machine of two cores, not repeated here).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from elector.base.table import Column
from elector.evaluation.path import evaluate
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


def piece(columns: dict[str, Column], size: int) -> dict[str, np.ndarray]:
    """What a search would take from an evaluation."""
    cost = evaluate(columns, size, jobs=1)
    return {name: cost.scalar(name) for name in ("latency_s", "energy_j", "area_mm2")}


def seconds(pool: Executor, size: int, mode: str, jobs: int, times: int = 3) -> tuple[float, float]:
    """Least wall-clock and processor seconds of `times` runs."""
    cuts = [size * i // jobs for i in range(jobs + 1)]
    tables = []
    for workload in MODES[mode]:
        columns = pairs(size, workload)
        tables += [
            ({name: column.take(slice(low, high)) for name, column in columns.items()}, high - low)
            for low, high in pairwise(cuts)
        ]
    wall, processor = [], []
    for _ in range(times):
        start = time.perf_counter(), used()
        for done in [pool.submit(piece, *table) for table in tables]:
            done.result()
        wall.append(time.perf_counter() - start[0])
        pool.submit(int).result()
        processor.append(used() - start[1])
    return min(wall), min(processor)


def used() -> float:
    """Processor seconds of this process and its workers."""
    ticks = 0
    for child in [os.getpid(), *(p.pid for p in active_children() if p.pid is not None)]:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a line for each size and mode."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: all processors")
    arguments = parser.parse_args()
    jobs = arguments.jobs or len(os.sched_getaffinity(0))
    print(f"{jobs} processes; AccelTran's fast mode: {PEER[0]:g}-{PEER[1]:g} s a pair")
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        for size in arguments.pairs:
            for mode in MODES:
                wall, processor = seconds(pool, size, mode, jobs)
                least, most = (peer * size / wall for peer in PEER)
                print(
                    f"  {size:>7,} {mode:9}  {size / wall:>7,.0f} pairs/s  "
                    f"{size / processor:>7,.0f} a processor second  "
                    f"{least:,.0f}-{most:,.0f} times"
                )
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  largest process {memory:,.0f} MB")


if __name__ == "__main__":
    main()
