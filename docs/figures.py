"""Tables of computed figures inside pages that are otherwise written by hand.

A page has `<!-- table NAME -->` and `<!-- /table -->`; what stands between is written from here.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import elector
from elector.base.units import format_si, parse
from elector.machines.gpu.automatic import FACTS, rules
from elector.machines.gpu.stacks import IMPLEMENTATIONS
from elector.technology import ConstantRow, Price, Technology
from transcode import accuracy
from transcode.accuracy import head_types, scaling_law

DOCS = Path(__file__).resolve().parent
DATA = DOCS.parent / "elector" / "data"
MARKS = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n).*?(<!-- /table -->)", re.S)
PICO = 1e12

#: BERT-Tiny on Edge, as its authors' cycle simulator has it: clock [Hz], and cycles by what they do
#: (acceltran2023, full cycle simulation; the whole is a case of `elector validate`).
EDGE_CLOCK = 700e6
RELEASED = {"embedding load": 49_954, "weight load": 20_027, "everything else": 9_343}
RELEASED_BANDWIDTH = 137.438953472e9  # byte/s: acceltran-edge-released


def table(header: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(header), "|".join(["---"] * len(header))]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "".join(f"| {line} |\n" if "---" not in line else f"|{line}|\n" for line in lines)


def edge(accelerator: str, sparsity: str, **settings: object) -> dict[str, float]:
    """Cycles of BERT-Tiny at batch 4 without a head: of each kind of load, and of everything."""
    result: dict[str, Any] = elector.simulate(
        "bert-tiny",
        accelerator,
        operations=True,
        settings={
            "workload.batch": 4,
            "workload.sparsity": sparsity,
            "model.head": "none",
            **{f"accelerator.{key}": value for key, value in settings.items()},
        },
    )
    moved = {True: 0.0, False: 0.0}
    for row in result["operations"]:
        moved[row["kind"] == "embedding"] += row["dram_bytes"]
    cycles = {flag: byte / RELEASED_BANDWIDTH * EDGE_CLOCK for flag, byte in moved.items()}
    whole = result["latency_s"] * EDGE_CLOCK
    return {
        "embedding load": cycles[True],
        "weight load": cycles[False],
        "everything else": whole - sum(cycles.values()),
        "all": whole,
    }


def acceltran_cycles() -> str:
    """The released cycle simulator beside our model under its settings."""
    ours = edge("acceltran-edge-released", "acceltran-released")
    slow = edge("acceltran-edge-released", "acceltran-released", unit_cycles="element")
    published = RELEASED | {"all": sum(RELEASED.values())}
    rows = [
        (
            name,
            f"{published[name]:,}",
            f"{ours[name]:,.0f}",
            f"{round(100 * (ours[name] / published[name] - 1), 1) + 0.0:+.1f} %",
            f"{slow[name]:,.0f}",
        )
        for name in published
    ]
    header = ("cycles", "published", "here", "difference", "here with `unit_cycles: element`")
    return table(header, rows)


def acceltran_rules() -> str:
    """What our own rules change in these cycles, one after the other."""
    steps = (
        ("the settings of the released simulator", "acceltran-edge-released", "acceltran-released"),
        (
            "only the rows that are needed are gathered, weights cross the memory once for the "
            "batch, loads and work overlap; 20 bits an element at 8 bits a byte and 25.6 GB/s",
            "acceltran-edge",
            "acceltran-released",
        ),
        ("half of the weights pruned, too", "acceltran-edge", "acceltran"),
    )
    rows: list[tuple[object, ...]] = [
        (words, f"{edge(accelerator, sparsity)['all']:,.0f}")
        for words, accelerator, sparsity in steps
    ]
    return table(("rule", "cycles"), rows)


def acceltran_orders() -> str:
    """Energy of the buffers under every order of loops, over that of the best."""
    orders = next(
        row["choices"].split("|")
        for row in read(DATA / "schema" / "acceltran.csv")
        if row["key"] == "loop_order"
    )
    energy = {}
    for order in orders:
        result: dict[str, Any] = elector.simulate(
            "bert-base",
            "acceltran-server",
            settings={"workload.batch": 4, "accelerator.loop_order": order},
        )
        parts = result["energy_by_part_j"]
        energy[order] = sum(parts[name] for name in parts if name.endswith("buffer"))
    best = min(energy.values())
    alike: dict[str, list[str]] = {}
    for order in sorted(energy, key=lambda order: energy[order]):
        alike.setdefault(f"{energy[order] / best:.2f}", []).append(f"`{order}`")
    rows: list[tuple[object, ...]] = [(ratio, " ".join(names)) for ratio, names in alike.items()]
    return table(("energy of the buffers over the least", "loop orders"), rows)


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV, comment lines left out."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


@functools.cache
def technology() -> Technology:
    """The shipped constants."""
    return Technology.load()


#: The factors that the composed prices name.
FACTORS = (
    ("mac", "pe_energy_factor"),
    ("mac", "pe_area_factor"),
    ("sram", "write_factor"),
    ("sram", "product_area_factor"),
    ("law.sqrt_size", "floor"),
    ("vector.fp32", "register_traffic"),
    ("vector.special", "energy_factor"),
    ("vector.special", "area_factor"),
    ("overhead", "area_fraction"),
)


def price_factors() -> str:
    """The factors that prices are made of."""
    rows: list[tuple[object, ...]] = []
    for part, quantity in FACTORS:
        (row,) = (r for r in technology().rows if (r.part, r.quantity) == (part, quantity))
        rows.append((f"`{part}, {quantity}`", written(row), row.evidence, row.source))
    return table(("constant", "value", "evidence", "source"), rows)


def written(row: ConstantRow) -> str:
    """Value of a row with its unit, as it stands in the table."""
    return row.text.removesuffix(" 1")


def node_ratios() -> str:
    """Price at one node over price at another, and the rule behind it."""
    rows: list[tuple[object, ...]] = []
    pairs = ((45, 32), (45, 14), (45, 7), (28, 14), (28, 7), (14, 7), (7, 5), (7, 4), (7, 3))
    for source, target in pairs:
        energy, area, sram = (
            technology().scaling.ratio(kind, source, target)
            for kind in ("energy", "area", "sram_energy")
        )
        values = (f"{ratio.value:.2f}" for ratio in (energy, area, sram))
        rows.append((f"{source} to {target} nm", *values, energy.rule))
    header = ("from", "energy of logic", "area of logic", "energy of memory", "rule of the energy")
    return table(header, rows)


def memory_points() -> str:
    """Published energies of a byte read beside the law of the root of the size."""
    rows: list[tuple[object, ...]] = []
    for point in read(DOCS / "memory_points.csv"):
        price: Price = technology().price("sram", "read_energy", float(point["node_nm"]))
        here = price.value * float(price.factor(parse(point["size"], "byte"))) * PICO
        published = float(point["energy_pj"])
        rows.append(
            (
                point["published"],
                f"`{point['source']}`" if " " not in point["source"] else point["source"],
                point["node_nm"],
                point["size"],
                f"{published:.3g}",
                f"{here:.3g}",
                f"{100 * (here / published - 1):+.0f} %",
                point["fit"],
            )
        )
    header = ("published", "source", "node [nm]", "size", "published [pJ/byte]", "here")
    return table((*header, "difference", "used in the fit"), rows)


def gpu_constants() -> str:
    """The constants that all GPUs share."""
    rows: list[tuple[object, ...]] = [
        (
            f"`{row['quantity']}`",
            row["value"] + ("" if row["unit"] == "1" else f" {row['unit']}"),
            row["description"],
            row["evidence"],
        )
        for row in read(DATA / "gpu.csv")
    ]
    return table(("constant", "value", "meaning", "evidence"), rows)


def stack_rows() -> str:
    """Each software stack, and the measured rows that it was fitted on and is held against."""
    counts: dict[str, dict[bool, dict[str, int]]] = {name: {} for name in IMPLEMENTATIONS}
    for row in read(DATA / "published.csv"):
        stack = re.search(r"workload\.implementation=(\S+)", row["settings"])
        if stack is None:
            continue
        what = row["group"].split(" / ", 2)
        group = f"{what[2]} ({what[0].capitalize()})"
        side = counts[stack[1]].setdefault(row["fitted"] == "yes", {})
        side[group] = side.get(group, 0) + 1

    def words(groups: dict[str, int] | None) -> str:
        return ", ".join(f"{g} {n}" for g, n in sorted((groups or {}).items())) or "nothing"

    rows: list[tuple[object, ...]] = [
        (f"`{name}`", words(sides.get(True)), words(sides.get(False)))
        for name, sides in counts.items()
    ]
    return table(("stack", "rows it was fitted on", "rows it never saw"), rows)


def automatic_choices() -> str:
    """What `auto` stands for on a GPU: rules in order."""
    rows: list[tuple[object, ...]] = [
        (
            row["setting"],
            *(row[fact].replace("|", ", ") or "any" for fact in FACTS),
            f"`{row['value']}`",
            row["source"],
        )
        for row in rules()
    ]
    return table(("setting", *FACTS, "`auto` is", "why"), rows)


#: Rows of the table of trained densities: task, tau_i, tau_t.
TRAINED = (
    ("digits", 0.0, 0.0),
    ("digits", 0.05, 0.0),
    ("digits", 0.05, 1e-5),
    ("elnino", 0.0, 0.0),
    ("elnino", 0.05, 1e-5),
    ("elnino", 0.0, 1e-4),
    ("docstrings", 0.0, 1e-6),
    ("docstrings", 0.05, 0.0),
    ("docstrings", 0.05, 1e-5),
)


def step(**sparsity: object) -> dict[str, float]:
    """Seconds, joules and saved bytes of a training step of BERT-Base on AccelTran-Server."""
    settings = {f"workload.{key}": value for key, value in sparsity.items()}
    result: dict[str, Any] = elector.simulate(
        "bert-base",
        "acceltran-server",
        settings={"workload.mode": "training", "workload.batch": 4, **settings},
    )
    return {
        "time": result["latency_s"],
        "energy": result["energy_j"],
        "activations": result["memory_bytes"]["activations"],
    }


@functools.cache
def scores(task: str) -> dict[tuple[float, float], list[float]]:
    """(tau_i, tau_t) -> scores [points] of the trained models of a task, a seed each."""
    by_thresholds: dict[tuple[float, float], list[float]] = {}
    for row in read(DOCS.parent / "transcode" / "data" / "accuracy" / "dynaprop.csv"):
        if row["task"] == task:
            cell = float(row["tau_i"]), float(row["tau_t"])
            by_thresholds.setdefault(cell, []).append(float(row["score"]))
    return by_thresholds


def score(task: str, tau_i: float, tau_t: float) -> float:
    """Mean score in points of the trained models of a task under two thresholds."""
    return float(np.mean(scores(task)[tau_i, tau_t]))


def trained_scores(task: str) -> str:
    """Test scores of a task: tau_i down, tau_t across."""
    by_thresholds = scores(task)
    across = sorted({tau_t for _, tau_t in by_thresholds})
    rows: list[tuple[object, ...]] = []
    for tau_i in sorted({tau_i for tau_i, _ in by_thresholds}):
        cells = (by_thresholds[tau_i, tau_t] for tau_t in across)
        shown = (f"{np.mean(cell):.1f} ± {np.std(cell, ddof=1):.1f}" for cell in cells)
        rows.append((f"{tau_i:g}", *shown))
    return table((f"`{task}`, tau_i", *(f"{tau_t:g}" for tau_t in across)), rows)


def trained_densities() -> str:
    """What densities of trained models are worth in a training step."""
    dense = step()
    rows: list[tuple[object, ...]] = [
        (
            "dense",
            "",
            "",
            "",
            format_si(dense["time"], "s"),
            format_si(dense["energy"], "J"),
            format_si(dense["activations"], "B"),
        )
    ]
    cases = [("`acceltran` (assumed)", "", "", "unknown", step(sparsity="acceltran"))]
    for task, tau_i, tau_t in TRAINED:
        lost = score(task, 0.0, 0.0) - score(task, tau_i, tau_t)
        costs = step(sparsity=f"trained-{task}", tau_i=tau_i, tau_t=tau_t)
        cases.append((f"`trained-{task}`", f"{tau_i:g}", f"{tau_t:g}", f"{lost:.1f}", costs))
    for *words, costs in cases:
        shares = (f"{100 * costs[name] / dense[name]:.0f} %" for name in costs)
        rows.append((*words, *shares))
    header = ("densities", "tau_i", "tau_t", "points lost", "time", "energy", "activations")
    return table(header, rows)


def accuracy_tasks() -> str:
    """Errors on scores that were left out of the fit, task by task."""
    rows: list[tuple[object, ...]] = []
    for task in accuracy.tasks():
        errors = accuracy.surrogate(task).cross_validation
        points = (errors.mae, errors.mae_reference, errors.mae_model, errors.mae_family)
        shown = (f"{value:.2f}" for value in points)
        inside = f"{100 * errors.coverage:.0f} %"
        rows.append((f"`{task}`", errors.rows, errors.models, *shown, inside))
    header = ("task", "rows", "models", "row", "row, stated recipe", "model", "family")
    return table((*header, "inside 90 %"), rows)


#: Names of the shares of heads in the page.
HEADS = {
    "wma_heads": "weighted multiplicative",
    "linear_heads": "Fourier and cosine",
    "convolution_heads": "convolution",
}


def head_effects() -> str:
    """What replacing all attention heads does to a score, before and after the data."""
    effects = head_types.head_type_effects()
    deviation = np.sqrt(np.diag(effects.covariance))
    rows: list[tuple[object, ...]] = [
        (
            HEADS[share],
            "{:+.2f} ± {:.2f}".format(*head_types.PRIOR[share]),
            f"{effects.mean[i]:+.2f} ± {deviation[i]:.2f}",
            "yes" if effects.used[i] else "no",
        )
        for i, share in enumerate(head_types.SHARES)
    ]
    missed = f"{effects.mae:.1f} points; {effects.mae_without:.1f} with the same shift for all"
    rows.append(("left-out models are missed by", "", missed, ""))
    return table(("heads", "prior", f"with {effects.models} models", "in the mean"), rows)


def scaling_laws() -> str:
    """Errors of the two scaling laws, in losses and from family to family of decoders."""
    rows: list[tuple[object, ...]] = []
    for law in scaling_law.LAWS:
        errors = scaling_law.check(law)
        losses = (errors.mae_given, errors.mae_offset, errors.mae)
        points = (
            scaling_law.transfer(law, "pythia", "cerebras-gpt")[0],
            scaling_law.transfer(law, "cerebras-gpt", "pythia")[0],
        )
        cells = (*(f"{v:.2f}" for v in losses), *(f"{v:.1f}" for v in points))
        rows.append((f"`{law}`", *cells))
    header = ("law", "as given", "offset", "offset and scale (used)")
    return table((*header, "Pythia to Cerebras-GPT", "Cerebras-GPT to Pythia"), rows)


#: Shapes of the table of predicted accuracies: layers, hidden.
SHAPES = (
    (12, 768),
    (24, 512),
    (6, 1024),
    (24, 128),
    (2, 2048),
    (1, 4096),
    (4, 4096),
    (24, 4096),
)


def accuracy_shapes() -> str:
    """SST-2 as predicted for models of several shapes."""
    layers, hidden = (np.array(side, float) for side in zip(*SHAPES, strict=True))
    features = {
        "layers": layers,
        "hidden": hidden,
        "heads": hidden / 64,
        "feed_forward": 4 * hidden,
    }
    mean, deviation = accuracy.surrogate("sst2").predict(features)
    rows: list[tuple[object, ...]] = [
        (f"{depth} x {width:,}", f"{m:.1f} ± {s:.1f}")
        for (depth, width), m, s in zip(SHAPES, mean, deviation, strict=True)
    ]
    return table(("layers x hidden", "SST-2 [points]"), rows)


def number_formats() -> str:
    """Bits that a value takes in memory, its share of scales included, and what storing costs."""
    rows: list[tuple[object, ...]] = []
    for row in read(DATA / "formats.csv"):
        group = row["scale"]
        shared = float(row["scale_bits"]) / float(group) if group not in ("", "tensor") else 0.0
        words = {"": "no scale", "tensor": "all of a tensor or column"}.get(group, group)
        width = float(row["bits"]) + shared
        work = row["unpack"] or "-"
        rows.append((f"`{row['format']}`", row["kind"], row["bits"], words, f"{width:.4g}", work))
    header = ("format", "kind", "bits of a value", "values of a scale", "bits with the scale")
    return table((*header, "operations to unpack"), rows)


def model_configs() -> str:
    """How many published configurations are read, and which types are refused."""
    outcomes: dict[str, list[str]] = {}
    for row in read(DOCS.parent / "tests" / "data" / "model_configs.csv"):
        outcomes.setdefault(row["outcome"], []).append(row["model_type"])
    rows: list[tuple[object, ...]] = [
        (
            outcome,
            len(types),
            ", ".join(f"`{name}`" for name in sorted(set(types))),
        )
        for outcome, types in sorted(outcomes.items())
    ]
    return table(("outcome", "files", "types"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "acceltran-cycles": acceltran_cycles,
    "acceltran-rules": acceltran_rules,
    "acceltran-orders": acceltran_orders,
    "price-factors": price_factors,
    "node-ratios": node_ratios,
    "memory-points": memory_points,
    "gpu-constants": gpu_constants,
    "stack-rows": stack_rows,
    "automatic-choices": automatic_choices,
    "trained-densities": trained_densities,
    "trained-scores-digits": functools.partial(trained_scores, "digits"),
    "trained-scores-elnino": functools.partial(trained_scores, "elnino"),
    "trained-scores-docstrings": functools.partial(trained_scores, "docstrings"),
    "number-formats": number_formats,
    "model-configs": model_configs,
    "accuracy-shapes": accuracy_shapes,
    "accuracy-tasks": accuracy_tasks,
    "head-effects": head_effects,
    "scaling-laws": scaling_laws,
}


def names(text: str) -> Iterator[str]:
    """Names of the tables of a page."""
    return (match["name"] for match in MARKS.finditer(text))


def filled(text: str) -> str:
    """A page with its tables as they are now."""
    return MARKS.sub(lambda match: f"{match[1]}{TABLES[match['name']]()}{match[3]}", text)
