"""Products of systolic arrays in the event model: counted on paper, and beside the closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from amounts import draws

from elector.machines.systolic.cutting import overlapped, serial
from elector.machines.systolic.events import SystolicUnits
from elector.machines.systolic.folds import Arrays, Sides, folds, pieces

FLOWS, PRELOADS = ("ws", "os", "is"), ("serial", "overlap")
MOST = {"m": 300, "k": 200, "n": 600, "batch": 40, "arrays": 300, "rows": 200, "cols": 300}
#: Sums that accumulators hold where they hold all.
ALL = 1e9


def dealt(flow: str, preload: str, x: dict[str, float]) -> float:
    """Cycles of a product, its folds dealt one by one."""
    units: Any = SystolicUnits.__new__(SystolicUnits)
    number = {name: x[name] for name in ("rows", "cols", "arrays")}
    units.number = number | {"accumulators": x["sums"] * 4.0 * x["cols"] * x["arrays"]}
    units.name, units.peer, units.i = {"dataflow": flow, "preload": preload}, False, 0
    sides = {name: np.array([[x[name]]]) for name in ("m", "k", "n", "batch")}
    widths = {key: [1.0] for key in ("a_width", "b_width", "out_width")}
    rows, sums = [SimpleNamespace(off_chain=False, b="state")], SimpleNamespace(accumulator=4.0)
    units.case = SimpleNamespace(ops=SimpleNamespace(**sides, **widths, rows=rows, format=sums))
    taken, wait, _ = units._product(0, 1)
    return taken + wait


def closed(flow: str, preload: str, x: dict[str, np.ndarray]) -> np.ndarray:
    """(D,) cycles of a product each, in closed form."""
    m, k, n, batch = (x[name][None] for name in ("m", "k", "n", "batch"))
    rows, cols, stream = {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[flow]
    os, inputs = (np.full(x["rows"].shape, flow == name) for name in ("os", "is"))
    a = Arrays(x["rows"], x["cols"], x["arrays"], os, inputs, x["sums"])
    nr, nc = folds(rows, a.rows), folds(cols, a.cols)
    grows = np.zeros((1, 1), dtype=bool)
    s = Sides(rows, cols, stream, batch, batch, nr, nc, grows, pieces(stream, nr, a))
    return (serial(s, a) if preload == "serial" else overlapped(s, a)[0])[0]


def both(flow: str, preload: str, sums: float = ALL, **sides: float) -> tuple[float, float]:
    """Cycles of one product: in events, and in closed form."""
    x = {"batch": 1.0, "sums": sums} | {name: float(value) for name, value in sides.items()}
    return dealt(flow, preload, x), float(
        closed(flow, preload, {name: np.array([value]) for name, value in x.items()})[0]
    )


def test_a_short_stream_waits_for_the_load_once() -> None:
    """53 x 177 cells, 4 rows of inputs of 34 values: load 34, stream 4, skew 34 + 1 - 2."""
    events, formula = both("ws", "overlap", m=4, k=34, n=1, arrays=1, rows=53, cols=177)
    assert events == formula == 34 + 4 + 34 + 1 - 2


@pytest.mark.parametrize("flow", FLOWS)
def test_the_last_result_may_come_from_a_wide_fold_before_a_thin_one(flow: str) -> None:
    """A fold of 200 columns and one of a single column, on an array each and one after another:
    the skew of the wide one ends last."""
    sides = {"ws": (1, 2, 201), "os": (2, 1, 201), "is": (201, 2, 1)}[flow]
    named = dict(zip("mkn", sides, strict=True))
    whole = 2 + 1 + 2 + 200 - 2
    one, two = (both(flow, "overlap", arrays=n, rows=8, cols=200, **named)[0] for n in (1, 2))
    # Outputs and inputs that stay may be cut, and then the skew is that of a part.
    assert one == whole if flow != "is" else one <= whole
    assert two == whole if flow == "ws" else two <= whole


def test_idle_arrays_share_the_pieces_of_a_stream() -> None:
    """4 rows of inputs stay, 400 columns pass, 10 of whose sums are held: 40 pieces of a fold of 8
    rows and one of 4, on 20 arrays: each has four pieces."""
    events, formula = both("is", "serial", sums=10, m=4, k=12, n=400, arrays=20, rows=8, cols=4)
    assert events <= 4 * (2 * 8 + 4 + 10 - 2)
    assert events == pytest.approx(formula, rel=0.1)


@pytest.mark.parametrize("preload", PRELOADS)
@pytest.mark.parametrize("flow", FLOWS)
def test_products_dealt_one_by_one_take_what_the_closed_form_says(flow: str, preload: str) -> None:
    """Small ones on many arrays, accumulators of any size: nine of ten within a tenth.

    The rest is the bound of Graham, which no order of folds exceeds, and parts that the event model
    does not try.
    """
    random, size = np.random.default_rng(7), draws(200, 80)
    most = MOST | {"sums": 600}
    x = {
        name: np.floor(np.exp(random.uniform(0.0, np.log(high + 1.0), size)))
        for name, high in most.items()
    }
    x["sums"] = np.where(random.random(size) < 0.5, ALL, x["sums"])
    each = [{name: float(values[i]) for name, values in x.items()} for i in range(size)]
    ratio = closed(flow, preload, x) / [dealt(flow, preload, one) for one in each]
    assert np.mean(np.abs(ratio - 1.0) < 0.1) > 0.9
    assert ratio.min() > 0.6 and ratio.max() < 2.0


def test_a_stream_in_pieces_is_no_longer_than_it_is() -> None:
    """232 columns in 7 pieces are 232, not 233: 48 folds of 22 rows on 15 arrays have 4 each."""
    sides = {"m": 1, "k": 22, "n": 232, "batch": 8, "arrays": 15, "rows": 4, "cols": 471}
    _, formula = both("is", "overlap", sums=36, **sides)
    last = 232 / 7
    assert formula == pytest.approx(4 * 232 - last + last - 2 + 2 * 4 + 1, rel=1e-12)
    _, more = both("is", "overlap", sums=36, **sides | {"m": 3})
    assert formula <= more
