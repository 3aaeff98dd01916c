"""Products of few folds are cut where that is sooner: heads that share a key head, idle arrays."""

from __future__ import annotations

import numpy as np
import pytest
from amounts import draws

import elector
from elector.machines.systolic import cutting
from elector.machines.systolic import folds as folds_of
from elector.machines.systolic.cutting import PARTS, overlapped, serial
from elector.machines.systolic.folds import Arrays, Sides, folds, pieces

FLOWS = ("ws", "os", "is")
Numbers = dict[str, np.ndarray]


def drawn(seed: int, size: int) -> Numbers:
    """Sides of products, products beside, arrays, and their rows and columns: even in logarithm."""
    random = np.random.default_rng(seed)
    most = {"m": 300, "k": 200, "n": 600, "batch": 100, "arrays": 500, "rows": 200, "cols": 600}
    return {
        name: np.floor(np.exp(random.uniform(0.0, np.log(high + 1.0), size)))
        for name, high in most.items()
    }


def taken(flow: str, preload: str, x: Numbers, mean: np.ndarray | None = None) -> np.ndarray:
    """(D,) cycles of a product each; mean : (D,) share of a stream before it is made whole."""
    m, k, n = (x[name][None] for name in "mkn")
    rows, cols, stream = {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[flow]
    here = [np.full(x["rows"].shape, flow == name) for name in ("os", "is")]
    a = Arrays(x["rows"], x["cols"], x["arrays"], *here, np.full(x["rows"].shape, np.inf))
    nr, nc = folds(rows, a.rows), folds(cols, a.cols)
    cut = pieces(stream, nr, a)
    batch, grows = x["batch"][None], np.zeros((1, 1), dtype=bool)
    share = batch if mean is None else mean[None]
    s = Sides(rows, cols, stream, batch, share, nr, nc, grows, cut)
    return (serial(s, a) if preload == "serial" else overlapped(s, a)[0])[0]


@pytest.mark.parametrize("preload", ["serial", "overlap"])
@pytest.mark.parametrize("flow", FLOWS)
def test_rows_together_take_no_longer_than_apart(flow: str, preload: str) -> None:
    """A product is its rows of inputs, in as many products as one likes: so it is cut.

    Not into every number of parts, so a little may be left: in one of a thousand an eighth.
    """
    size = draws(20_000, 5_000)
    x = drawn(1, size)
    many = np.random.default_rng(2).integers(2, 100, size).astype(float)
    whole, apart = x | {"m": x["m"] * many}, x | {"batch": x["batch"] * many}
    ratio = taken(flow, preload, whole) / taken(flow, preload, apart)
    assert np.quantile(ratio, 0.999) < 1.125
    assert ratio.max() < 1.3


@pytest.mark.parametrize("preload", ["serial", "overlap"])
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("name", ["m", "k", "n", "batch", "arrays"])
def test_more_is_never_sooner_and_more_arrays_never_later(
    name: str, flow: str, preload: str
) -> None:
    size = draws(10_000, 1_000)
    x, more = drawn(3, size), np.random.default_rng(4).integers(1, 40, size)
    before, after = taken(flow, preload, x), taken(flow, preload, x | {name: x[name] + more})
    if name == "arrays":
        before, after = after, before
    assert (before <= after * (1.0 + 1e-12)).all()


@pytest.mark.parametrize("preload", ["serial", "overlap"])
@pytest.mark.parametrize("flow", FLOWS)
def test_a_product_alone_as_among_others(flow: str, preload: str) -> None:
    x = drawn(5, 300)
    among = taken(flow, preload, x)
    for i in range(0, 300, 17):
        alone = taken(flow, preload, {name: values[i : i + 1] for name, values in x.items()})
        assert alone[0] == among[i]


def test_what_one_array_would_do_alone_many_share() -> None:
    """Counted on paper: 73 rows of outputs, one long and one wide, on an array each."""
    x = {"m": 73, "k": 1, "n": 1, "batch": 1, "arrays": 100, "rows": 128, "cols": 128}
    one = {name: np.array([float(value)]) for name, value in x.items()}
    assert taken("os", "serial", one)[0] == 2 * 1 + 1 + 1 - 2
    assert taken("os", "serial", one | {"arrays": np.array([1.0])})[0] == 2 * 73 + 1 + 1 - 2
    # 37 + 36 rows on two arrays
    assert taken("os", "serial", one | {"arrays": np.array([2.0])})[0] == 2 * 37 + 1 + 1 - 2
    # inputs that stay: 73 columns of them on ten arrays
    assert taken("is", "serial", one | {"arrays": np.array([10.0])})[0] == 2 * 1 + 8 + 1 - 2


@pytest.mark.parametrize(
    ("flow", "sides"),
    [
        ("os", {"k": 100, "n": 2, "rows": 2, "cols": 1}),
        ("is", {"k": 2, "n": 100, "rows": 1, "cols": 2}),
    ],
)
def test_parts_of_a_stream_are_whole(flow: str, sides: dict[str, int]) -> None:
    """Three products of two folds in two streams: 1.5 products each, which are not the three folds
    that three arrays do at once. Two products are four; three halves of products are six."""
    x = {name: np.array([float(value)]) for name, value in sides.items()}
    x |= {
        name: np.array([value]) for name, value in {"m": 2.0, "batch": 2.0, "arrays": 3.0}.items()
    }
    assert taken(flow, "serial", x, np.array([1.5]))[0] == 2 * (100 + 2 * 1 + 1 - 2)


@pytest.mark.parametrize("flow", FLOWS)
def test_heads_that_share_a_key_head_are_no_slower(flow: str) -> None:
    """73 heads on 1,451 slow arrays, with one key head and with 73: 31 times as long, once."""
    settings: dict[str, object] = {"model.layers": 2, "model.heads": 73, "model.hidden": 1024}
    settings |= {"model.head_size": 1, "model.feed_forward": 2, "workload.batch": 4}
    settings |= {"workload.sequence_length": 1, "workload.generate": 4}
    settings |= {"accelerator.arrays": 1451, "accelerator.clock": 6631.0, "accelerator.rows": 128}
    settings |= {"accelerator.cols": 2152, "accelerator.preload": "serial"}
    settings["accelerator.dataflow"] = flow
    shared, own = (
        elector.simulate("decoder", "systolic", settings=settings | {"model.kv_heads": heads})
        for heads in (1, 73)
    )
    assert shared["latency_s"] <= own["latency_s"]


@pytest.mark.parametrize("flow", FLOWS)
def test_no_number_of_parts_that_is_left_out_would_be_sooner(flow: str) -> None:
    """Beside every number of the list, worked out for each product."""
    x = drawn(6, 2_000)
    here = [np.full(2_000, flow == name) for name in ("os", "is")]
    a = Arrays(x["rows"], x["cols"], x["arrays"], *here, np.floor(x["n"] / 2.0) + 1.0)

    def sides(rows_of_inputs: np.ndarray, number: np.ndarray) -> Sides:
        m, k, n = rows_of_inputs[None], x["k"][None], x["n"][None]
        rows, cols, stream = {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[flow]
        nr, nc = folds(rows, a.rows), folds(cols, a.cols)
        batch = (x["batch"] * number)[None]
        cut = pieces(stream, nr, a)
        return Sides(rows, cols, stream, batch, batch, nr, nc, np.zeros((1, 1), bool), cut)

    whole = sides(x["m"], np.ones(2_000))
    several = {number: np.minimum(number, x["m"]) for number in PARTS}
    parts = [sides(np.ceil(x["m"] / number), number) for number in several.values()]
    few = cutting._few(whole, a)
    for way, bound, of in (
        (overlapped, folds_of.overlapped_bound, folds_of.overlapped),
        (lambda s, a: (serial(s, a),), folds_of.serial_bound, folds_of.serial),
    ):
        tried = [of(s, a) for s in parts]
        for s, values in zip(parts, tried, strict=True):
            for least, value in zip(bound(s, a), values, strict=True):
                assert (least <= value * (1.0 + 1e-12)).all()
        for least, *each in zip(way(whole, a), *tried, strict=True):
            assert (least[few] <= np.min(each, axis=0)[few] * (1.0 + 1e-11)).all()


@pytest.mark.parametrize("flow", FLOWS)
def test_more_rows_than_the_longest_list_has_parts(flow: str) -> None:
    """A million rows of a product so small that any cut may be sooner; a product of nothing."""
    sides = {"k": 2.0, "n": 2.0, "batch": 1.0, "arrays": 1e6, "rows": 256.0, "cols": 256.0}
    x = {name: np.full(3, value) for name, value in sides.items()} | {"m": np.array([1e6, 1e5, 0])}
    cycles = taken(flow, "overlap", x)
    assert np.isfinite(cycles).all() and cycles[0] >= cycles[1] >= cycles[2]
