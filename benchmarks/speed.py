"""How fast the simulator, a search and a command are on this machine, beside SCALE-Sim.

    make bench                       everything; some minutes, most of them SCALE-Sim's
    python benchmarks/speed.py --largest 1000000 --no-peer

Designs are drawn from spaces/bert.yaml before the clock starts and evaluated in batches as a
search does. Each figure is the best of three, but for the largest sizes and the peer.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import transcode
from elector.base.table import Column
from elector.evaluation.path import evaluate
from transcode.space import Space, load

ROOT = Path(__file__).resolve().parent.parent
BATCH = 65_536
# One encoder layer of bert-base, 128 tokens: M, N, K and how often it occurs.
LAYER = {
    (128, 768, 768): 4,
    (128, 128, 64): 12,
    (128, 64, 128): 12,
    (128, 3072, 768): 1,
    (128, 768, 3072): 1,
}


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """The least time `work` took."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return min(durations)


def designs(space: Space, mode: str, size: int) -> Iterator[tuple[dict[str, Column], int]]:
    """Batches of random designs of the space, in one of its two workloads."""
    workload = space.workloads["serve" if mode == "inference" else "tune"]
    for batch, first in enumerate(range(0, size, BATCH)):
        count = min(BATCH, size - first)
        draw = np.random.default_rng((0, batch))
        codes = space.canonical(space.from_unit(draw.random((count, len(space.parameters)))))
        columns = space.decode(codes)
        columns |= {name: Column.constant(value, count) for name, value in workload.items()}
        yield columns, count


def memory() -> float:
    """Peak resident memory of this process so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def simulator(largest: int) -> None:
    """Designs per second by number of designs."""
    space = load(ROOT / "spaces" / "bert.yaml")
    print("evaluate, designs per second (peak memory of the process)")
    for mode in ("inference", "training"):
        size = 10_000
        while size <= largest:
            spent = 0.0
            for columns, count in designs(space, mode, size):
                spent += seconds(
                    lambda c=columns, n=count: evaluate(c, n),  # type: ignore[misc]
                    3 if size <= 100_000 else 1,
                )
            print(f"  {mode:9}  {size:>10,}  {size / spent:>9,.0f}/s  ({memory():,.0f} MB)")
            size *= 10


def search() -> None:
    """Where the time of a whole search goes."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = transcode.search(ROOT / "spaces" / "bert.yaml", out=Path(folder) / "run")
        spent = time.perf_counter() - start
    count = result.manifest["designs"]
    print(f"transcode search spaces/bert.yaml: {spent:.1f} s, {count:,} designs")
    timing = result.manifest["timing"]
    for part in ("evaluation", "sampler", "recording", "archive"):
        took = timing[part]
        print(f"  {part:10} {took:6.2f} s  {1e6 * took / count:6.2f} us a design")


def command() -> None:
    """Cold starts, in turn: medians, and the median of the ratios pair by pair."""

    def run(*words: str) -> float:
        return seconds(lambda: subprocess.run(words, check=True, capture_output=True), 1)

    own = (str(Path(sys.executable).with_name("elector")), "simulate", "bert-base", "tpu-v4i")
    pairs = [(run(sys.executable, "-c", "import numpy"), run(*own)) for _ in range(25)]
    base, ours = np.median(pairs, axis=0)
    ratio = np.median([b / a for a, b in pairs])
    print(f"python -c 'import numpy': {1e3 * base:.0f} ms")
    print(f"elector simulate bert-base tpu-v4i: {1e3 * ours:.0f} ms, {ratio:.2f} times that")


def peer() -> None:
    """One encoder layer through SCALE-Sim, and through ours."""
    python = ROOT / ".venv-peer" / "bin" / "python"
    if not python.exists():
        print("SCALE-Sim: not installed (`make test-all` or `make bench` does it)")
        return
    with tempfile.TemporaryDirectory() as folder:
        products = Path(folder) / "products.csv"
        lines = [f"{m},{n},{k},128,128,ws" for m, n, k in LAYER]
        products.write_text("\n".join(lines) + "\n", encoding="utf-8")
        script = ROOT / "benchmarks" / "scalesim_peer.py"
        words = [str(python), str(script), str(products), "--time"]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    spent = sum(float(r[-1]) * count for r, count in zip(rows, LAYER.values(), strict=True))
    cycles = sum(int(r[0]) * count for r, count in zip(rows, LAYER.values(), strict=True))
    print(f"SCALE-Sim 3.0.0, a bert-base layer on 128 x 128 ws: {spent:.1f} s, {cycles:,} cycles")
    settings = {
        "model": Column.constant("encoder", 1),
        "accelerator": Column.constant("systolic", 1),
        "model.layers": Column.constant(1, 1),
    }
    ours = seconds(lambda: evaluate(settings, 1), 20)
    print(f"evaluate, a batch of one such layer with its vector work: {1e3 * ours:.2f} ms")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=int, default=10_000_000, help="most designs at once")
    parser.add_argument("--no-peer", action="store_true", help="leave SCALE-Sim out")
    arguments = parser.parse_args()
    command()
    simulator(arguments.largest)
    search()
    if not arguments.no_peer:
        peer()


if __name__ == "__main__":
    main()
