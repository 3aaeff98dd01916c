"""Watts of training on a board that the constants of power were not fitted on.

    python benchmarks/power_left_out.py REFERENCE_FOLDER

The rows are those of gpu_power.csv (BERT-base on a V100 and a Quadro RTX 6000 under power limits),
from which two constants were derived: a multiply-accumulate in fp32 at 12 nm (`gpu.fp32`) and what
runs while kernels run (`gpu.running`). Both are chosen anew from a grid on the rows of one board,
and the rows of the other are predicted; idle powers are read of each board, and no row of power has
a say in seconds. Loss: mean absolute logarithm of watts and of seconds under a limit over those at
the highest, each counting half. A board at its limit draws the limit: rows below it stand apart.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timings_package
from fit_gpu import off
from gpu_error import DEVICES, power_rows, summary
from gpu_rows import Compiled, compile_steps

from elector.cost.pricing import price
from elector.machines.gpu import machine as gpu
from elector.machines.gpu.kernels import constants
from elector.machines.gpu.stacks import stacks
from elector.technology import Technology

Array = np.ndarray
Pair = tuple[float, float]
Ratios = tuple[Array, Array]

#: Energies of a multiply-accumulate [pJ], and shares of `tdp`, that are tried.
ENERGIES, SHARES = np.arange(8.0, 36.1, 1.0), np.arange(0.0, 0.41, 0.05)
#: Under this share of its limit a board is not held by it.
BELOW = 0.97


@dataclass(frozen=True)
class Measured:
    """Rows of power.

    compiled : the D steps. watts : (D,) of each. seconds : (D,) of an epoch. top : (D,) the row at
    the highest limit of the same curve. board : (D,) start of the board's name. limit : (D,) W.
    """

    compiled: Compiled
    watts: Array
    seconds: Array
    top: Array
    board: Array
    limit: Array


def measured(folder: Path) -> Measured:
    """The rows of gpu_power.csv; folder : of the reference tables."""
    rows, watts, top = power_rows(folder)
    boards = [next(n for n in DEVICES if r["device"].startswith(n)) for r in rows.records]
    seconds = np.array([float(r["time_value"]) for r in rows.records])
    limit = np.array([float(r["power_limit_w"]) for r in rows.records])
    return Measured(compile_steps(rows), watts, seconds, top, np.array(boards), limit)


def technology(energy: float, share: float) -> Technology:
    """The shipped tables with other constants of power; energy : pJ. share : of `tdp`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "power.csv"
        path.write_text(
            "part,quantity,value,unit,node_nm,source,evidence,verified\n"
            f"gpu.fp32,energy,{energy:g},pJ,12,tried,assumed,no\ngpu.running,share,{share:g},1,,tried,assumed,no\n",
            encoding="utf-8",
        )
        return Technology.load(path)


def ratios(m: Measured, table: Technology | None = None) -> Ratios:
    """(D,) predicted over measured watts, and the same of seconds over those at the highest limit.

    m : the rows. table : prices; the shipped ones where there are none.
    """
    compiled = m.compiled
    if table is not None:
        parts: list[tuple[Array, gpu.PreparedGpu, object]] = [
            (rows, p, price(gpu.GPU, p.units, p.ops.format.compute, table))
            for rows, p, _ in compiled.parts
        ]
        compiled = replace(compiled, parts=parts)
    seconds, watts = compiled.timed(constants(), stacks())
    slower = (seconds / seconds[m.top]) / (m.seconds / m.seconds[m.top])
    return watts / m.watts, slower


def loss(watts: Array, slower: Array, rows: Array) -> float:
    """Of some rows; watts, slower : (D,) ratios. rows : (D,) bool."""
    return 0.5 * float(off(watts[rows]).mean() + off(slower[rows]).mean())


def told(name: str, m: Measured, watts: Array, slower: Array, rows: Array) -> str:
    """A line: errors of the rows of a board, and of those that no limit holds."""
    free = rows & (m.watts < BELOW * m.limit)
    below = rows & (m.top != np.arange(rows.size))
    cells = []
    for ratio, some in ((watts, rows), (watts, free), (slower, below)):
        number, median, high = summary(ratio[some] - 1.0)
        cells.append(f"{number:4} {median:6.1%} {high:6.1%} {np.median(ratio[some]) - 1:+7.1%}")
    return f"{name:34}" + "   ".join(cells)


def chosen(rows: Array, tried: dict[Pair, Ratios]) -> Pair:
    """The constants that suit some rows (D,) bool best, of those that were tried."""
    return min(tried, key=lambda pair: loss(*tried[pair], rows))


def every(m: Measured) -> dict[Pair, Ratios]:
    """(energy [pJ], share) -> ratios of the rows; m : the rows."""
    return {pair: ratios(m, technology(*pair)) for pair in itertools.product(ENERGIES, SHARES)}


def main() -> None:
    """Each board predicted from the other, as shipped (fitted on both), and from itself."""
    parser = argparse.ArgumentParser(description="watts of a board that was left out")
    parser.add_argument("folder", type=timings_package.reference)
    m = measured(parser.parse_args().folder)
    tried = every(m)
    print(f"{'rows, median, 90th, bias of':34}watts{'':24}watts below the limit{'':8}slowdown")
    for board in DEVICES:
        own = m.board == board
        for name, rows in (("left out", ~own), ("alone", own)):
            energy, share = pair = chosen(rows, tried)
            print(told(f"{board} {name}: {energy:g} pJ, {share:.2f}", m, *tried[pair], own))
        print(told(f"{board} as shipped", m, *ratios(m), own))


if __name__ == "__main__":
    main()
