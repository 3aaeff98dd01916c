"""What kernels hand to one another in 8 bits: the two modes of FasterTransformer, and variants."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from builders import inside

import elector
from elector.base.table import DATA, read_rows
from elector.evaluation.path import Chunk
from elector.events.timeline import timeline
from elector.machines.gpu import between, cited, kernels, machine, stacks
from elector.operations.roles import Role
from elector.operations.rows import Operations

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NARROW, WIDE = "fastertransformer", "fastertransformer-int8-v1"
TOKENS, HIDDEN = 8 * 384, 768


def operations(stack: str, **settings: object) -> Operations:
    """Of bert-base in int8 on a T4, 8 sequences of 384 tokens."""
    asked = {"batch": 8, "sequence_length": 384, "precision": "int8", "attention": "flash"}
    own = {f"workload.{key}": value for key, value in {**asked, **settings}.items()}
    chunk = inside("bert-base", "t4-16gb", **own, **{"workload.implementation": stack})
    return between.handed_on(chunk.ops, stacks.stacks()[stack])


@pytest.mark.parametrize(
    ("role", "narrow", "wide"),
    [
        # BertLayerINT8.cc, FusedAttentionLayerINT8.cu, FfnLayerINT8.cc of FasterTransformer: bytes
        # of an element read, read beside it, and written, with int8_mode 2 and 1
        (Role.QUERY, (1, 1), (1, 4)),
        (Role.PROJECTION_BIAS, (1, 1), (4, 1)),
        (Role.OUTPUT, (1, 1), (1, 4)),
        (Role.ATTENTION_RESIDUAL, (1, 1), (4, 2)),
        (Role.ATTENTION_NORM, (1, 1), (2, 2)),
        (Role.FEED_FORWARD_IN, (1, 1), (1, 4)),
        (Role.FEED_FORWARD_ACTIVATION, (1, 1), (4, 1)),
        (Role.FEED_FORWARD_OUT, (1, 1), (1, 4)),
        (Role.SCORES, (1, 1), (1, 1)),  # inside the one kernel of attention
        (Role.CONTEXT, (1, 1), (1, 1)),
    ],
)
def test_what_a_kernel_reads_and_leaves(role, narrow, wide) -> None:
    for stack, (first, out) in ((NARROW, narrow), (WIDE, wide)):
        ops = operations(stack)
        (row,) = ops.where(role=role)
        assert (ops.a_width[row], ops.out_width[row]) == (first, out), stack


def test_weights_and_their_products_stay_as_they_are() -> None:
    narrow, wide = operations(NARROW), operations(WIDE)
    products = narrow.where(matmul=True)
    assert (wide.b_bytes[products] == narrow.b_bytes[products]).all()
    assert (wide.a_bytes[products] == narrow.a_bytes[products]).all()
    assert wide.macs == narrow.macs


def test_kernels_and_bytes_that_quantise_are_those_of_the_source() -> None:
    """A layer has twelve kernels in mode 2, and quantises its two inputs by itself in mode 1."""
    for stack, count, moved in ((NARROW, 12, 2), (WIDE, 14, 8)):
        ops, table = operations(stack), stacks.stacks()[stack]
        layer = [i for i, row in enumerate(ops.rows) if row.place.in_layers]
        each = stacks.kernels(ops.rows, table, ops.workload) * ops.count[:, 0]
        assert each[layer].sum() == pytest.approx(12 * count)
        elements = ops.a_bytes[:, 0] * stacks.quantised(ops.rows, ops.workload)
        bytes_moved = (elements * ops.count[:, 0])[layer].sum() * table["quantise.bytes"]
        assert bytes_moved == pytest.approx(12 * moved * TOKENS * HIDDEN)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_variant_is_the_stack_it_is_one_of_elsewhere_and_says_so(precision: str) -> None:
    own = {"workload.precision": precision, "workload.batch": 4}
    plain, other = (
        elector.simulate("bert-base", "t4-16gb", settings=own | {"workload.implementation": s})
        for s in (NARROW, WIDE)
    )
    assert other["latency_s"] == plain["latency_s"]
    assert other["energy_j"] == plain["energy_j"]
    said = [n for n in other["notes"] if "differs from fastertransformer" in n]
    assert len(said) == 1 and not any("differs" in n for n in plain["notes"])


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_wide_outputs_cost_time_and_energy(batch: int) -> None:
    own = {"workload.precision": "int8", "workload.batch": batch, "workload.sequence_length": 384}
    narrow, wide = (
        elector.simulate("bert-base", "t4-16gb", settings=own | {"workload.implementation": s})
        for s in (NARROW, WIDE)
    )
    assert narrow["latency_s"] < wide["latency_s"] < 2.5 * narrow["latency_s"]
    assert narrow["energy_j"] < wide["energy_j"]
    assert not any("differs" in note for note in wide["notes"])


@pytest.mark.parametrize("stack", [NARROW, WIDE])
@pytest.mark.parametrize("device", ["t4-16gb", "a100-sxm-40gb"])
@pytest.mark.parametrize("cache", ["", "10 GB"])
def test_events_hand_on_the_same(stack: str, device: str, cache: str) -> None:
    """Bytes of main memory are the plan's in both models: only where a cache holds all there is do
    events count by themselves how wide numbers are between kernels."""
    chunk = _int8(stack, device, cache)
    assert timeline(chunk).seconds == pytest.approx(float(chunk.timing.seconds[0]), rel=0.02)


@pytest.mark.parametrize("device", ["t4-16gb", "a100-sxm-40gb"])
def test_a_missing_hand_over_shows(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In either model, by more than twice what the two may differ by."""
    chunk = _int8(WIDE, device, "10 GB")
    events, formula = timeline(chunk).seconds, float(chunk.timing.seconds[0])
    monkeypatch.setattr(machine, "handed_on", lambda ops, stack: ops)
    assert timeline(chunk).seconds < 0.96 * formula
    assert float(_int8(WIDE, device, "10 GB").timing.seconds[0]) < 0.96 * events


def _int8(stack: str, device: str, cache: str) -> Chunk:
    """32 sequences of 384 tokens in int8, behind a host that decides nothing."""
    asked = {"batch": 32, "sequence_length": 384, "precision": "int8", "implementation": stack}
    own = {"accelerator.l2": cache} if cache else {}
    settings = {f"workload.{key}": value for key, value in asked.items()}
    return inside("bert-base", device, **settings, **own, **{"accelerator.host_speed": 100})


def test_an_only_tile_is_no_faster_than_the_best() -> None:
    chunk = inside("bert-base", "t4-16gb", **{"workload.precision": "int8"})
    units, products = chunk.units, chunk.ops.format.products
    device = machine.device(kernels.constants(), units, products, False)
    sides = np.array([[1.0], [100.0], [300.0], [5000.0]])
    some = np.full((4, 1), 768.0)
    free = kernels.GpuProducts(
        sides, some, some, some / some, some, some, some / some, some < 0.0, splits=1.0
    )
    bound = replace(free, tile=128.0)
    best = kernels.product_seconds(kernels.constants(), device, free)[0]
    only = kernels.product_seconds(kernels.constants(), device, bound)[0]
    assert (only >= best).all() and (only[0] > 1.2 * best[0]).all()
    assert (np.diff(only[:, 0]) >= 0).all()


def test_a_variant_has_but_its_own_constants_and_cites_what_it_takes() -> None:
    tables = stacks.stacks()
    own = {q for q, value in tables[WIDE].items() if value != tables[NARROW][q]}
    assert own == {"quantise.kernels", "quantise.bytes", "outputs.wide"}
    moved = stacks.with_variants({**tables, NARROW: {**tables[NARROW], "host": 1.0}})
    assert moved[WIDE]["host"] == 1.0 and moved["eager"] == tables["eager"]
    asked = {"workload.precision": "int8", "workload.implementation": WIDE}
    chunk = inside("bert-base", "t4-16gb", **asked)
    names = [cell["name"] for cell in cited.cited(chunk.ops, chunk.units)]
    assert {f"{WIDE}.outputs.wide", f"{NARROW}.host", f"{NARROW}.tile.int8"} <= set(names)
    assert len(names) == len(set(names))


def test_every_stack_has_every_constant_once() -> None:
    """Its own, or that of all stacks; a row of its own that says the same is one too many."""
    tables, known = stacks.stacks(), set()
    for row in read_rows(DATA / "implementations.csv"):
        assert (row["stack"], row["quantity"]) not in known
        known.add((row["stack"], row["quantity"]))
    own = {row["stack"] for row in read_rows(DATA / "implementations.csv")}
    assert own == {*stacks.IMPLEMENTATIONS, stacks.ANY}
    assert len({frozenset(table) for table in tables.values()}) == 1
    common = {
        tuple(row.values())[1:]
        for row in read_rows(DATA / "implementations.csv")
        if row["stack"] == stacks.ANY
    }
    twice = [
        row
        for row in read_rows(DATA / "implementations.csv")
        if row["stack"] not in (stacks.ANY, *stacks.VARIANTS) and tuple(row.values())[1:] in common
    ]
    assert not twice


def _rows() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("gpu_rows")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.reference
def test_no_constant_is_fitted_on_a_row_in_8_bits(reference_dir: Path) -> None:
    """And what was learnt of a mode or a server later draws no other row anew."""
    gpu_rows = _rows()
    rows = gpu_rows.steps(reference_dir)
    modes = [r["implementation"] for r in rows.records if r["dtype"] == "int8"]
    assert (modes.count(NARROW), modes.count(WIDE)) == (18, 18)
    out = gpu_rows.left_out(rows)
    for record, settings, left in zip(rows.records, rows.settings, out, strict=True):
        first = gpu_rows.first_read(record, settings)
        assert first["workload.implementation"] != WIDE and "accelerator.host_speed" not in first
        assert "accelerator.bandwidth" not in first
        other = record["dtype"] == "int8" or record["id"] in gpu_rows.WITHOUT_XLA
        assert left == (other or gpu_rows.left_out_by(first))


@pytest.mark.reference
def test_rows_that_contradict_their_table_are_suspect(reference_dir: Path) -> None:
    """Boards of a DGX-2 are built for 350 W, with memory and clock of their own."""
    gpu_rows = _rows()
    rows = gpu_rows.steps(reference_dir)
    suspect = gpu_rows.suspect(rows)
    named = {r["id"] for r, doubted in zip(rows.records, suspect, strict=True) if doubted}
    assert set(gpu_rows.CONTRADICTED) < named
    others = [s for r, s in zip(rows.records, rows.settings, strict=True) if "SXM3" in r["notes"]]
    assert len(others) == 66
    assert {s["accelerator.power_limit"] for s in others} == {"350 W"}
    assert gpu_rows.OF_DGX2["accelerator.fp32_rate"] == pytest.approx(
        2 * 64 * 80 * 1597e6, rel=1e-3
    )
