"""Measured GPU rows as settings of this program, for fitting and for the error report.

The files are those of the reference folder (never part of this repository): gpu_measured.csv,
gpu_gemm_a100.csv, gpu_ops_llmcompass.csv, gpu_power.csv.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elector.base.table import Column
from elector.cost.power import limit
from elector.cost.pricing import price
from elector.cost.schedule import schedule
from elector.describe.numbers import precisions
from elector.evaluation.resolve import UNFUSED, resolve
from elector.machines.contract import Machine, Units
from elector.machines.gpu import machine as gpu
from elector.machines.gpu.stacks import VARIANTS
from elector.operations import build
from elector.operations.collect import TABLES, Collector, Shape, Sizes
from elector.operations.roles import ModelSection, Place, Role
from elector.operations.rows import Operations, Row
from elector.operations.scope import formula
from elector.studies import validation_cases
from elector.technology import Technology

Array = np.ndarray
Record = dict[str, str]

#: Heads of the workloads: what stands on top decides little, but not nothing.
HEADS = {
    "bert-large-pretrain-phase1": "masked-lm",
    "bert-large-pretrain-phase2": "masked-lm",
    "bert-base-encoder-infer": "none",
    "bert-large-mrpc-infer": "classifier",
    "bert-large-sst-2-infer": "classifier",
    "bert-base-infer": "pooler",
}
#: Of the rows of eager inference the table names no device; their rates are an A100's.
BOARDS = {"A100?": "A100-SXM-40GB"}
#: The full reports behind some tables name an A100-SXM4-80GB at one EPYC 7742 with 512 GB, that of
#: fast-mteb four of them (examples/*/artifacts/**/full_report.csv of the repository): taken for a
#: DGX Station A100, whose boards are held to 275 W, as nvidia-smi says on others (its 1.5 kW would
#: not do for four of 400). The reports themselves state no limit.
STATION = "huggingface/optimum-benchmark"
OF_STATION = {"accelerator": "a100-sxm-80gb", "accelerator.power_limit": "275 W"}
#: Boards of a DGX-2, which the rows name. Of a Tesla V100-SXM3-32GB the driver says 981 GB/s, and
#: cuBLAS reaches 16.1 Tflop/s in fp32 on it, more than 15.7 at 1,530 MHz (logs in the README of a
#: public repository, "GEMM CUDA Optimization"). 1,597 MHz is second-hand; rates follow from it.
DGX2 = "V100 SXM3 350W"
OF_DGX2 = {
    "accelerator.bandwidth": "981 GB/s",
    "accelerator.boost_clock": "1597 MHz",
    "accelerator.fp16_rate": 1.308e14,
    "accelerator.fp32_rate": 1.635e13,
    "accelerator.power_limit": "350 W",
    "accelerator.tdp": "350 W",
}
#: Rows that their own table contradicts: one board is slower than each of four, which exchange
#: gradients besides, by 8, 5 and 37 % (README.md of TensorFlow/LanguageModeling/BERT: 168.63 beside
#: 730.25, 188.04 beside 790.89, and 35.32, with a batch that is not the global one, beside 193.08).
CONTRADICTED = ("dle-tf1-bert-019", "dle-tf1-bert-037", "dle-tf1-bert-038")
#: Fine-tuning of TensorFlow 1 in fp32 on V100, which XLA has done nothing for: 7.36 sequences a
#: second (batch 2) were 7.35 in the README of 19.08 and 7.19 in that of 19.06, while pre-training
#: in fp32 went from 23.9 to 39.43 and fine-tuning in fp16 from 17 to 30; run_squad.py asks for
#: resource variables beside XLA with mixed precision alone. Why an A100 in tf32 does not show it
#: is open. Without XLA the stack is another, which is not modelled: compared with, not fitted on.
WITHOUT_XLA = ("dle-tf1-bert-014", "dle-tf1-bert-032", "dle-tf1-bert-070")
#: What a row of FasterTransformer says of its int8_mode -> the stack that is.
MODES = {"int8 variant v1": "fastertransformer-int8-v1"}
#: FasterTransformer ran its V100 rows at this clock, and the baselines beside it.
CLOCKS = {("V100-SXM-16GB", "bert-base-encoder-infer"): "1380 MHz"}
#: Host of a workload of that document over the one beside it: its T4 stands in a server with a Xeon
#: E5-2670 of 2012, its V100 in a DGX-1 with E5-2698 v4 (bert_guide.md, "Hardware settings").
#: TorchScript in fp16 waits for its host there at batch 1, whatever the length: medians of 6.99 ms
#: on the V100 and 10.51 ms on the T4, none of these rows left out.
HOSTS = {("T4-16GB", "bert-base-encoder-infer"): 0.665}
FAMILIES = {"A100": "A100", "V100": "V100", "T4": "T4"}


@dataclass(frozen=True)
class Steps:
    """Measured steps: settings for `elector.evaluate`, seconds of one micro-batch."""

    records: list[Record]
    settings: list[dict[str, object]]
    seconds: Array

    def take(self, keep: Array) -> Steps:
        """The rows where `keep` (D,) holds."""
        at = np.nonzero(keep)[0]
        return Steps(
            [self.records[i] for i in at], [self.settings[i] for i in at], self.seconds[at]
        )

    def joined(self, other: Steps) -> Steps:
        """These rows and those of another table behind them."""
        return Steps(
            self.records + other.records,
            self.settings + other.settings,
            np.concatenate((self.seconds, other.seconds)),
        )

    def where(self, **wanted: str) -> Array:
        """(D,) whether the fields of a row equal all of `wanted`."""
        return np.array([all(r[k] == v for k, v in wanted.items()) for r in self.records])


def read(path: Path) -> list[Record]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def steps(folder: Path) -> Steps:
    """Rows of gpu_measured.csv of a stack the program knows (paddle is none), on one device."""
    records = [
        {**r, "implementation": _stack(r)}
        for r in read(folder / "gpu_measured.csv")
        if r["implementation"] in gpu.IMPLEMENTATIONS and r["n_devices"] == "1"
    ]
    return _as_steps(records)


def _stack(r: Record) -> str:
    """The stack of a row: that of its mode, where what runs follows that."""
    return next((s for mode, s in MODES.items() if mode in r["notes"]), r["implementation"])


def eager_inference(folder: Path) -> Steps:
    """Rows of gpu_engines.csv of a BERT in eager PyTorch: the only ones of that stack and mode."""
    records = [
        {**r, "device": BOARDS.get(r["device"], r["device"])}
        for r in read(folder / "gpu_engines.csv")
        if r["implementation"] == "eager" and r["workload"] == "bert-base-infer"
    ]
    return _as_steps(records)


def _as_steps(records: list[Record]) -> Steps:
    seconds = []
    for r in records:
        value = float(r["value"])
        batch = float(r["batch_per_device"])
        seconds.append(value * 1e-3 if r["metric"] == "step_ms" else batch / value)
    return from_records(records, [located(r, _settings(r)) for r in records], seconds)


def from_records(
    records: list[Record], settings: list[dict[str, object]], seconds: list[float]
) -> Steps:
    """Rows with the settings and seconds that were read from them."""
    given = [{k: v for k, v in s.items() if v is not None} for s in settings]
    return Steps(records, given, np.array(seconds))


def left_out(rows: Steps) -> Array:
    """(D,) rows that the rule of elector.studies.validation_cases keeps out of every fit, and those
    of which all is counted and nothing fitted."""
    pairs = zip(rows.records, rows.settings, strict=True)
    return np.array([is_left_out(r, s) for r, s in pairs])


def is_left_out(record: Record, settings: dict[str, object]) -> bool:
    """The same of one row. What FasterTransformer moves in int8 was read in its source, for both
    modes; its host and its kernels are those of fp32 and fp16, on whose rows they are fitted.
    Rows of a stack that is not modelled are compared with the one that comes next to it."""
    stack = VARIANTS.get(record["implementation"], record["implementation"])
    counted = stack == "fastertransformer" and record["dtype"] == "int8"
    other = record["id"] in WITHOUT_XLA
    return counted or other or left_out_by(first_read(record, settings))


def located(record: Record, settings: dict[str, object]) -> dict[str, object]:
    """The settings with the board that a row was measured on."""
    if DGX2 in record.get("notes", ""):
        return settings | OF_DGX2
    return settings | OF_STATION if STATION in record["source"] else settings


def first_read(record: Record, settings: dict[str, object]) -> dict[str, object]:
    """The settings as they were when rows were drawn: what was learnt of a board or a stack later
    moves no row from those that are fitted on to those that are left out, or back."""
    stack = str(settings["workload.implementation"])
    settings = settings | {"workload.implementation": VARIANTS.get(stack, stack)}
    learnt = {"accelerator.host_speed"}
    if DGX2 in record.get("notes", ""):
        learnt |= OF_DGX2.keys()
    if settings.get("workload.generate") == 1:
        # prompts of engines, which were taken for passes with the words of every token
        learnt.add("workload.generate")
        if settings.get("model.positions") == 1 + int(record["seq"]):
            settings["model.positions"] = int(record["seq"])
    settings = {k: v for k, v in settings.items() if k not in learnt}
    if STATION not in record["source"]:
        return settings
    board = BOARDS.get(record["device"], record["device"]).lower()
    first = {k: v for k, v in settings.items() if k not in OF_STATION}
    return first | {"accelerator": board}


def left_out_by(settings: dict[str, object], metric: str = "latency_s") -> bool:
    """The same of one row, by its settings as they were when the rule was written down."""
    rest = {k: v for k, v in settings.items() if "." in k}
    model, accelerator = str(settings["model"]), str(settings["accelerator"])
    return validation_cases.left_out(model, accelerator, validation_cases.as_text(rest), metric)


def _settings(r: Record) -> dict[str, object]:
    training = r["mode"] == "train"
    # These repositories' "fp16" is automatic mixed precision, in inference as in training.
    mixed = r["dtype"] == "fp16" and r["workload"] != "bert-base-encoder-infer"
    # Their PyTorch fine-tuning takes the fused optimizer with mixed precision only.
    plain = (
        "finetune" in r["workload"]
        and r["implementation"] == "eager"
        and (r["dtype"] != "fp16-amp")
    )
    settings: dict[str, object] = {
        "model": "bert-large" if r["layers"] == "24" else "bert-base",
        "accelerator": r["device"].lower(),
        "model.head": HEADS.get(r["workload"], "question-answering"),
        "workload.mode": "training" if training else "inference",
        "workload.batch": int(float(r["batch_per_device"])),
        "workload.sequence_length": int(r["seq"]),
        "workload.precision": "fp16-amp" if mixed else r["dtype"],
        "workload.optimizer_kernels": "plain" if plain else "auto",
        "workload.implementation": r["implementation"],
        # In 16 and 8 bits it has a kernel for all of attention, from Turing on.
        "workload.attention": "flash" if _one_kernel(r) else None,
        "workload.gradient_accumulation": int(r["grad_accum"]),
        "workload.optimizer": "lamb" if "pretrain" in r["workload"] else "adamw",
        "accelerator.clock": CLOCKS.get((r["device"], r["workload"])),
        "accelerator.host_speed": HOSTS.get((r["device"], r["workload"])),
    }
    return settings


def _one_kernel(r: Record) -> bool:
    narrow = r["dtype"] in ("fp16", "int8")
    own = VARIANTS.get(r["implementation"], r["implementation"]) == "fastertransformer"
    return narrow and own and r["device"].startswith("T4")


def columns(settings: list[dict[str, object]]) -> dict[str, Column]:
    """Columns for `elector.evaluate`."""
    cells = [{"workload.attention": UNFUSED} | s for s in settings]  # where a row names no other
    keys = dict.fromkeys(key for s in cells for key in s)
    return {key: Column.of([s.get(key) for s in cells]) for key in keys}


def suspect(rows: Steps) -> Array:
    """(D,) rows whose own source doubts or contradicts them."""
    return np.array(["suspect" in r["flag"] or r["id"] in CONTRADICTED for r in rows.records])


def family(record: Record) -> str:
    """Chip family of a row's device."""
    device = record["device"]
    return next((name for prefix, name in FAMILIES.items() if device.startswith(prefix)), device)


@dataclass(frozen=True)
class Compiled:
    """Groups of designs with their operations and plans, to be timed again and again."""

    parts: list[tuple[Array, gpu.PreparedGpu, object]]
    machine: Machine
    size: int
    scale: Array  # seconds of a design over those of one measured step

    def seconds(self, constants: gpu.Constants, stacks: dict[str, dict[str, float]]) -> Array:
        """(D,) seconds under other constants."""
        return self.timed(constants, stacks)[0]

    def timed(
        self, constants: gpu.Constants, stacks: dict[str, dict[str, float]]
    ) -> tuple[Array, Array]:
        """(D,) seconds and (D,) watts."""
        times, watts = np.empty(self.size), np.empty(self.size)
        for rows, prepared, prices in self.parts:
            w = prepared.ops.workload
            stack = stacks[w.implementation]
            now = replace(
                prepared,
                constants=constants,
                stack=stack,
                kernels=gpu.kernels(prepared.ops.rows, stack, w),
                passes=gpu.passes(prepared.ops.rows, stack, w),
            )
            activity, priced = limit(
                prepared.ops, prepared.index, now.activity(slice(None)), prices, self.machine
            )
            timing = schedule(prepared.ops, prepared.index, activity)
            times[rows] = timing.seconds / self.scale[rows]
            joules = sum(
                (priced.actions[n].total(c) for n, c in activity.counts.items()),
                np.zeros(1),
            )
            idle = sum((r.value for r in priced.leakage.values()), np.zeros(1))
            watts[rows] = joules / timing.seconds + idle
        return times, watts


def compile_steps(rows: Steps, only: Callable[[Row], bool] | None = None) -> Compiled:
    """Operations and plans of measured steps.

    only : says which rows of a step run; all by default.
    """
    technology, parts = Technology.load(), []
    size = len(rows.records)
    for group in resolve(columns(rows.settings), size):
        ops = build(group.models, group.workload)
        if only is not None:
            runs = np.array([only(row) for row in ops.rows])[:, None]
            ops = replace(ops, count=np.where(runs, ops.count, 0.0))
        prepared = gpu.prepare(ops, group.pair, group.units, False)
        prices = price(gpu.GPU, group.units, ops.format.compute, technology)
        parts.append((group.rows, prepared, prices))
    passes = [float(str(s.get("workload.gradient_accumulation", 1))) for s in rows.settings]
    return Compiled(parts, gpu.GPU, size, np.array(passes))


# ---- single operations ----

#: Vector operation -> its role and kind.
VECTORS = {
    "softmax": (Role.SOFTMAX, "softmax"),
    "layer_norm": (Role.ATTENTION_NORM, "norm"),
    "gelu": (Role.FEED_FORWARD_ACTIVATION, "activation"),
}


def operations(
    m: Array,
    k: Array,
    n: Array,
    *,
    kind: str = "linear",
    batch: Array | float = 1.0,
    precision: str = "fp16",
    stack: str = "compiled",
) -> Operations:
    """One operation for each of N shapes, as its own step (kind: linear or a vector operation of
    data/vector_operations.csv, then m elements)."""
    some = np.zeros(m.size, dtype=np.intp)
    cells = [
        {
            "model": "bert-tiny",
            "accelerator": "b200-sxm-192gb",
            "workload.precision": precision,
            "workload.implementation": stack,
            "workload.attention": "unfused",
        }
    ]
    group = next(iter(resolve(columns(cells), 1)))
    whole = build(group.models, group.workload)
    out = Collector(m.size, precisions()[precision])
    one, place = np.ones(m.size), Place(ModelSection.LIST, variant="operation")
    streams = {"a": "stream", "out": "stream"}
    if kind == "linear":
        row = Row(Role.PRODUCT, place, "forward", "linear", True, b="weight", **streams)
        out.matmul(row, one, Shape(batch, m, k, n), (None, None))
    else:
        role, title = VECTORS[kind]
        simple, special = formula(kind)
        row = Row(role, place, "forward", title, False, simple=simple, special=special, **streams)
        out.vector(row, one, m, Sizes(), (None, None))
    values = {name: np.broadcast_to(out.table(name), (1, m.size)) + 0.0 for name in TABLES}
    macs = values["batch"][0] * m * k * n * (kind == "linear")
    nothing = {name: 0.0 * one for name in whole.memory}
    return Operations(
        tuple(out.rows),
        **values,
        a_width=out.widths("a_width"),
        b_width=out.widths("b_width"),
        out_width=out.widths("out_width"),
        parameters=0.0 * one,
        in_use=0.0 * one,
        active=0.0 * one,
        memory=nothing,
        macs=macs,
        executed=macs,
        layers=one,
        streams=one,
        heads=one,
        tables=0.0 * one,
        format=precisions()[precision],
        workload=whole.workload.take(some),
        graph=out.graph(values["count"]),
        rewritten=np.zeros(len(out.rows), dtype=bool),
    )


def compile_operations(
    ops: Operations, device: str, precision: str = "fp16", limit: str = ""
) -> Compiled:
    """Single operations on one device; limit : of its power, "" as its data sheet has it."""
    size = ops.count.shape[1]
    cells = [
        {
            "model": "bert-tiny",
            "accelerator": device,
            "workload.precision": precision,
            "workload.implementation": "compiled",
            "workload.attention": "unfused",
            "accelerator.power_limit": limit or None,
        }
    ] * size
    units: Units = next(iter(resolve(columns(cells), size))).units
    prepared = gpu.prepare(ops, np.arange(size), units, False)
    prices = price(gpu.GPU, units, precision, Technology.load())
    return Compiled([(np.arange(size), prepared, prices)], gpu.GPU, size, np.ones(size))


def gemms(folder: Path) -> tuple[Array, Array, Array, Array, Array]:
    """m, k, n, seconds of gpu_gemm_a100.csv, and whether a row may be fitted on (hash of its
    shape: the other half is kept out)."""
    records = read(folder / "gpu_gemm_a100.csv")
    m, k, n, t = (
        np.array([float(r[c]) for r in records]) for c in ("M", "K", "N", "time_s_median")
    )
    half = np.array(
        [hashlib.sha256(f"{r['M']},{r['N']},{r['K']}".encode()).digest()[0] < 128 for r in records]
    )
    return m, k, n, t, half


Tables = dict[str, dict[str, float]]


def kernel_only(tables: Tables) -> Tables:
    """Stacks without a host: micro-benchmarks time kernels behind one another."""
    return {s: {**t, "host": 0.0, "step": 0.0, "forward": 1.0} for s, t in tables.items()}


@dataclass(frozen=True)
class Micro:
    """Rows of one operation of gpu_ops_llmcompass.csv on one device.

    floor : seconds of the fastest row: the launch as that benchmark saw it, which differs from
    operation to operation (13 to 53 us) and is added, as the publication does.
    fit : rows that may be fitted on.
    """

    name: str
    compiled: Compiled
    seconds: Array
    floor: float
    fit: Array


def micro(folder: Path, device: str = "A100", preset: str = "a100-sxm-80gb") -> list[Micro]:
    """The rows of one device of gpu_ops_llmcompass.csv."""
    records = [r for r in read(folder / "gpu_ops_llmcompass.csv") if r["device"] == device]
    measured = []
    kinds = {"matmul": "linear", "softmax": "softmax", "layernorm": "layer_norm", "gelu": "gelu"}
    for name, kind in kinds.items():
        rows = [r for r in records if r["op"] == name]
        m, n, k = (np.array([float(r[c] or 1.0) for r in rows]) for c in ("M", "N", "K"))
        ops = operations(m, k, n) if kind == "linear" else operations(m * n, k, n, kind=kind)
        seconds = np.array([float(r["time_s"]) for r in rows])
        half = np.array([hashlib.sha256(r["shape"].encode()).digest()[0] < 128 for r in rows])
        compiled = compile_operations(ops, preset)
        measured.append(Micro(name, compiled, seconds, float(seconds.min()), half))
    return measured


def micro_seconds(o: Micro, constants: gpu.Constants, alone: Tables) -> Array:
    """Predicted seconds. Products were timed behind one another, so the launch hides behind
    large ones; the other operations were timed one by one."""
    device = o.compiled.seconds(constants, alone)
    if o.name == "matmul":
        return np.maximum(device, o.floor)
    return device + o.floor - alone["compiled"]["kernel"]
