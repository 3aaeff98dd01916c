"""What causal masks and windows hide: counted key by key, skipped by fused kernels only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import inside, operations

import elector
from elector.machines.systolic.folds import mean_folds
from elector.operations import Operations
from elector.operations.roles import Role, RowPart

SMALL: dict[str, Any] = {
    "model__layers": 2,
    "model__hidden": 64,
    "model__heads": 4,
    "model__feed_forward": 96,
    "model__vocabulary": 100,
    "batch": 3,
}


def seen(length: int, window: int) -> int:
    """Pairs of a query and a key that a mask leaves, one after another."""
    return sum(
        1
        for query in range(length)
        for key in range(length)
        if key <= query and (not window or key > query - window)
    )


@pytest.fixture
def windowed(tmp_path: Any) -> Any:
    """A small decoder with a window."""

    def write(window: int) -> str:
        path = tmp_path / f"window{window}.yaml"
        path.write_text(f"base: mistral-7b\nname: windowed\nwindow: {window}\n")
        return str(path)

    return write


def attention(ops: Operations) -> dict[tuple[str, str], float]:
    """(word, phase) -> multiply-accumulates, or elements, of one run for one head and sequence."""
    heads = 3 * 4
    by_row = {}
    for r, row in enumerate(ops.rows):
        if row.in_attention:
            size = ops.batch[r] * ops.m[r] * ops.k[r] * ops.n[r]
            by_row[row.word, row.phase] = float(size[0]) / heads
    return by_row


@pytest.mark.parametrize("kernel", ["fused", "flash"])
@pytest.mark.parametrize(("length", "window"), [(33, 0), (64, 0), (40, 7), (24, 24), (24, 100)])
@pytest.mark.parametrize(
    "more", [{}, {"mode": "training"}, {"mode": "training", "activations": "recompute"}]
)
def test_fused_kernels_compute_what_the_mask_leaves(
    kernel: str, length: int, window: int, more: dict[str, Any], windowed: Any
) -> None:
    settings = SMALL | {"model__kv_heads": 4, "sequence_length": length, "attention": kernel} | more
    by_row = attention(operations(windowed(window), **settings))
    pairs, size = seen(length, window), 16
    assert by_row
    for (word, phase), work in by_row.items():
        vector = "softmax" in word or "dropout" in word
        expected = pairs if vector else pairs * size
        assert work == pytest.approx(expected, rel=1e-14), (word, phase)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("model", ["gpt2", "llama-2-7b", "t5-base"])
def test_dense_counts_are_those_of_the_whole_square(model: str, mode: str) -> None:
    """`macs` stays; what is executed follows the kernel."""
    settings = SMALL | {"sequence_length": 96, "mode": mode}
    plain, fused = (operations(model, attention=a, **settings) for a in ("unfused", "fused"))
    assert plain.macs[0] == plain.executed[0] == fused.macs[0]
    causal = [
        r
        for r, row in enumerate(plain.rows)
        if row.matmul and row.in_attention and not row.cross and row.layer_word != "encoder"
    ]
    whole = sum(
        float((plain.count * plain.batch * plain.m * plain.k * plain.n)[r, 0]) for r in causal
    )
    hidden = 1.0 - (96 + 1) / (2 * 96)
    assert plain.executed[0] - fused.executed[0] == pytest.approx(hidden * whole, rel=1e-12)
    flash = operations(model, attention="flash", **settings)
    again = 0.0 if mode == "inference" else 0.25  # scores once more, beside four gradients
    square = sum(
        float((plain.count * plain.batch * plain.m * plain.k * plain.n)[r, 0])
        for r, row in enumerate(plain.rows)
        if row.matmul and row.in_attention and row.phase == "backward"
    )
    assert flash.macs[0] == plain.macs[0] + again * square


@pytest.mark.parametrize("kernel", ["unfused", "fused", "flash"])
def test_what_sees_everything_computes_everything(kernel: str) -> None:
    """Bidirectional and cross attention, and tokens that are generated one by one."""
    settings = SMALL | {"sequence_length": 50, "attention": kernel}
    for model, more in (("bert-base", {"mode": "training"}), ("bert-base", {})):
        ops = operations(model, **settings, **more)
        assert ops.executed[0] == ops.macs[0]
    ops = operations("t5-base", mode="training", **settings)
    for r, row in enumerate(ops.rows):
        if row.matmul and row.in_attention and (row.cross or row.layer_word == "encoder"):
            assert not row.grows and not ops.reach[r].any()
    ops = operations("gpt2", generate=9, **settings)
    for r, row in enumerate(ops.rows):
        if row.phase == "decode":
            assert not ops.reach[r].any()


def test_keys_and_values_are_read_whole_and_written_scores_in_part() -> None:
    settings = SMALL | {"sequence_length": 80, "precision": "bf16"}
    plain, fused = (operations("gpt2", attention=a, **settings) for a in ("unfused", "fused"))
    for role in (Role.SCORES, Role.CONTEXT):
        (p,), (f,) = (ops.where(role=role, part=RowPart.FORWARD) for ops in (plain, fused))
        assert fused.b_bytes[f, 0] == plain.b_bytes[p, 0]
    (f,) = fused.where(role=Role.SCORES)
    assert fused.out_bytes[f, 0] == 2 * 12 * seen(80, 0)
    k, n = fused.whole_sides()
    assert (k[f, 0], n[f, 0]) == (16, 80)
    # Memory is set aside for the whole square.
    sizes = settings | {"mode": "training"}
    kept = [
        operations("gpt2", attention=a, **sizes).memory["activations"][0]
        for a in ("unfused", "fused")
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("length", [1, 7, 128, 300, 1024])
@pytest.mark.parametrize("side", [16, 128])
def test_folds_of_an_array_are_those_of_blocks_on_or_below_the_diagonal(
    length: int, side: int
) -> None:
    """The rows' k or n runs over 1 ... L: an array of `side` columns takes, for each query, the
    folds up to its own key."""
    ops = operations("gpt2", attention="flash", sequence_length=length, model__layers=1)
    (r,) = ops.where(role=Role.SCORES)
    folds = mean_folds(ops.n[r], ops.span[r], np.array([float(side)]))[0] * length
    assert folds == pytest.approx(
        sum(-(-(query + 1) // side) for query in range(length)), rel=1e-12
    )


def of_one_sequence(ops: Operations) -> float:
    """Bytes of the cache for each sequence, layer, number of a head, head, and key or value."""
    return float(ops.memory["cache"][0]) / (3 * 2 * 16 * 4 * 2 * 2)


@pytest.mark.parametrize("window", [1, 7, 32, 40, 100])
@pytest.mark.parametrize("kernel", ["unfused", "fused", "flash"])
def test_a_window_for_a_decoder_that_has_none(kernel: str, window: int) -> None:
    """`model.window` gives all layers of full attention one: key by key as in a file's window."""
    settings = SMALL | {"attention": kernel, "sequence_length": 40, "precision": "bf16"}
    ops = operations("gpt2", model__window=window, **settings)
    pairs = seen(40, window) if kernel != "unfused" else 40 * 40
    for (word, _), work in attention(ops).items():
        assert work == pytest.approx(pairs * (1 if "softmax" in word else 16), rel=1e-14), word
    assert ops.macs[0] == operations("gpt2", **settings).macs[0]
    served = operations("gpt2", model__window=window, generate=9, **settings)
    assert of_one_sequence(served) == min(window, 40 + 8)
    rows = served.where(role=Role.SCORES, phase="decode")
    keys = sum(float((served.count * served.n)[r, 0]) / 2 for r in rows)
    assert keys == sum(min(window, 40 + token) for token in range(1, 9))


@pytest.mark.parametrize("window", [1, 2, 7, 32, 76, 77, 78, 79, 200])
@pytest.mark.parametrize("kernel", ["unfused", "fused", "flash"])
@pytest.mark.parametrize("model", ["bert-tiny", "t5-base"])
def test_a_window_for_an_encoder_that_has_none(kernel: str, window: int, model: str) -> None:
    """Half of it lies on each side of a query; the decoder beside an encoder keeps its own."""
    settings = SMALL | {"attention": kernel, "sequence_length": 40, "model__window": window}
    ops = operations(model, **settings)
    near = sum(abs(a - b) <= window // 2 for a in range(40) for b in range(40))
    pairs = 40 * 40 if kernel == "unfused" else near
    own = [r for r, row in enumerate(ops.rows) if row.role == Role.SCORES and not row.cross]
    work = [float((ops.m * ops.n)[r, 0]) for r in own if ops.rows[r].layer_word != "decoder"]
    assert work and work == pytest.approx([pairs] * len(work), rel=1e-14)
    decoders = [float((ops.m * ops.n)[r, 0]) for r in own if ops.rows[r].layer_word == "decoder"]
    whole = seen(40, 0) if kernel != "unfused" else 40 * 40
    assert decoders == pytest.approx([whole] * len(decoders), rel=1e-14)


def test_a_wider_window_is_never_less_work(windowed: Any) -> None:
    settings = SMALL | {"model__kv_heads": 2, "sequence_length": 64, "attention": "flash"}
    work = [operations(windowed(w), **settings).executed[0] for w in (1, 5, 32, 63, 64, 65, 0)]
    assert work == sorted(work)
    assert work[-1] == work[-2] == work[-3]


MACHINES = ("systolic", "acceltran-edge", "a100-sxm-80gb")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_causality_is_free_nowhere(machine: str, mode: str) -> None:
    """Flash attention takes about half of the seconds and joules, unfused all of them."""
    settings = {
        "model__layers": 1,
        "model__hidden": 256,
        "model__heads": 4,
        "model__feed_forward": 256,
        "model__vocabulary": 256,
        "model__head": "none",
        "model__positions": 4096,
        "sequence_length": 4096,
        "batch": 16,  # enough blocks that no SM waits for the longest
        "mode": mode,
        "accelerator__memory_capacity": "10 TB",
    }

    def seconds(model: str, kernel: str) -> float:
        stack = "eager" if machine.startswith("a100") else "auto"
        chunk = inside(model, machine, attention=kernel, implementation=stack, **settings)
        rows = [r for r, row in enumerate(chunk.ops.rows) if row.in_attention]
        return float(chunk.activity.alone[rows, 0].sum())

    assert 0.5 <= seconds("decoder", "flash") / seconds("encoder", "flash") < 0.6
    # The square of an unfused product is computed whole; its mask is one addition.
    assert 1.0 <= seconds("decoder", "unfused") / seconds("encoder", "unfused") < 1.1


@pytest.mark.parametrize("machine", MACHINES)
def test_utilization_is_of_what_is_executed(machine: str) -> None:
    chunk = inside("gpt2", machine, attention="flash", sequence_length=1024)
    ops = chunk.ops
    assert chunk.activity.executed[0] == ops.executed[0] < ops.macs[0]
    flash: dict[str, object] = {
        "workload.attention": "flash",
        "accelerator.memory_capacity": "10 TB",
    }
    explained: Any = elector.explain("gpt2", machine, result="macs", settings=flash)
    assert sum(float(t["value"]) for t in explained["terms"]) == explained["value"]


@pytest.mark.parametrize(("model", "group"), [("gpt2", 1), ("mistral-7b", 4)])
def test_a_query_of_decoding_reads_the_cache(model: str, group: int) -> None:
    """What a machine needs for a pass over the cache: the class, the queries of a key head."""
    ops = operations(model, generate=16, batch=2, model__layers=2)
    rows = [r for r, row in enumerate(ops.rows) if row.b == "cache"]
    assert {ops.rows[r].role for r in rows} == {Role.SCORES, Role.CONTEXT}
    for r in rows:
        assert ops.m[r, 0] == group and ops.rows[r].phase == "decode"
        side = {"n": ops.n, "k": ops.k}[ops.rows[r].grows]
        assert side[r, 0] == 128 + 8  # 15 tokens see 129 ... 143 keys
