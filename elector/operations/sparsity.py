"""Pruning settings -> densities of the operands of every matrix product.

`workload.sparsity` is dense, a table shipped in data/sparsity (acceltran: half of the
activations and weights and a tenth of the gradients, for every operation, as the released
simulator assumes) or the user's own, measured by a training run:

    model, task, seed, tau_i, tau_t, phase, operation, layer, operand, density, accuracy, evidence

phase is forward or backward; operation the name of the operation (`elector simulate
--operations`) or *; layer its layer (`layer 3`, `3`, `head`) or *; operand activation, weight,
gradient or output. Densities are averaged over seeds and tasks and interpolated between the
thresholds tau_i (DynaTran, Tuli and Jha 2023, arXiv 2302.14705) and tau_t (DynaProp, TransCODE,
arXiv 2303.14882); an empty threshold means any, and a table that knows one threshold only is
read at it where none is set. Activations (and gradients, in training) need a
row for every product; weights and outputs are dense where none is given. Gradients of
parameters stay dense: what costs products, and what is pruned here, is the gradient that is
propagated.

What a density is worth is the machine's affair: zeros are skipped (acceltran), or only spare
the energy of a multiplication (systolic), or nothing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from elector.base import paths, units
from elector.base.errors import InputError, nearest
from elector.base.table import DATA, combinations, read_csv, require_once
from elector.describe.workload import Workload
from elector.operations.roles import RowPart, layer_words, vocabulary
from elector.operations.rows import PARAMETERS, Operations, Row, Shares

Array = np.ndarray

COLUMNS = (
    "model",
    "task",
    "seed",
    "tau_i",
    "tau_t",
    "phase",
    "operation",
    "layer",
    "operand",
    "density",
    "accuracy",
    "evidence",
)
#: Columns that a table may lack.
OPTIONAL = ("task", "seed", "accuracy", "evidence")
PHASES = ("forward", "backward")
OPERANDS = ("activation", "weight", "gradient", "output")
EVIDENCE = ("measured", "published", "synthesis", "scaled", "derived", "assumed")

#: From so many letters in common on, a word that no model has is one that is misspelt.
ALIKE = 0.8
#: phase, operation, layer, operand
Key = tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class SparsityTable:
    """Densities by key and thresholds; None for a threshold that does not matter.

    points : key -> {(tau_i, tau_t): mean density}.
    model : what it was measured on; "" for a table that is meant for any model.
    evidence : kinds of evidence behind its densities, the strongest first.
    doubtful : column, line, word, nearest word known: of operations and layers that no described
        model has.
    """

    name: str
    points: dict[Key, dict[tuple[float | None, float | None], float]]
    model: str = ""
    evidence: tuple[str, ...] = ()
    doubtful: tuple[tuple[str, int, str, str], ...] = ()

    def knows(self, threshold: str) -> bool:
        """Whether a density depends on the threshold, tau_i or tau_t."""
        axis = ("tau_i", "tau_t").index(threshold)
        return any(at[axis] is not None for points in self.points.values() for at in points)


def list_sparsities() -> list[str]:
    """Names that `workload.sparsity` knows."""
    return [
        "dense",
        *(file.removesuffix(".csv") for file in paths.names(DATA / "sparsity", "*.csv")),
    ]


def load_sparsity(name: str) -> SparsityTable | None:
    """The table of a name or file, read again where the file has changed; None for dense."""
    if name == "dense":
        return None
    path = _path(name)
    return _table(name, path, paths.stamp(path))


@functools.lru_cache(maxsize=64)
def _table(name: str, path: Path, stamp: tuple[int, ...]) -> SparsityTable:
    """The table of a file. stamp : what tells its content from that of an earlier time."""
    names, lines = read_csv(path, limit=64 << 20)
    require_once(names, path)
    _check_header(names, path)
    sums: dict[Key, dict[tuple[float | None, float | None], list[float]]] = {}
    models: dict[str, int] = {}
    words: dict[tuple[str, str], int] = {}
    evidence: set[str] = set()
    for line, cells in lines:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
        row = dict(zip(names, cells, strict=True))
        models.setdefault(row["model"], line)
        evidence.add(row.get("evidence") or "assumed")
        key, thresholds, density = _row(row, path, line)
        words.setdefault(("operation", key[1]), line)
        words.setdefault(("layer", key[2]), line)
        sums.setdefault(key, {}).setdefault(thresholds, []).append(density)
    _require_one_model(models, path)
    points = {
        key: {at: math.fsum(densities) / len(densities) for at, densities in points.items()}
        for key, points in sums.items()
    }
    model = next(iter(models), "")
    kinds = tuple(kind for kind in EVIDENCE if kind in evidence)
    doubtful = tuple(
        (column, line, word, guess)
        for (column, word), line in words.items()
        if (guess := _doubt(column, word)) is not None
    )
    return SparsityTable(name, points, "" if model == "*" else model, kinds, doubtful)


@functools.cache
def _shipped() -> frozenset[str]:
    return frozenset(list_sparsities())


def _path(name: str) -> Path:
    """The file of a table by name, or the user's own."""
    shipped = DATA / "sparsity" / f"{name}.csv"
    path = shipped if name in _shipped() else Path(name)
    if path != shipped and not paths.exists(path, "workload.sparsity"):
        raise InputError(
            "unknown sparsity",
            field="workload.sparsity",
            value=name,
            allowed=list_sparsities(),
            hint="or the file of a sparsity table",
        )
    return path


def _require_one_model(models: dict[str, int], path: Path) -> None:
    if len(models) > 1:
        raise InputError(
            f"line {max(models.values())}: a second model",
            file=path,
            field="model",
            value=list(models)[1],
            hint="one table for each model",
        )


def _doubt(column: str, word: str) -> str | None:
    """The word known that an unknown one is nearly; None for words that are known, or far off."""
    known = vocabulary() if column == "operation" else layer_words()
    if word == "*" or word in known or (column == "layer" and word.isdigit()):
        return None
    return nearest(word, known, ALIKE)


def _check_header(names: list[str], path: Path) -> None:
    for name in names:
        if name not in COLUMNS:
            raise InputError("line 1: unknown column", file=path, value=name, allowed=COLUMNS)
    for name in COLUMNS:
        if name not in names and name not in OPTIONAL:
            raise InputError(f"line 1: the column {name} is missing", file=path)


def _row(
    row: dict[str, str], path: Path, line: int
) -> tuple[Key, tuple[float | None, float | None], float]:
    for column, allowed in (("phase", PHASES), ("operand", OPERANDS)):
        if row[column] not in allowed:
            raise InputError(
                f"line {line}: unknown {column}",
                file=path,
                field=column,
                value=row[column],
                allowed=allowed,
            )
    evidence = row.get("evidence") or "assumed"
    if evidence not in EVIDENCE:
        raise InputError(
            f"line {line}: unknown evidence",
            file=path,
            field="evidence",
            value=evidence,
            allowed=EVIDENCE,
        )
    field = f"line {line}: density"
    density = units.parse(row["density"], "1", field=field, file=path)
    if not 0.0 <= density <= 1.0:
        raise InputError("must lie between 0 and 1", file=path, field=field, value=row["density"])

    def threshold(name: str) -> float | None:
        text = row[name]
        return units.parse(text, "1", field=f"line {line}: {name}", file=path) if text else None

    layer = row["layer"] or "*"
    key = (row["phase"], row["operation"] or "*", layer, row["operand"])
    return key, (threshold("tau_i"), threshold("tau_t")), density


def same_for_layers(name: str) -> bool:
    """Whether the densities of a sparsity are those of any layer of a stack."""
    table = load_sparsity(name)
    return table is None or not any(
        layer.removeprefix("layer ").isdigit() for _, _, layer, _ in table.points
    )


def prune(ops: Operations, workload: Workload) -> Operations:
    """The operations with the densities of the workload's sparsity.

    Raises InputError naming the first operation that the table lacks.
    """
    table = load_sparsity(workload.sparsity)
    if table is None:
        return ops
    _require_words(table, ops)
    thresholds = combinations([workload.tau_i, workload.tau_t])
    tau_i, tau_t = (tau[thresholds[0]] for tau in (workload.tau_i, workload.tau_t))
    known: dict[tuple[int, ...], Array] = {}
    shares = {}
    for operand in ("a", "b", "out"):
        values, codes, code = [np.ones_like(tau_i)], {}, np.zeros(len(ops.rows), dtype=np.intp)
        for r, row in enumerate(ops.rows):
            kind = operand_kind(row, operand) if row.matmul else ""
            if not kind:
                continue
            points = _points(table, row.phase, row.word, row.layer_word, kind)
            key = tuple(id(p) for p in points)
            if key not in codes:
                if key not in known:
                    known[key] = _density(table, row, points, tau_i, tau_t)
                codes[key] = len(values)
                values.append(known[key])
            code[r] = codes[key]
        shares[operand] = Shares(np.stack(values)[:, thresholds[1]], code)
    return replace(ops, densities=shares)


def compressed(ops: Operations) -> Operations:
    """The operations on a machine that keeps tensors compressed, and the memory that saves."""
    if not ops.densities:
        return ops
    ops = replace(ops, compressed=True)
    return replace(ops, memory=_memory(ops, ops.workload))


def _require_words(table: SparsityTable, ops: Operations) -> None:
    """Raise InputError for a word of the table that is nearly one an operation may have.

    Other words may be modules of a model that was trained, and count for nothing.
    """
    if not table.doubtful:
        return
    own = {word for row in ops.rows for word in (row.word, row.layer_word)}
    for column, line, word, guess in table.doubtful:
        if word not in own:
            raise InputError(
                f"line {line}: no {column} is called that",
                file=table.name,
                field=column,
                value=word,
                hint=f"did you mean '{guess}'?",
            )


def operand_kind(row: Row, operand: str) -> str:
    """activation | weight | gradient | output, or "" for one that is never pruned."""
    if operand == "out":
        stays = row.out == "stream" or row.part is RowPart.WEIGHT_GRADIENT
        return "" if stays else "output"
    name = row.a if operand == "a" else row.b
    if name in PARAMETERS:
        return "weight"
    if row.phase != "backward" or name in ("saved", "cache"):
        return "activation"
    # Inside attention, what the forward pass computed again is an activation, too.
    return "activation" if row.part is RowPart.AGAIN else "gradient"


Points = dict[tuple[float | None, float | None], float]


@functools.lru_cache(maxsize=4096)  # a search asks in every batch
def _points(table: SparsityTable, phase: str, name: str, layer: str, kind: str) -> list[Points]:
    """What a table knows of an operand; of several layers where one row stands for them."""
    phase = "backward" if phase == "backward" else "forward"
    for operation in (name, "*"):
        for where in dict.fromkeys((layer, layer.removeprefix("layer "), "*")):
            points = table.points.get((phase, operation, where, kind))
            if points is not None:
                return [points]
        each = [
            points
            for (p, o, where, k), points in table.points.items()
            if (p, o, k) == (phase, operation, kind) and where.isdigit()
        ]
        if each and layer == "layers":
            return each
    if kind in ("weight", "output"):
        return []
    raise InputError(
        f"has no {kind} density for the operation '{name}' ({phase}, {layer})",
        file=table.name,
        field="workload.sparsity",
        value=name,
        hint="a row with this operation, or * for all of them",
    )


def _density(
    table: SparsityTable, row: Row, points: list[Points], tau_i: Array, tau_t: Array
) -> Array:
    """(M,) densities: the mean of what is known; 1 where nothing is said."""
    if not points:
        return np.ones_like(tau_i)
    parts = [_interpolate(table, row.word, each, tau_i, tau_t) for each in points]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


def _interpolate(
    table: SparsityTable, operation: str, points: Points, tau_i: Array, tau_t: Array
) -> Array:
    """Bilinear between the thresholds of the table; (M,) densities."""
    axes = [
        sorted({at[axis] for at in points}, key=lambda v: -1.0 if v is None else v)
        for axis in (0, 1)
    ]
    places = [
        _bracket(table, operation, name, axis, values)
        for name, axis, values in (("tau_i", axes[0], tau_i), ("tau_t", axes[1], tau_t))
    ]
    grid = np.array([[points.get((i, t), np.nan) for t in axes[1]] for i in axes[0]])
    (i, j, u), (s, t, v) = places
    low = _mix(grid[i, s], grid[i, t], v)
    high = _mix(grid[j, s], grid[j, t], v)
    densities = _mix(low, high, u)
    if np.isnan(densities).any():
        where = int(np.argmax(np.isnan(densities)))
        raise InputError(
            f"has no density for '{operation}' around tau_i {tau_i[where]:g}, "
            f"tau_t {tau_t[where]:g}",
            file=table.name,
            field="workload.sparsity",
        )
    return densities


def _mix(low: Array, high: Array, share: Array) -> Array:
    """low + (high - low) share, where only what has a share need exist."""
    return np.where(share > 0.0, low + (high - low) * share, low)


def _bracket(
    table: SparsityTable, operation: str, name: str, axis: list[float | None], values: Array
) -> tuple[Array, Array, Array]:
    """Neighbours of each value on the axis and how far it stands between them."""
    zero = np.zeros(values.shape, dtype=np.intp)
    if axis == [None]:
        return zero, zero, np.zeros(values.shape)
    if None in axis:
        raise InputError(
            f"'{operation}' has rows with and without {name}", file=table.name, field=name
        )
    if len(axis) == 1:
        # One run at one threshold: 0 is what nobody sets, not another threshold.
        values = np.where(values == 0.0, float(axis[0] or 0.0), values)
    numbers = np.array(axis, dtype=float)
    low, high = float(numbers[0]), float(numbers[-1])
    outside = (values < low) | (values > high)
    if outside.any():
        raise InputError(
            f"lies outside the thresholds of {table.name} for '{operation}': {low:g} to {high:g}",
            field=f"workload.{name}",
            value=float(values[outside][0]),
        )
    right = np.clip(np.searchsorted(numbers, values, side="left"), 0, numbers.size - 1)
    left = np.where(numbers[right] == values, right, np.maximum(right - 1, 0))
    span = numbers[right] - numbers[left]
    return left, right, (values - numbers[left]) / np.where(span > 0, span, 1.0)


def _memory(ops: Operations, workload: Workload) -> dict[str, Array]:
    """Main memory with weights and saved activations compressed.

    Saved activations shrink as the mean of all reads of saved tensors in the backward pass,
    vector work (which reads them dense) included.
    """
    memory = dict(ops.memory)
    # Micro-batches share their weights, and so do prompts.
    passes = workload.gradient_accumulation if workload.training else workload.prompt_passes
    fewer = np.zeros(ops.count.shape[1])
    for r, row in enumerate(ops.rows):
        if row.matmul and row.b == "weight":
            fewer = fewer + ops.count[r] / passes * ops.b_bytes[r] * (1.0 - ops.stored("b", r))
    memory["weights"] = memory["weights"] - ops.whole(fewer)
    if not workload.training:
        return memory
    whole, small = np.zeros(ops.count.shape[1]), np.zeros(ops.count.shape[1])
    for operand in ("a", "b"):
        for r, row in enumerate(ops.rows):
            if getattr(row, operand) == "saved":
                size = ops.count[r] * getattr(ops, f"{operand}_bytes")[r]
                whole, small = whole + size, small + size * ops.stored(operand, r)
    whole, small = ops.whole(whole), ops.whole(small)
    memory["activations"] = memory["activations"] * (small / np.maximum(whole, 1e-300))
    return memory
