"""Ten million designs of `transcode` in one search: memory, files, and seconds at the end.

    python benchmarks/flat_memory.py --designs 10000000 --out /tmp/flat-memory
    python benchmarks/flat_memory.py --designs 100000 --real --out /tmp/flat-memory

It is `transcode search transcode --sampler evolve` in one process, with all that a search keeps
and writes: space, engine, accuracies, deduplication, archive, parts, checkpoints, front files,
study, and the front that is drawn and shown at the end are those of every search. Only the
simulator is replaced, whose millisecond a design would take hours: `estimate` below is a roofline
of some lines, whose numbers say nothing of any chip. What it shares with the simulator is what
memory hangs on: the same objectives and records, from the same settings, pulling in different
directions, so that the front grows as long or longer (--real runs the simulator, to compare).
Without it the arrays of an evaluation are missing: add what a search with the simulator has over
one without, at equally many designs.

A line at every --every designs: designs, front, resident bytes then and at most since the line
before, processor seconds a design since then. Then what is kept for a design, sizes of files, and
what the end of the search takes. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import transcode
from elector.base.table import Column
from transcode.cli import report
from transcode.engines.evolve import Evolve
from transcode.plot import plot_run
from transcode.search.progress import Progress
from transcode.search.run import SearchRun

Columns = Mapping[str, Column]
#: Of the roofline, all without a source: MACs a second of a multiplier, joules of a MAC and of a
#: byte of main memory, square millimetres of a multiplier, a softmax unit and a byte of buffer.
RATE, MAC_J, BYTE_J, MULTIPLIER, SOFTMAX, BUFFER = 7e8, 4e-13, 3e-11, 4e-4, 4e-3, 7e-7
#: ... bytes a second of a channel of main memory, watts of leakage a square millimetre.
CHANNEL, LEAKAGE = {"rram": 8e9, "dram": 1.6e10, "hbm": 6.4e10}, 4e-3
LAYERS, TOKENS, STACKS = 12, 128, 3
#: Squares of the hidden size that a head adds to the products of its layer, if all heads were like
#: it, and whether it has a softmax. All differ, as do layers by their place: designs that tie in
#: every objective stay on a front together, and would make it longer than the simulator's is.
HEADS = {"sdp": 3.0, "wma": 2.9, "dft": 0.1, "dct": 0.12, "c5": 1.1, "c9": 1.2, "c13": 1.3}
ATTENDING, PLACE = ("sdp", "wma"), 0.003


@dataclass(frozen=True)
class Estimate:
    """Costs as a search asks for them: name -> (D,); every design runs."""

    scalars: dict[str, np.ndarray]
    feasible: np.ndarray
    reason_code: np.ndarray
    reasons: Sequence[str] = ()

    def scalar(self, name: str) -> np.ndarray:
        """(D,) a result."""
        return self.scalars[name]

    def names(self) -> list[str]:
        """What there is."""
        return list(self.scalars)


def _number(columns: Columns, name: str) -> np.ndarray:
    """(D,) a setting; 0 where it is not set."""
    return columns[name].map(lambda value: float(value or 0), dtype=float)


def _macs(columns: Columns, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D,) multiply-accumulates, weights, and softmax operations of a sequence."""
    macs, weights, softmax = np.zeros(size), np.zeros(size), np.zeros(size)
    layers = _number(columns, "model.layers")
    for layer in range(1, LAYERS + 1):
        there, own = layers >= layer, f"model.layer{layer}"
        hidden = _number(columns, f"{own}.hidden")
        heads = _number(columns, f"{own}.heads")
        attends, mixing = np.zeros(size), np.zeros(size)
        for head in range(1, LAYERS + 1):
            kinds, counts = columns[f"{own}.head{head}"], heads >= head
            mixing += np.where(counts, kinds.map(lambda k: HEADS.get(k, 0.0), dtype=float), 0.0)
            full = kinds.map(lambda kind: float(kind in ATTENDING), dtype=float)
            attends += np.where(counts, full, 0.0)
        share, inside = attends / np.maximum(heads, 1.0), hidden
        products = (1.0 + mixing / np.maximum(heads, 1.0)) * hidden**2
        for stack in range(1, STACKS + 1):
            width = _number(columns, f"{own}.feed_forward{stack}")
            products += np.where(width > 0, inside * width, 0.0)
            inside = np.where(width > 0, width, inside)
        products = (products + inside * hidden) * (1.0 + PLACE * layer)
        weights += np.where(there, products, 0.0)
        macs += np.where(there, TOKENS * (products + 2.0 * TOKENS * hidden * share), 0.0)
        softmax += np.where(there, attends * TOKENS**2, 0.0)
    return macs, weights, softmax


def estimate(columns: Columns, size: int) -> Estimate:
    """A roofline of `size` designs of `transcode`, which stands in for `elector.evaluate`."""
    macs, weights, softmax = _macs(columns, size)
    training = columns["workload.mode"].map(lambda mode: float(mode == "training"), dtype=float)
    density = np.exp(-12.0 * _number(columns, "workload.tau_i"))
    backward = np.exp(-900.0 * _number(columns, "workload.tau_t"))
    work = macs * density * (1.0 + 2.0 * training * backward)
    batch = _number(columns, "workload.batch")
    pe, lanes = (_number(columns, f"accelerator.{n}") for n in ("pe", "lanes_per_pe"))
    multipliers = pe * lanes * _number(columns, "accelerator.mac_per_lane")
    buffers = sum(
        _number(columns, f"accelerator.{n}_buffer") for n in ("activation", "weight", "mask")
    )
    units = pe * _number(columns, "accelerator.softmax_per_pe")
    kinds = columns["accelerator.memory"]
    rate = kinds.map(lambda kind: CHANNEL[kind.split("_")[0]] * int(kind.split("_")[1]) / 8.0)
    moved = 2.0 * weights * (1.0 + 2.0 * training) / batch
    moved += 4.0 * macs**0.75 * (1.0 + 8.0 * training) * 1e6 / buffers
    tile = _number(columns, "accelerator.tile_x") * _number(columns, "accelerator.tile_b")
    waste = 1.0 + 0.2 * np.log2(1.0 + tile / lanes)
    latency = np.maximum(work * waste / (RATE * multipliers), moved / rate.astype(float))
    latency = latency + softmax / (RATE * units)
    area = MULTIPLIER * multipliers + SOFTMAX * units + BUFFER * buffers
    energy = MAC_J * work * waste + BYTE_J * moved + LEAKAGE * area * latency
    scalars = {
        "latency_per_sequence_s": latency,
        "energy_per_sequence_j": energy,
        "area_mm2": area,
    }
    return Estimate(scalars, np.ones(size, dtype=bool), np.full(size, -1))


def _resident() -> tuple[int, int]:
    """Bytes of this process that are in memory, and the most since this was last asked."""
    lines = (line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {name: value for name, value in lines if name in ("VmRSS", "VmHWM")}
    resident, peak = (int(sizes[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return resident, peak


@dataclass
class Watch:
    """What a search takes, line by line.

    every : designs between two lines. most : bytes, so far.
    """

    every: int
    most: int = 0
    due: int = 0
    designs: int = 0
    spent: float = field(default_factory=time.process_time)
    run: SearchRun | None = None
    ended: tuple[float, int] | None = None

    def line(self, told: Progress) -> None:
        """After a batch."""
        if told.designs < self.due or told.designs == self.designs:
            return
        self.due = told.designs + self.every
        now, (resident, peak) = time.process_time(), _resident()
        self.most = max(self.most, peak)
        each = (now - self.spent) / (told.designs - self.designs)
        print(
            f"{told.designs:>11,} designs  front {told.front:>9,}  {resident / 1e6:6.0f} MB, "
            f"at most {peak / 1e6:6.0f} MB  {1e6 * each:7.1f} us a design",
            flush=True,
        )
        self.designs, self.spent = told.designs, time.process_time()

    def watch_end(self) -> None:
        """Measures the last checkpoint, and gets hold of the search."""
        checkpoint = SearchRun.checkpoint

        def watched(run: SearchRun, status: str) -> None:
            self.run = run
            self.most = max(self.most, _resident()[1])
            begin = time.process_time()
            checkpoint(run, status)
            peak = _resident()[1]
            self.most = max(self.most, peak)
            self.ended = (time.process_time() - begin, peak)

        SearchRun.checkpoint = watched  # type: ignore[method-assign]


def told(watch: Watch, folder: Path) -> list[str]:
    """What is kept for a design, sizes of files, and the end."""
    run, ended = watch.run, watch.ended
    assert run is not None and ended is not None and isinstance(run.engine, Evolve)
    designs, archive = run.state.designs, run.state.archive
    keys = sum(r.nbytes for share in run.engine.known.shares for r in share.runs)
    own = archive.codes.nbytes + archive.objectives.nbytes + archive.ids.nbytes
    own += sum(values.nbytes for values in archive.results.values())
    population = run.engine.population
    parents = population.codes.nbytes + population.front.nbytes + population.adds.nbytes
    spent = {n: round(s, 1) for n, s in run.timers.spent().items()}
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file()}
    files["designs/"] = sum(p.stat().st_size for p in (folder / "designs").iterdir())
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in files.items())
    return [
        f"{designs:,} designs, front of {len(archive):,}; at most {watch.most / 1e6:.0f} MB",
        f"deduplication: {keys / designs:.1f} bytes a design",
        f"archive: {own / len(archive):.0f} bytes a point, parents {parents / len(archive):.0f}",
        f"the end: {ended[0]:.1f} s of a processor, at most {ended[1] / 1e6:.0f} MB",
        f"files: {sizes}; {files['designs/'] / designs:.0f} bytes a design in parts",
        f"seconds: {spent}",
    ]


def main() -> None:
    """Runs the search and says what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--designs", type=int, default=10_000_000)
    parser.add_argument("--every", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", help="a limit of the session, such as 180s")
    parser.add_argument("--real", action="store_true", help="with the simulator")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    watch = Watch(given.every)
    watch.watch_end()
    result = transcode.search(
        "transcode",
        sampler="evolve",
        budget=given.designs,
        time=given.time,
        seed=given.seed,
        jobs=1,
        out=given.out,
        evaluator=None if given.real else estimate,
        progress=watch.line,
    )
    watch.most = max(watch.most, _resident()[1])
    begin = time.process_time()
    plot_run(result.folder)  # as the command ends
    report.search_result(result.folder, "table", result.notes)
    shown = time.process_time() - begin, _resident()[1]
    watch.most = max(watch.most, shown[1])
    print("\n".join(told(watch, given.out)))
    print(f"shown and drawn: {shown[0]:.1f} s of a processor, at most {shown[1] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
