"""Systolic arrays: the closed form against a cycle-by-cycle machine and against SCALE-Sim."""

from __future__ import annotations

import csv
import itertools
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amounts import draws
from arrays import Fold, cut, dealt, product, run, starts
from builders import inside
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.machines.systolic.folds import mean_folds

Shape = tuple[int, int, int]
FLOWS = ("ws", "os", "is")
#: Sides of the array and the stream of an (m, k, n) product.
SIDES = {"ws": (1, 2, 0), "os": (0, 2, 1), "is": (1, 0, 2)}


def write(folder: Path, shapes: list[Shape]) -> str:
    """A GEMM list of (m, k, n) products."""
    path = folder / "products.csv"
    lines = [f"g{i},{m},{n},{k}" for i, (m, k, n) in enumerate(shapes)]
    path.write_text("\n".join(["name,M,N,K", *lines]) + "\n")
    return str(path)


def cycles(folder: Path, shapes: list[Shape], **accelerator: Any) -> np.ndarray:
    settings = {f"accelerator__{key}": value for key, value in accelerator.items()}
    return inside(write(folder, shapes), **settings).activity.cycles[:, 0]


def matrices(shape: Shape, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random, (m, k, n) = np.random.default_rng(seed), shape
    return random.integers(-4, 5, (m, k)).astype(float), random.integers(-4, 5, (k, n)).astype(
        float
    )


def simulated(shape: Shape, seed: int, *arguments: Any, parts: int = 1) -> int:
    """Cycles of the machine of arrays.py, whose result must be the product."""
    a, b = matrices(shape, seed)
    computed, count = product(a, b, *arguments, parts=parts)
    np.testing.assert_array_equal(computed, a @ b)
    return count


def fewest(shape: Shape, seed: int, *arguments: Any) -> int:
    """The least of them over the parts into which the rows of inputs may be cut."""
    # Numbers of parts that come to the same rows in each are one.
    numbers = {-(-shape[0] // n): n for n in range(shape[0], 0, -1)}.values()
    return min(simulated(shape, seed, *arguments, parts=n) for n in numbers)


def shapes_of(seed: int, count: int, most: int = 13) -> list[Shape]:
    random = np.random.default_rng(seed)
    return [tuple(int(x) for x in random.integers(1, most, 3)) for _ in range(count)]  # type: ignore[misc]


def whole(shape: Shape, flow: str, rows: int, cols: int) -> bool:
    """Whether no fold has an edge."""
    return shape[SIDES[flow][0]] % rows == 0 and shape[SIDES[flow][1]] % cols == 0


def folds_of(shape: Shape, flow: str, rows: int, cols: int) -> int:
    return math.ceil(shape[SIDES[flow][0]] / rows) * math.ceil(shape[SIDES[flow][1]] / cols)


# ---- cycle by cycle ----


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("rows", "cols"), [(3, 4), (4, 2), (5, 5), (1, 6), (2, 1)])
def test_serial_folds_take_exactly_the_simulated_cycles(
    flow: str, rows: int, cols: int, tmp_path: Path
) -> None:
    shapes = shapes_of(rows * 10 + cols, draws(16, 6))
    ours = cycles(tmp_path, shapes, rows=rows, cols=cols, dataflow=flow, preload="serial")
    for i, shape in enumerate(shapes):
        assert ours[i] == fewest(shape, i, rows, cols, flow, False), shape


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("rows", "cols"), [(3, 4), (4, 2), (5, 5), (1, 6), (2, 1)])
def test_overlapped_folds_take_exactly_the_simulated_cycles(
    flow: str, rows: int, cols: int, tmp_path: Path
) -> None:
    """With a thin last fold and a short stream, the fold before it is the last to finish.

    Of outputs cut into blocks the closed form counts the last, thinner one as one of the others.
    """
    shapes = shapes_of(rows * 10 + cols, draws(24, 8))
    ours = cycles(tmp_path, shapes, rows=rows, cols=cols, dataflow=flow)
    for i, shape in enumerate(shapes):
        least = fewest(shape, i, rows, cols, flow, True)
        most = simulated(shape, i, rows, cols, flow, True) if flow == "os" else least
        assert least <= ours[i] <= most, shape


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("overlap", [False, True])
def test_several_arrays(flow: str, overlap: bool, tmp_path: Path) -> None:
    """Exact where all folds are alike; edge folds, dealt evenly, stay within one fold."""
    preload = "overlap" if overlap else "serial"
    for arrays, (rows, cols) in itertools.product((2, 3), ((3, 4), (4, 2))):
        shapes = [s for s in shapes_of(arrays, 90, 17) if folds_of(s, flow, rows, cols) >= arrays]
        alike = [s for s in shapes if whole(s, flow, rows, cols)]
        rest = [s for s in shapes if s not in alike][:8]
        # Sides that are multiples are rare among random ones.
        side, width, stream = SIDES[flow]
        for x, y, t in ((1, 2, 1), (2, 2, 9), (3, 1, 4), (1, 3, 7)):
            shape = [0, 0, 0]
            shape[side], shape[width], shape[stream] = x * rows, y * cols, t
            if x * y >= arrays:
                alike.append((shape[0], shape[1], shape[2]))
        ours = cycles(
            tmp_path,
            alike + rest,
            rows=rows,
            cols=cols,
            dataflow=flow,
            arrays=arrays,
            preload=preload,
        )
        for i, shape in enumerate(alike + rest):
            count = simulated(shape, i, rows, cols, flow, overlap, arrays)
            least = count
            if ours[i] < count:
                least = fewest(shape, i, rows, cols, flow, overlap, arrays)
            one_fold = 2 * rows + cols + shape[stream] - 2
            rest = 0 if shape in alike else one_fold
            assert least - rest <= ours[i] <= count + rest, shape


@pytest.mark.parametrize("flow", ["ws", "is"])
def test_idle_arrays_share_the_stream(flow: str, tmp_path: Path) -> None:
    """Two folds on five arrays: each fold's stream is cut in two, a fold's sums meet nowhere."""
    rows, cols, stream = 3, 4, 11
    shape = {"ws": (stream, 6, 4), "is": (4, 6, stream)}[flow]
    (ours,) = cycles(tmp_path, [shape], rows=rows, cols=cols, dataflow=flow, arrays=5)
    a, b = matrices(shape, 0)
    if flow == "is":
        a, b = b.T, a.T
    for part in (a[:6], a[6:]):
        computed, count = product(part, b, rows, cols, "ws", True, 2)
        np.testing.assert_array_equal(computed, part @ b)
        assert count <= ours
    assert ours == 2 * rows + cols + 6 - 2
    (stays,) = cycles(tmp_path, [(6, stream, 4)], rows=rows, cols=cols, dataflow="os", arrays=5)
    assert stays == simulated((6, stream, 4), 0, rows, cols, "os", True, 5, parts=3)


@pytest.mark.parametrize("flow", FLOWS)
def test_small_products_are_packed_along_the_diagonal(flow: str) -> None:
    """Heads of two on an array of 8 x 12: blocks of one stationary matrix, results apart.

    As many of them in the array at once as take the fewest cycles: groups share a load and a skew,
    but their skew is longer.
    """
    heads, size, length, rows, cols = 4, 2, 3, 8, 12
    chunk = inside(
        "encoder",
        model__layers=1,
        model__hidden=heads * size,
        model__heads=heads,
        sequence_length=length,
        accelerator__rows=rows,
        accelerator__cols=cols,
        accelerator__dataflow=flow,
    )
    for name, shape in (("scores", (length, size, length)), ("context", (length, length, size))):
        (r,) = chunk.ops.where(name=name)
        pairs = [matrices(shape, i) for i in range(heads)]
        if flow == "is":
            pairs = [(b.T, a.T) for a, b in pairs]
        side = [shape[i] for i in SIDES[flow]]
        most = min(rows // side[0], cols // side[1], heads)
        counts = [packed_cycles(pairs, size, side, flow) for size in (1, 2, 4) if size <= most]
        assert len(counts) > 1
        assert chunk.activity.cycles[r, 0] == min(counts)


def packed_cycles(
    pairs: list[tuple[np.ndarray, np.ndarray]], size: int, side: list[int], flow: str
) -> int:
    """Simulated cycles of products, `size` of them in the array at once; results are checked."""
    folds = []
    for i in range(0, len(pairs), size):
        group = pairs[i : i + size]
        if flow == "os":
            folds.append(Fold(np.vstack([a for a, _ in group]), np.hstack([b for _, b in group])))
            continue
        blocks = np.zeros((size * side[0], size * side[1]))
        for j, (_, b) in enumerate(group):
            blocks[j * side[0] : (j + 1) * side[0], j * side[1] : (j + 1) * side[1]] = b
        folds.append(Fold(np.hstack([a for a, _ in group]), blocks))
    results, count = run(folds, "os" if flow == "os" else "ws", True)
    for i, (a, b) in enumerate(pairs):
        at, j = results[i // size], i % size
        column = slice(j * b.shape[1], (j + 1) * b.shape[1])
        line = slice(j * a.shape[0], (j + 1) * a.shape[0]) if flow == "os" else slice(None)
        np.testing.assert_array_equal(at[line, column], a @ b)
    return count


@pytest.mark.parametrize("flow", ["ws", "os"])
def test_folds_cannot_follow_any_closer(flow: str) -> None:
    """One cycle less between folds and the simulated registers give wrong products."""
    for shape, rows, _ in (((2, 12, 4), 4, 3), ((12, 3, 4), 4, 3), ((5, 5, 5), 2, 5)):
        a, b = matrices(shape, 1)
        folds = [Fold(a[:, i : i + rows], b[i : i + rows]) for i in range(0, shape[1], rows)]
        if flow == "os":
            folds = [Fold(a[i : i + rows], b) for i in range(0, shape[0], rows)]
        right, wrong = run(folds, flow, True)[0], run(folds, flow, True, hurry=1)[0]
        assert all((x == f.a @ f.b).all() for x, f in zip(right, folds, strict=True))
        assert len(folds) == 1 or not all(
            (x == f.a @ f.b).all() for x, f in zip(wrong, folds, strict=True)
        )


def test_the_machine_of_the_tests_is_itself_right() -> None:
    """Counted on paper: 2 x 2 weights, three inputs: load 2, stream 3, skew 2."""
    fold = Fold(np.ones((3, 2)), np.ones((2, 2)))
    assert run([fold], "ws", False)[1] == 7 == 2 * 2 + 2 + 3 - 2
    assert starts([(2, 2, 3), (2, 2, 3)], "ws", True) == [2, 5]
    assert starts([(4, 2, 1), (4, 2, 1)], "ws", True) == [4, 8]
    assert dealt([fold] * 5, "ws", 2) == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("flow", FLOWS)
def test_the_next_product_may_follow_on_the_heels_of_the_last(flow: str, tmp_path: Path) -> None:
    """The array is taken for as long as a second run of the same folds takes behind a first."""
    rows, cols = 4, 3
    for shape in ((8, 12, 6), (4, 4, 3), (12, 8, 12), (24, 4, 3)):
        a, b = matrices(shape, 2)
        parts = cut(b.T, a.T, rows, cols, "ws") if flow == "is" else cut(a, b, rows, cols, flow)
        if not whole(shape, flow, rows, cols):
            continue
        folds, machine = [fold for fold, _, _ in parts], "os" if flow == "os" else "ws"
        chunk = inside(
            write(tmp_path, [shape]),
            accelerator__rows=rows,
            accelerator__cols=cols,
            accelerator__dataflow=flow,
            accelerator__clock=1e9,
        )
        taken = float(chunk.activity.row("array", 0)[0]) * 1e9
        both, one = run(folds * 2, machine, True)[1], run(folds, machine, True)[1]
        assert taken == pytest.approx(both - one, rel=1e-12), shape


@given(st.integers(1, 3000), st.integers(0, 400), st.integers(1, 300))
def test_mean_folds_is_the_mean_over_a_loop(first: int, span: int, size: int) -> None:
    middle = np.array([first + span / 2])
    expected = sum(-(-x // size) for x in range(first, first + span + 1)) / (span + 1)
    means = mean_folds(middle, np.array([float(span)]), np.array([float(size)]))
    assert means[0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("model", ["gpt2", "mistral-7b"])
@pytest.mark.parametrize("flow", FLOWS)
def test_generated_tokens_take_the_cycles_of_a_loop(model: str, flow: str) -> None:
    """Only the mean number of folds enters the closed form: 4 % off for one step at worst."""
    prompt, tokens = 100, draws(16, 8)
    for rows, cols, arrays, batch in ((128, 128, 1, 1), (16, 32, 1, 8), (64, 256, 4, 16)):
        settings = {
            "accelerator.rows": rows,
            "accelerator.cols": cols,
            "workload.batch": batch,
            "accelerator.arrays": arrays,
            "accelerator.dataflow": flow,
        }

        def decode(length: int, generate: int, chosen: dict[str, object] = settings) -> float:
            sizes = {"workload.sequence_length": length, "workload.generate": generate}
            keys = {k.replace(".", "__"): v for k, v in (chosen | sizes).items()}
            chunk = inside(model, **keys)
            rows = [r for r in chunk.ops.where(phase="decode", matmul=True)]
            return float(chunk.activity.cycles[rows, 0].sum())

        loop = sum(decode(prompt + i, 2) for i in range(tokens - 1))
        assert decode(prompt, tokens) == pytest.approx(loop, rel=0.04)


# ---- SCALE-Sim ----

#: SCALE-Sim 3.0.0 (scalesim on PyPI), run on each product alone with no limit of bandwidth:
#: M, N, K, rows, cols, dataflow, total cycles, reads of the first and of the second
#: operand, writes of the result.
PEER = [
    (8, 8, 1, 12, 20, "is", 49, 8, 8, 64),
    (128, 128, 64, 12, 20, "is", 7139, 8192, 57344, 98304),
    (512, 512, 64, 12, 20, "os", 105091, 851968, 1409024, 297920),
    (8, 512, 64, 12, 20, "os", 2443, 13312, 32768, 4928),
    (129, 129, 129, 12, 20, "ws", 13166, 116487, 16641, 183051),
    (223, 215, 36, 12, 20, "ws", 8744, 88308, 7740, 143835),
    (7, 5, 3, 32, 32, "is", 98, 21, 15, 35),
    (384, 384, 64, 32, 32, "os", 18143, 294912, 294912, 156672),
    (1, 128, 1000, 32, 32, "ws", 12159, 4000, 128000, 4096),
    (127, 3, 5, 32, 32, "ws", 220, 635, 15, 381),
    (1, 64, 64, 128, 128, "is", 445, 64, 4096, 64),
    (296, 300, 204, 128, 128, "os", 4121, 181152, 183600, 91104),
    (99, 301, 47, 128, 128, "ws", 1442, 13959, 14147, 29799),
]
Peer = tuple[int, int, int, int, int, str, int, int, int, int]


def compare(folder: Path, rows: list[Peer]) -> None:
    """One GEMM list and one simulation for each array and dataflow of the rows."""
    for key in dict.fromkeys(r[3:6] for r in rows):
        mine = [r for r in rows if r[3:6] == key]
        settings = dict(
            zip(("accelerator.rows", "accelerator.cols", "accelerator.dataflow"), key, strict=True)
        )
        path = write(folder, [(m, k, n) for m, n, k, *_ in mine])
        operations = elector.simulate(
            path,
            "systolic",
            settings=settings | {"accelerator.convention": "scalesim"},
            operations=True,
        )["operations"]
        assert isinstance(operations, list)
        for ours, (m, n, _, array_rows, array_cols, flow, total, a, b, out) in zip(
            operations, mine, strict=True
        ):
            assert ours["cycles"] == total, ours
            assert (ours["a_reads"], ours["b_reads"]) == (a, b), ours
            if flow == "os":  # the peer counts every cell's column and row once more
                folds = -(-m // array_rows) * -(-n // array_cols)
                assert out - folds * (array_rows + array_cols) == m * n
                assert ours["out_writes"] == m * n
            else:
                assert ours["out_writes"] == out


def test_scalesim_rows_shipped_here(tmp_path: Path) -> None:
    compare(tmp_path, PEER)


@pytest.mark.reference
def test_all_scalesim_rows(reference_dir: Path, tmp_path: Path) -> None:
    with (reference_dir / "scalesim_gemm.csv").open(encoding="utf-8", newline="") as file:
        rows: list[Peer] = [
            (
                *(int(r[c]) for c in ("M", "N", "K", "array_rows", "array_cols")),
                r["dataflow"],
                *(
                    int(r[c])
                    for c in (
                        "total_cycles",
                        "ifmap_sram_reads",
                        "filter_sram_reads",
                        "ofmap_sram_writes",
                    )
                ),
            )
            for r in csv.DictReader(file)
        ]  # type: ignore[misc]
    assert len(rows) == 653
    assert set(PEER) <= set(rows)
    compare(tmp_path, rows)


@pytest.mark.slow
def test_fresh_shapes_equal_the_installed_peer(
    scalesim_python: Path, root: Path, tmp_path: Path
) -> None:
    """Thirty random products that no table holds, through SCALE-Sim itself."""
    random, rows = np.random.default_rng(2026), []
    for i in range(30):
        m, n, k = (int(x) for x in random.integers(1, 150, 3))
        rows.append((m, n, k, *((16, 16), (8, 32), (32, 12))[i % 3], FLOWS[i % 2 + i // 15]))
    table = tmp_path / "fresh.csv"
    table.write_text("\n".join(",".join(map(str, r)) for r in rows) + "\n")
    script = root / "benchmarks" / "scalesim_peer.py"
    done = subprocess.run(
        [str(scalesim_python), str(script), str(table)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    numbers = [[int(x) for x in line.split(",")] for line in done.stdout.splitlines()]
    compare(tmp_path, [(*r, *x) for r, x in zip(rows, numbers, strict=True)])  # type: ignore[misc]


#: Layers of AlphaGo Zero and of neural collaborative filtering, which SCALE-Sim ships: m, k, n.
LAYERS = [(361, 1700, 256), (361, 2304, 256), (1, 722, 1), (1, 722, 256), (1, 256, 362)]
FILTERING = [(2048, 256, 128), (2048, 128, 64), (2048, 64, 32), (2048, 16, 1)]


def at_interfaces(path: str, **accelerator: object) -> dict[str, Any]:
    """A list under the peer's convention."""
    keys = {f"accelerator.{key}": value for key, value in accelerator.items()}
    peer = {"accelerator.convention": "scalesim"}
    return elector.simulate(path, "systolic", settings=peer | keys, operations=True)


@pytest.mark.parametrize("layers", [LAYERS, FILTERING], ids=["alphagozero", "ncf"])
@pytest.mark.parametrize("flow", FLOWS)
def test_the_peer_never_stalls_without_interfaces(
    flow: str, layers: list[Shape], tmp_path: Path
) -> None:
    """CALC mode: latency is cycles / clock whatever the memory; it was 1.63x and 2.06x of it."""
    path = write(tmp_path, layers)
    for settings in ({}, {"bandwidth": 1e6, "sram": 65536}, {"sram_bandwidth": 1e3}):
        result = at_interfaces(path, dataflow=flow, **settings)
        cycles = sum(op["cycles"] for op in result["operations"])
        seconds = cycles / 700e6
        assert result["latency_s"] == pytest.approx(seconds, rel=1e-12)
        macs = sum(m * k * n for m, k, n in layers)
        assert result["utilization"] == pytest.approx(macs / (128 * 128 * cycles), rel=1e-12)


def test_each_interface_of_the_peer_moves_the_words_it_is_given(tmp_path: Path) -> None:
    """USER mode, all on the chip at once: the largest operand at so many words a cycle."""
    shapes = [(64, 2000, 10), (10, 2000, 64), (300, 2, 400)]  # by a, by b, by the result
    path, size = write(tmp_path, shapes), 1e9
    for words in (0.5, 1.0, 3.0):
        result = at_interfaces(path, sram=size, interface_bandwidth=words, dataflow="os")
        for op, (m, k, n) in zip(result["operations"], shapes, strict=True):
            moved = max(m * k, k * n, m * n) / words
            expected = max(moved, op["cycles"]) / 700e6
            assert op["seconds"] == pytest.approx(expected, rel=1e-12)
        total = sum(op["seconds"] for op in result["operations"])
        assert result["latency_s"] == pytest.approx(total, rel=1e-12)
    plenty = at_interfaces(path, sram=size, interface_bandwidth=1e6, dataflow="os")
    calc = at_interfaces(path, sram=size, dataflow="os")
    assert plenty["latency_s"] == calc["latency_s"]


@pytest.mark.parametrize("datapath", ["int8", "fp16", "fp32"])
def test_a_word_of_the_peer_is_an_element_of_any_format(datapath: str, tmp_path: Path) -> None:
    path = write(tmp_path, LAYERS)
    settings = {"sram": 196608, "interface_bandwidth": 10.0}
    narrow = at_interfaces(path, **settings)
    other = at_interfaces(path, datapath=datapath, **settings)
    assert other["latency_s"] == narrow["latency_s"] > at_interfaces(path)["latency_s"]
    assert other["utilization"] == narrow["utilization"]


@pytest.mark.parametrize("flow", FLOWS)
def test_physical_cycles_are_the_peers_and_the_drain(flow: str, tmp_path: Path) -> None:
    """Serial folds of whole arrays: the peer's count, its missing cycle and, for os, the drain."""
    shapes = [(32, 64, 96), (128, 32, 64), (64, 64, 32)]
    peer = cycles(tmp_path, shapes, rows=32, cols=32, dataflow=flow, convention="scalesim")
    ours = cycles(tmp_path, shapes, rows=32, cols=32, dataflow=flow, preload="serial")
    drain = [32 * folds_of(s, flow, 32, 32) if flow == "os" else 0 for s in shapes]
    np.testing.assert_array_equal(ours, peer + 1 + drain)


# ---- what the array reads and writes ----


@pytest.mark.parametrize("flow", FLOWS)
def test_accesses_are_what_the_simulated_folds_touch(flow: str, tmp_path: Path) -> None:
    """Elements of both operands of every fold, and a sum written for each of its results."""
    for shape, rows, cols in (((7, 9, 5), 3, 4), ((4, 4, 4), 4, 4), ((10, 3, 11), 2, 6)):
        a, b = matrices(shape, 3)
        parts = cut(b.T, a.T, rows, cols, "ws") if flow == "is" else cut(a, b, rows, cols, flow)
        reads = [sum(f.a.size for f, _, _ in parts), sum(f.b.size for f, _, _ in parts)]
        if flow == "is":
            reads.reverse()
        writes = sum(f.a.shape[0] * f.b.shape[1] for f, _, _ in parts)
        operations = elector.simulate(
            write(tmp_path, [shape]),
            "systolic",
            operations=True,
            settings={
                "accelerator.rows": rows,
                "accelerator.cols": cols,
                "accelerator.dataflow": flow,
            },
        )["operations"]
        assert isinstance(operations, list)
        (ours,) = operations
        assert [ours["a_reads"], ours["b_reads"], ours["out_writes"]] == [*reads, writes]
        assert ours["out_reads"] == writes - shape[0] * shape[2]


def test_work_that_is_not_streamed_passes_the_memory_on_chip() -> None:
    """BERT-tiny, two sequences of 64: bias of q, k, v, two residuals, GELU, tanh of the pooler."""
    sizes: dict[str, Any] = {"batch": 2, "sequence_length": 64, "accelerator__sram": 1e12}
    apart, fused = (inside("bert-tiny", **sizes, accelerator__fuse=f) for f in (False, True))
    elements = 2 * 2 * 64 * (3 * 128 + 2 * 128 + 512) + 2 * 128
    for action in ("sram read", "sram write"):
        more = apart.activity.counts[action].total() - fused.activity.counts[action].total()
        assert more[0] == 2 * elements, action


@pytest.mark.parametrize(
    ("key", "value"),
    [("sram_bandwidth", "1 GB/s"), ("preload", "serial"), ("fuse", "false")],
)
@pytest.mark.parametrize("model", ["gemm:512x1024x2048", "bert-tiny"])
@pytest.mark.parametrize("convention", ["physical", "scalesim"])
def test_settings_that_a_convention_leaves_idle_are_said(
    key: str, value: str, model: str, convention: str
) -> None:
    """Figures move if and only if nothing is said: the peer knows no port and no preloading, and
    a list has nothing that could stream behind a product."""
    base: dict[str, object] = {"accelerator.convention": convention}
    plain, given = (
        dict(elector.simulate(model, "systolic", settings=base | more))
        for more in ({}, {f"accelerator.{key}": value})
    )
    notes = given.pop("notes")
    for result in (plain, given):
        result.pop("notes", None)
        result.pop("settings")
    assert isinstance(notes, list)
    said = [note for note in notes if note.startswith(f"accelerator.{key} changes nothing")]
    assert len(said) == (plain == given)
    idle = model[:4] == "gemm" if key == "fuse" else convention == "scalesim"
    assert len(said) == idle


def test_copies_of_an_array_that_the_peer_has_once_are_refused() -> None:
    """Else they would cost area and energy, and save no cycle."""
    settings: dict[str, object] = {"accelerator.convention": "scalesim"}
    for count, runs in ((1, True), (2, False), (4, False)):
        settings["accelerator.arrays"] = count
        result = elector.simulate("gemm:512x1024x2048", "systolic", settings=settings)
        assert result["feasible"] is runs
    assert "SCALE-Sim has one array" in str(result["reason"])
    settings["accelerator.convention"] = "physical"
    assert elector.simulate("gemm:512x1024x2048", "systolic", settings=settings)["feasible"]


def test_loading_ahead_is_a_permission_of_mean_sizes_too() -> None:
    """Of causal attention each query sees another number of keys: their mean has no last fold, so
    that what is loaded ahead was taken to wait for the largest (.04 % slower in all)."""
    design = {
        "workload.sequence_length": 115,
        "workload.attention": "flash",
        "model.layers": 2,
        "model.heads": 1,
        "model.hidden": 8,
        "model.head_size": 1,
        "accelerator.rows": 58,
        "accelerator.cols": 3132,
        "accelerator.arrays": 1,
    }
    slow, fast = (
        elector.simulate("decoder", "systolic", settings=design | {"accelerator.preload": way})
        for way in ("serial", "overlap")
    )
    assert fast["latency_s"] <= slow["latency_s"]
