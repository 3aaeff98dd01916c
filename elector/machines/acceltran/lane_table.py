"""What the lanes do with every operation, by distinct combination of settings.

Products are worked through cell by cell, a cell being an operation that a pair really has on
one combination of settings, in slabs that stay in a processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from elector.base.table import columns, combinations
from elector.machines.acceltran import lanes
from elector.machines.acceltran.lanes import Chances
from elector.machines.contract import Units
from elector.machines.tiling import Setting, at, cells, gathered, setting
from elector.operations.rows import PARAMETERS, Operations

Array = np.ndarray

#: Outputs the post-sparsity and rounding modules take in a cycle: as many as a lane multiplies.
OUTPUTS = 16.0
#: Settings that decide what the lanes do with an operation.
LANES = (
    "tile_b",
    "tile_x",
    "tile_y",
    "pe",
    "lanes_per_pe",
    "mac_per_lane",
    "lane_port",
    "pipeline",
    "run_ahead",
    "clustering",
    "clock",
)
#: Those of them that cells ask for one by one.
CELLS = ("tile_b", "tile_x", "tile_y", "mac_per_lane", "lane_port", "run_ahead", "clock")


@dataclass(frozen=True)
class LaneTable:
    """Work of the lanes by combination of settings.

    seconds : (R, X) of a row alone, its last wave whole, activation units included. All others
    are sums by group of rows (G, X). taken : seconds with waves shared by other work;
    functions : of the activation units; active : lane-seconds over the lanes.
    cycles : lane-cycles in which a lane works; sparse : those of rows with masks.
    macs : multiply-accumulates over the multipliers of a lane; vector : likewise.
    special : evaluations; dataflow : cycles of the modules that feed the lanes of a processing
    element; rounded, pruned : cycles of the modules behind the lanes; activation, weight,
    mask : buffer bytes.
    """

    seconds: Array
    taken: Array
    functions: Array
    active: Array
    cycles: Array
    sparse: Array
    macs: Array
    vector: Array
    special: Array
    dataflow: Array
    rounded: Array
    pruned: Array
    activation: Array
    weight: Array
    mask: Array


def lane_table(
    ops: Operations, rows: dict[str, Array], index: Array, u: Units, order: Array, group: Array
) -> LaneTable:
    """The table of X combinations; `index` (X,) their pairs, `order` (X,) their loop orders.

    group : (R,) the group of each row.

    rows : name of a table -> (R, X) numbers.
    """
    sums = (int(group.max()) + 1, index.size)
    out = LaneTable(
        np.zeros((len(ops.rows), index.size)),
        *(np.zeros(sums) for _ in list(LaneTable.__dataclass_fields__)[1:]),
    )
    products = rows["products"]
    if products.size:
        shared = replace(lanes_of(ops, products, index, u, order), group=group)
        for place, x in cells(columns(ops.count[products], index)):
            _slab(shared, products.take(place), x, out)
    np.divide(out.cycles, u.number("lanes_per_pe"), out=out.dataflow)
    count = u.number("pe") * u.number("lanes_per_pe")
    multipliers, clock = u.number("mac_per_lane"), u.number("clock")
    vectors = rows["vector"]
    simple, special = of_elements(ops, vectors)
    for r, once, more in zip(vectors, simple, special, strict=True):
        g, times, elements = group[r], ops.count[r, index], ops.m[r, index]
        work = times * elements
        if more:
            out.special[g] += work * more
        out.seconds[r] = times * element_cycles(ops, r[None], elements, u)[0] / clock
        taken = work * (once / multipliers + more) / count / clock
        out.taken[g] += taken
        out.active[g] += taken
        out.vector[g] += work * once / multipliers
    gelu = u.equals("nonlinearity", "gelu")
    for r in rows["functions"]:
        times, elements = ops.count[r, index], ops.m[r, index]
        out.seconds[r] = times * np.ceil(elements / count) / clock
        out.functions[group[r]] += out.seconds[r]
        # ReLU is a sign bit inside the lane.
        out.special[group[r]] += times * elements * gelu
    _vector_bytes(ops, index, group, out)
    return out


def of_elements(ops: Operations, rows: Array) -> tuple[Array, Array]:
    """(N, 1) simple and special operations on each element of some rows (N,)."""
    named = [ops.rows[r] for r in rows]
    simple, special = ([getattr(row, x) for row in named] for x in ("simple", "special"))
    return np.array(simple)[:, None], np.array(special)[:, None]


def element_cycles(ops: Operations, rows: Array, elements: Array, u: Units) -> Array:
    """(N, X) cycles of element-wise work on the multipliers, roots and so on on the lanes' units.

    rows : (N,) their places. elements : (N, X) elements of the rows.
    """
    simple, special = of_elements(ops, rows)
    lane_count = u.number("pe") * u.number("lanes_per_pe")
    cycles = simple * np.ceil(elements / (lane_count * u.number("mac_per_lane")))
    if special.any():
        cycles += special * np.ceil(elements / lane_count)
    return np.asarray(cycles)


def _vector_bytes(ops: Operations, index: Array, group: Array, out: LaneTable) -> None:
    """Buffer bytes of vector work, in place; streamed work adds its second operand only."""
    for r, row in enumerate(ops.rows):
        if row.matmul or (row.streamed and row.b == "none"):
            continue
        moved = ops.b_bytes[r]
        if not row.streamed:
            moved = moved + ops.a_bytes[r] + ops.out_bytes[r]
        out.activation[group[r]] += (moved * ops.count[r])[index]


# ---- products ----


@dataclass(frozen=True, eq=False, repr=False)
class Lanes:
    """What all slabs share; settings by combination (X,), operands by row (R,).

    streams : (X,) into which the batch is split, or None.
    """

    ops: Operations
    index: Array
    order: Array
    settings: dict[str, Setting]
    lanes: Setting
    fill: Setting
    chances: Chances
    chance: Array
    combination: Array
    combinations: int
    width: dict[str, Setting]
    parameters: Array
    group: Array
    streams: Array | None

    def some(self, x: Array) -> Lanes:
        """Those of some of the combinations; x (N,) : their places."""
        return replace(
            self,
            index=self.index[x],
            order=self.order if self.order.size == 1 else self.order[x],
            settings={key: at(values, x) for key, values in self.settings.items()},
            lanes=at(self.lanes, x),
            fill=at(self.fill, x),
            combination=self.combination[x],
        )


def lanes_of(ops: Operations, r: Array, index: Array, u: Units, order: Array) -> Lanes:
    """What slabs of the products `r` share: all sequences together, all rows of one group."""
    number = u.number
    width = {x: setting(getattr(ops, f"{x}_width")) for x in ("a", "b", "out")}
    settings = {key: setting(number(key)) for key in (*CELLS, "training")}
    chances, chance, combination = _chances(ops, r, index, u)
    one = order[:1] if (order == order[0]).all() else order
    return Lanes(
        ops,
        index,
        one,
        settings,
        setting(number("pe") * number("lanes_per_pe")),
        setting(number("pipeline") + np.log2(number("mac_per_lane"))),
        chances,
        chance,
        combination,
        chances.mean.size // (2 * (int(chance.max()) + 1)),
        width,
        np.array([row.b in PARAMETERS for row in ops.rows]) + 0.0,
        np.zeros(len(ops.rows), dtype=np.intp),
        None,
    )


def _chances(ops: Operations, r: Array, index: Array, u: Units) -> tuple[Chances, Array, Array]:
    """Chances, flat, of K kinds of products x {apart, shared} x Y tiles and densities.

    Also the (R,) kind of each product, and the (X,) place of each combination in Y.
    """
    codes = {
        x: ops.densities[x].code if ops.densities else np.zeros(len(ops.rows), np.intp)
        for x in ("a", "b")
    }
    pairs = sorted({(int(codes["a"][i]), int(codes["b"][i])) for i in r})
    kind = np.zeros(len(ops.rows), dtype=np.intp)
    for i in r:
        kind[i] = pairs.index((int(codes["a"][i]), int(codes["b"][i])))
    density = [
        ops.densities[x].values if ops.densities else np.ones((1, ops.count.shape[1]))
        for x in ("a", "b")
    ]
    used = [d[sorted({pair[x] for pair in pairs})] for x, d in enumerate(density)]
    tile = [u.number(key) for key in ("tile_b", "tile_x", "tile_y")]
    further = [u.number(key) for key in ("mac_per_lane", "clustering")]
    first, place = combinations([*tile, *further, *(row[index] for d in used for row in d)])
    b, x, y, multipliers, clustering = (values[first] for values in (*tile, *further))
    da, db = (
        np.stack([d[pair[i], index[first]] for pair in pairs])[:, None]
        for i, d in enumerate(density)
    )
    one = np.ones_like(b)
    t = lanes.Tiling(
        {}, np.stack((x, b * x)), np.stack((x, x)), np.stack((y, y)), np.stack((b, one))
    )
    apart = lanes.chances(t, da, db, multipliers, clustering)
    shape = (len(pairs), 2, first.size)
    flat = Chances(
        *(
            np.broadcast_to(getattr(apart, name), shape).ravel()
            for name in apart.__dataclass_fields__
        )
    )
    return flat, kind, place


@dataclass(frozen=True, eq=False, repr=False)
class _LaneCells:
    """Products `row` (N,) on the combinations `x` (N,), all fields (N,).

    pair : of each. count, tiles : runs, and tiles of one. fill : cycles until a lane's first
    result. volume : multiplications of a dense tile. dense : operand -> density, of both operands.
    outputs : elements of the result of a run. bytes_*, mask_* : of the buffers over all runs.
    seconds : alone; taken : with waves shared by other work.
    """

    pair: Array
    count: Array
    tiles: Array
    fill: Setting
    volume: Array
    dense: dict[str, Setting]
    outputs: tuple[Array, Array, Array]
    bytes_a: Array
    bytes_b: Array
    masks: Setting
    seconds: Array
    taken: Array


def _cells(p: Lanes, row: Array, x: Array) -> _LaneCells:
    """What the lanes do with products of all sequences, or of one of n streams."""
    ops, pair = p.ops, gathered(p.index, x)
    g = row * ops.count.shape[1] + pair
    count, batch, m, k, n = (gathered(v, g) for v in (ops.count, ops.batch, ops.m, ops.k, ops.n))
    if p.streams is not None:
        share, parameters = gathered(p.streams, x), gathered(p.parameters, row) > 0.0
        m = np.where(parameters, m / share, m)
        batch = np.where(parameters, batch, np.ceil(batch / share))
    s = {key: at(p.settings[key], x) for key in CELLS}
    total, multipliers, clock = at(p.lanes, x), s["mac_per_lane"], s["clock"]
    t = lanes.tile((batch, m, k, n), (s["tile_b"], s["tile_x"], s["tile_y"]))
    tiles = t.tiles
    wave, used = lanes.waves(tiles, total)
    run_ahead = s["run_ahead"]
    barrier = isinstance(run_ahead, float) and run_ahead == 1.0
    ahead = run_ahead if barrier else np.minimum(run_ahead, wave)
    kind = 2 * gathered(p.chance, row) + (batch <= 1.0)
    place = kind * p.combinations + gathered(p.combination, x)
    fill, chances = at(p.fill, x), p.chances.take(place)
    each = (fill + lanes.wait(chances, used, multipliers, ahead)) * count
    order = p.order if p.order.size == 1 else gathered(p.order, x)
    saved_a, saved_b = lanes.reuse(t, order, used)
    fetched = tiles * t.depth * t.slices * count
    dense = {name: _density(p, name, row, pair) for name in ("a", "b")}
    bytes_a, mask_a = _stored(p, "a", row, dense["a"], fetched * t.rows * (1.0 - saved_a))
    bytes_b, mask_b = _stored(p, "b", row, dense["b"], fetched * t.columns * (1.0 - saved_b))
    masks = mask_a + mask_b
    port = (bytes_a + bytes_b + masks) / (used * s["lane_port"])
    seconds = np.maximum(wave * each, port) / clock
    # Lanes that the last wave leaves free serve another sequence or a gradient of weights.
    taken = np.minimum(np.maximum(tiles / total * each, port) / clock, seconds)
    volume, outputs = t.volume, (batch, m, n)
    return _LaneCells(
        pair, count, tiles, fill, volume, dense, outputs, bytes_a, bytes_b, masks, seconds, taken
    )


def _slab(p: Lanes, row: Array, x: Array, out: LaneTable) -> None:
    """Adds some cells to the table, in place."""
    ops, c = p.ops, _cells(p, row, x)
    multipliers, clock = at(p.settings["mac_per_lane"], x), at(p.settings["clock"], x)
    batch, m, n = c.outputs
    results, dense = c.count * batch * m * n, _density(p, "out", row, c.pair)
    bytes_out, mask_out = _stored(p, "out", row, dense, results)
    share = c.dense["a"] * c.dense["b"] / multipliers
    work = c.count * c.tiles * (c.volume * share + c.fill)
    parameters = gathered(p.parameters, row)
    out.seconds.reshape(-1)[row * p.index.size + x] = c.seconds
    f = gathered(p.group, row) * p.index.size + x

    def add(table: Array, values: Setting) -> None:
        np.add.at(table.reshape(-1), f, values)

    add(out.taken, c.taken)
    add(out.active, np.minimum(work / (at(p.lanes, x) * clock), c.seconds))
    add(out.cycles, work)
    k = gathered(ops.k, row * ops.count.shape[1] + c.pair)
    add(out.macs, results * k * share)
    weights = c.bytes_b * parameters
    add(out.activation, c.bytes_a + bytes_out + (c.bytes_b - weights))
    add(out.weight, weights)
    if np.any(training := at(p.settings["training"], x)):
        add(out.rounded, results * training / OUTPUTS)
    if ops.densities:
        add(out.sparse, work * np.less(share * multipliers, 1.0))
        add(out.pruned, results * np.less(dense, 1.0) / OUTPUTS)
        add(out.mask, c.masks + mask_out)


def streams_of(lanes: Lanes, rows: Array, n: Array) -> tuple[Array, Array]:
    """Seconds, alone and with waves shared, of products `rows` in one of n (X,) streams.

    (rows, X) each, of X combinations of settings, as in `lane_table`.

    lanes : of those combinations.
    """
    index, ops = lanes.index, lanes.ops
    seconds, taken = np.zeros((2, rows.size, index.size))
    shared = replace(lanes, streams=n)
    for place, x in cells(columns(ops.count[rows], index)):
        of_cells, f = _cells(shared, rows.take(place), x), place * index.size + x
        seconds.reshape(-1)[f], taken.reshape(-1)[f] = of_cells.seconds, of_cells.taken
    return seconds, taken


def _density(p: Lanes, operand: str, row: Array, pair: Array) -> Setting:
    """(N,) share of the operand's elements that are not zero."""
    if not p.ops.densities:
        return 1.0
    shares = p.ops.densities[operand]
    if not shares.code.any():
        return 1.0
    return gathered(shares.values, gathered(shares.code, row) * shares.values.shape[1] + pair)


def _stored(
    p: Lanes, operand: str, row: Array, density: Setting, elements: Array
) -> tuple[Array, Setting]:
    """Bytes of values and of masks of `elements` of an operand, compressed where that pays."""
    width = at(p.width[operand], row)
    if isinstance(density, float):
        return elements * width, 0.0
    packed = density + 1.0 / (8.0 * width) < 1.0
    values = elements * width * np.where(packed, density, 1.0)
    return values, elements * packed / 8.0
