"""Layers as columns: the same costs as layers as rows, whoever stands beside a design."""

from __future__ import annotations

import numpy as np
import pytest
from amounts import draws

from elector.base.segments import Fold
from elector.base.table import Column
from elector.cost.pricing import Cost
from elector.evaluation.path import evaluate
from elector.evaluation.resolve import resolve

SIZE = 24
TYPES = ("sdp", "wma", "dft", "dct", "c5", "c9", "c13")


def designs(**settings: object) -> dict[str, Column]:
    """Random encoders, each on an accelerator of its own."""
    rng = np.random.default_rng(5)

    def pick(*values: object) -> Column:
        return Column(values, rng.integers(0, len(values), SIZE))

    table = {"model": Column.constant("flexibert", SIZE), "model.layers": pick(2, 4, 7, 12)}
    for layer in range(1, 13):
        at = f"model.layer{layer}."
        table |= {
            f"{at}hidden": pick(128, 256, 512, 768),
            f"{at}heads": pick(1, 2, 4, 12),
            f"{at}feed_forward1": pick(256, 1024),
            f"{at}feed_forward2": pick(0, 512),
            f"{at}feed_forward3": pick(0, 2048),
        }
        table |= {f"{at}head{h}": pick(*TYPES) for h in range(1, 13)}
    table |= {
        "accelerator": Column.constant("acceltran-edge", SIZE),
        "accelerator.pe": pick(64, 256, 1024),
        "accelerator.tile_x": pick(8, 16, 32),
        "accelerator.activation_buffer": pick("64 kB", "4 MB"),
        "accelerator.weight_buffer": pick("64 kB", "8 MB"),
        "accelerator.convention": pick("physical", "physical", "released"),
        "workload.batch": pick(1, 4, 16),
        "workload.tau_i": pick(0, 0.03),
        "workload.sparsity": Column.constant("dynatran", SIZE),
    }
    for layer in range(2, 13):  # in half of the designs one of the layers before, once more
        same, before = np.arange(SIZE) % 2 == layer % 3 % 2, rng.integers(1, layer, SIZE)
        for key in [k for k in table if k.startswith(f"model.layer{layer}.")]:
            rest, codes = key.split(".", 2)[2], table[key].codes.copy()
            for other in range(1, layer):
                mine = same & (before == other)
                codes[mine] = table[f"model.layer{other}.{rest}"].codes[mine]
            table[key] = Column(table[key].values, codes)
    changed = {key.replace("__", "."): Column.constant(v, SIZE) for key, v in settings.items()}
    return table | changed


def one(columns: dict[str, Column], i: int, level: str) -> Cost:
    rows = np.array([i])
    return evaluate({key: c.take(rows) for key, c in columns.items()}, 1, level=level, jobs=1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"workload__sparsity": "dense"},
        {"workload__mode": "training", "workload__gradient_accumulation": 3},
        {"workload__mode": "training", "workload__activations": "recompute"},
        {"workload__mode": "training", "workload__trainable": "lora:4", "model__head": "masked-lm"},
        {"workload__mode": "training", "workload__trainable": "heads", "model__head": "classifier"},
    ],
    ids=["inference", "dense", "training", "recompute", "lora", "heads"],
)
def test_layers_as_columns_cost_what_layers_as_rows_cost(settings: dict[str, object]) -> None:
    columns = designs(**settings)
    many = evaluate(columns, SIZE, level="groups", jobs=1)
    for i in range(0, SIZE, draws(5, 15)):
        alone, rows = one(columns, i, "groups"), one(columns, i, "operations")
        for name in rows.names():
            expected = rows.scalar(name)[0]
            assert many.scalar(name)[i] == pytest.approx(expected, rel=1e-11, nan_ok=True), name
            assert alone.scalar(name)[0] == pytest.approx(expected, rel=1e-11, nan_ok=True), name
        assert len(rows.operations or ()) > 0


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_costs_do_not_depend_on_the_designs_beside(mode: str) -> None:
    columns = designs(workload__mode=mode)
    many = evaluate(columns, SIZE, level="groups", jobs=1)
    for i in range(0, SIZE, 4):
        alone = one(columns, i, "groups")
        for name in alone.names():
            np.testing.assert_array_equal(alone.scalar(name)[0], many.scalar(name)[i], name)


def test_layers_that_are_the_same_share_a_column() -> None:
    rows = {"model": "flexibert", "model.layers": 8}
    for layer, kind in enumerate("AABABBAA", start=1):
        wide = kind == "B"
        rows[f"model.layer{layer}.hidden"] = 256
        rows[f"model.layer{layer}.feed_forward1"] = 1024 if wide else 512
    columns = {key: Column.constant(value, 1) for key, value in rows.items()}
    columns["accelerator"] = Column.constant("acceltran-edge", 1)
    models = next(iter(resolve(columns, 1))).models.by_layer
    # The first column is the first layer, the last one the last: A stands for both ends.
    np.testing.assert_array_equal(models.block["repeat"][0], [4, 3, 1])
    np.testing.assert_array_equal(models.feed_forward[0, 0], [512, 1024, 512])


def test_layers_all_the_same_are_one_column() -> None:
    columns = {
        key: Column.constant(value, 1)
        for key, value in {
            "model": "flexibert",
            "model.layers": 12,
            "accelerator": "acceltran-edge",
        }.items()
    }
    models = next(iter(resolve(columns, 1))).models.by_layer
    np.testing.assert_array_equal(models.block["repeat"], [[12]])


def test_a_projection_sets_a_layer_apart() -> None:
    rows = {
        "model": "flexibert",
        "model.layers": 4,
        "accelerator": "acceltran-edge",
        "model.layer1.hidden": 128,
        "model.layer2.hidden": 512,
        "model.layer3.hidden": 512,
        "model.layer4.hidden": 512,
    }
    models = next(iter(resolve({k: Column.constant(v, 1) for k, v in rows.items()}, 1))).models
    layers = models.by_layer
    np.testing.assert_array_equal(layers.block["repeat"][0], [1, 1, 2])
    assert layers.before is not None
    np.testing.assert_array_equal(layers.before, [128, 128, 512])


def test_sums_and_parts_of_a_fold() -> None:
    fold = Fold.of_lengths(np.array([2, 1, 3]))
    values = np.arange(6.0)
    assert fold.sum(values).tolist() == [1, 2, 12]
    assert fold.most(-values).tolist() == [0, -2, -3]
    assert fold.spread(np.array([7, 8, 9])).tolist() == [7, 7, 8, 9, 9, 9]
    places, again = fold.chosen(np.array([2, 0, 2]))
    assert places.tolist() == [3, 4, 5, 0, 1, 3, 4, 5]
    assert again.start.tolist() == [0, 3, 5]
    where, part = again.part(slice(1, 3))
    assert (where.start, where.stop) == (3, 8)
    assert part.start.tolist() == [0, 2] and part.of.tolist() == [0, 0, 1, 1, 1]
