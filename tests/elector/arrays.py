"""A systolic array, cycle by cycle: registers, skew, loads and drains, with real numbers.

It knows nothing of the closed forms: products come out right only if no operand, weight or
sum is overwritten before it was used, and the count of cycles is the cycle the last
element leaves. Edge folds sit where results leave, so that unused rows cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Fold:
    """Work that occupies the array once.

    ws: `a` (t, r) streams past the stationary `b` (r, c). os: `a` (r, t) meets `b` (t, c).
    """

    a: Array
    b: Array

    def shape(self, dataflow: str) -> tuple[int, int, int]:
        """Rows, columns and stream."""
        if dataflow == "os":
            return self.a.shape[0], self.b.shape[1], self.a.shape[1]
        return self.b.shape[0], self.b.shape[1], self.a.shape[0]


def starts(shapes: list[tuple[int, int, int]], dataflow: str, overlap: bool) -> list[int]:
    """First cycle of each fold's stream: as early as the registers allow.

    ws: a shadow register is free once its weight was taken over, so the next load follows
    the first operand. os: a drain register is free once the drain before it has passed.
    """
    os, begins = dataflow == "os", []
    clock = 0
    for i, (r, c, t) in enumerate(shapes):
        if not overlap:
            begins.append(clock if os else clock + r)
            clock += 2 * r + c + t - 2
        elif i == 0:
            begins.append(0 if os else r)
        else:
            before = shapes[i - 1]
            begins.append(begins[-1] + max(before[2], before[0] if os else r))
    return begins


def run(folds: list[Fold], dataflow: str, overlap: bool, hurry: int = 0) -> tuple[list[Array], int]:
    """Results of each fold and the cycles until the last element has left.

    hurry : cycles by which every fold but the first starts too early.
    """
    shapes = [fold.shape(dataflow) for fold in folds]
    begin = starts(shapes, dataflow, overlap)
    begin = [b - hurry * i for i, b in enumerate(begin)]
    machine = _outputs_stay if dataflow == "os" else _weights_stay
    return machine(folds, shapes, begin)


def _weights_stay(
    folds: list[Fold], shapes: list[tuple[int, int, int]], begin: list[int]
) -> tuple[list[Array], int]:
    rows, cols = max(s[0] for s in shapes), max(s[1] for s in shapes)
    active, shadow, sums = (np.zeros((rows, cols)) for _ in range(3))
    values = np.zeros((rows, cols))
    tags: list[list[tuple[int, int] | None]] = [[None] * cols for _ in range(rows)]
    results = [np.full((t, c), np.nan) for _, c, t in shapes]
    end = 0
    last = max(b + t + r + c for b, (r, c, t) in zip(begin, shapes, strict=True))
    for cycle in range(last + 1):
        old_values, old_tags, old_sums = values.copy(), [list(x) for x in tags], sums.copy()
        for i in range(rows):
            for j in range(cols):
                if j:
                    values[i, j], tags[i][j] = old_values[i, j - 1], old_tags[i][j - 1]
                else:
                    values[i, 0], tags[i][0] = _fed(folds, shapes, begin, cycle, i)
                tag = tags[i][j]
                if tag is not None and tag[1] == 0:
                    active[i, j] = shadow[i, j]
                above = old_sums[i - 1, j] if i else 0.0
                sums[i, j] = above + values[i, j] * active[i, j]
                if tag is not None and i == shapes[tag[0]][0] - 1 and j < shapes[tag[0]][1]:
                    results[tag[0]][tag[1], j] = sums[i, j]
                    end = max(end, cycle + 1)
        for j in range(cols):
            for f, (r, c, _) in enumerate(shapes):
                step = cycle - (begin[f] - r) - j
                if 0 <= step < r and j < c:
                    # The lowest row's weight goes first; a row takes what has reached it.
                    shadow[1 : step + 1, j] = shadow[:step, j].copy()
                    shadow[0, j] = folds[f].b[r - 1 - step, j]
    return results, end


def _fed(
    folds: list[Fold], shapes: list[tuple[int, int, int]], begin: list[int], cycle: int, row: int
) -> tuple[float, tuple[int, int] | None]:
    for f, (r, _, t) in enumerate(shapes):
        step = cycle - begin[f] - row
        if 0 <= step < t and row < r:
            return float(folds[f].a[step, row]), (f, step)
    return 0.0, None


def _outputs_stay(
    folds: list[Fold], shapes: list[tuple[int, int, int]], begin: list[int]
) -> tuple[list[Array], int]:
    rows, cols = max(s[0] for s in shapes), max(s[1] for s in shapes)
    sums, drain = np.zeros((rows, cols)), np.zeros((rows, cols))
    right, down = np.zeros((rows, cols)), np.zeros((rows, cols))
    results = [np.full((r, c), np.nan) for r, c, _ in shapes]
    end = 0
    last = max(b + t + 2 * r + c for b, (r, c, t) in zip(begin, shapes, strict=True))
    for cycle in range(last + 1):
        old_drain, old_right, old_down = drain.copy(), right.copy(), down.copy()
        for f, (r, c, t) in enumerate(shapes):
            for j in range(c):
                step = cycle - (begin[f] + t + r - 1 + j)
                if 0 <= step < r:
                    results[f][r - 1 - step, j] = old_drain[r - 1, j]
                    end = max(end, cycle + 1)
                    # A value moves on while values from above still have to pass.
                    for i in range(r - 1):
                        if step <= i:
                            drain[i + 1, j] = old_drain[i, j]
        for i in range(rows):
            for j in range(cols):
                right[i, j] = old_right[i, j - 1] if j else _edge(folds, shapes, begin, cycle, i, 0)
                down[i, j] = old_down[i - 1, j] if i else _edge(folds, shapes, begin, cycle, j, 1)
                for f, (r, c, t) in enumerate(shapes):
                    step = cycle - begin[f] - i - j
                    if 0 <= step < t and i < r and j < c:
                        sums[i, j] = (sums[i, j] if step else 0.0) + right[i, j] * down[i, j]
                        if step == t - 1:
                            drain[i, j] = sums[i, j]
    return results, end


def _edge(
    folds: list[Fold],
    shapes: list[tuple[int, int, int]],
    begin: list[int],
    cycle: int,
    lane: int,
    side: int,
) -> float:
    for f, shape in enumerate(shapes):
        step = cycle - begin[f] - lane
        if 0 <= step < shape[2] and lane < shape[side]:
            return float(folds[f].b[step, lane] if side else folds[f].a[lane, step])
    return 0.0


def cut(a: Array, b: Array, rows: int, cols: int, dataflow: str) -> list[tuple[Fold, slice, slice]]:
    """Folds of a product with the part of the result each of them adds to.

    is: the same machine as ws with the operands' roles exchanged, on the transposed product.
    """
    m, k = a.shape
    n = b.shape[1]
    folds = []
    if dataflow == "os":
        for j in range(0, n, cols):
            for i in range(0, m, rows):
                part = (slice(i, min(i + rows, m)), slice(j, min(j + cols, n)))
                folds.append((Fold(a[part[0]], b[:, part[1]]), *part))
        return folds
    for j in range(0, n, cols):
        for i in range(0, k, rows):
            inner, part = slice(i, min(i + rows, k)), slice(j, min(j + cols, n))
            folds.append((Fold(a[:, inner], b[inner, part]), slice(0, m), part))
    return folds


def dealt(folds: list[Fold], dataflow: str, arrays: int) -> list[int]:
    """The array each fold goes to: the largest first, to whichever has the least to do."""
    load, array_of = [0] * arrays, [0] * len(folds)
    size = {i: sum(fold.shape(dataflow)) for i, fold in enumerate(folds)}
    for i in sorted(size, key=lambda i: -size[i]):
        array_of[i] = load.index(min(load))
        load[array_of[i]] += size[i]
    return array_of


def product(
    a: Array,
    b: Array,
    rows: int,
    cols: int,
    dataflow: str,
    overlap: bool,
    arrays: int = 1,
    parts: int = 1,
) -> tuple[Array, int]:
    """a b and the cycles it takes on several arrays.

    parts : products into which it is cut, each with some of the rows of `a`.
    """
    turned, machine = dataflow == "is", "os" if dataflow == "os" else "ws"
    size = -(-a.shape[0] // parts)
    every = []
    for begin in range(0, a.shape[0], size):
        part = a[begin : begin + size]
        left, right = (b.T, part.T) if turned else (part, b)
        for fold, i, j in cut(left, right, rows, cols, machine):
            i, j = (j, i) if turned else (i, j)
            every.append((fold, slice(i.start + begin, i.stop + begin), j))
    place = dealt([fold for fold, _, _ in every], machine, arrays)
    total, most = np.zeros((a.shape[0], b.shape[1])), 0
    for array in range(arrays):
        mine = [p for p, where in zip(every, place, strict=True) if where == array]
        if not mine:
            continue
        results, cycles = run([fold for fold, _, _ in mine], machine, overlap)
        for (_, i, j), values in zip(mine, results, strict=True):
            total[i, j] += values.T if turned else values
        most = max(most, cycles)
    return total, most
