"""What designs are expected to be worth: exact where costs are products, and never blind trust."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL
from test_evolve import WIDE, problem_of

from elector.base.table import Column
from transcode import engines, pareto
from transcode.engines.base import table_of
from transcode.engines.evolve import features as features_module
from transcode.engines.evolve import surrogate as module
from transcode.engines.evolve.engine import Evolve
from transcode.engines.evolve.features import Features
from transcode.engines.evolve.surrogate import Surrogate
from transcode.engines.evolve.variation import Variation
from transcode.objective import Outcome
from transcode.space import Parameter, Space, load

LAYERED: dict[str, Any] = {
    **SMALL,
    "where": [],
    "model": {
        "base": "flexibert",
        "layers": [2, 4],
        "hidden": [128, 256],
        "heads": [2, 4],
        "head_types": ["sdp", "dft"],
        "feed_forward": [256, 512, 1024],
    },
}


def features_of(space: Space) -> Features:
    return Features(space, Variation(space).families)


def outcome(values: np.ndarray, feasible: np.ndarray | None = None) -> Outcome:
    """What became of designs: nothing but objectives."""
    size = len(values)
    runs = np.ones(size, dtype=bool) if feasible is None else feasible
    shown = np.where(runs[:, None], values, np.nan)
    return Outcome({}, shown, {}, runs, Column(("",), np.zeros(size, dtype=np.intp)))


def drawn(space: Space, size: int, seed: int) -> np.ndarray:
    codes = space.from_unit(np.random.default_rng(seed).random((size, len(space.parameters))))
    return space.canonical(codes)


def product(space: Space, codes: np.ndarray) -> np.ndarray:
    """(D, 2) of hidden^1.5 x a factor of the dataflow / rows, and sram x hidden."""
    number = {
        name: np.array([float(str(v)) for v in space.column(name, codes).values])[
            space.column(name, codes).codes
        ]
        for name in ("model.hidden", "accelerator.rows", "accelerator.sram")
    }
    flow = space.column("accelerator.dataflow", codes)
    factor = np.array([{"ws": 1.0, "os": 3.0, "is": 0.2}[str(v)] for v in flow.values])[flow.codes]
    hidden, rows, sram = number.values()
    return np.stack([hidden**1.5 / rows * factor, sram * hidden], axis=1)


def test_products_of_settings_are_known_exactly() -> None:
    space = load(WIDE)
    known, new = drawn(space, 2_000, 0), drawn(space, 300, 1)
    surrogate = Surrogate(features_of(space))
    assert not surrogate.ready
    surrogate.learn(known, outcome(product(space, known)))
    assert surrogate.ready
    # what holds coefficients back costs parts in a thousand
    np.testing.assert_allclose(surrogate.expected(new), product(space, new), rtol=5e-3)


def test_what_was_learnt_in_parts_is_what_was_learnt_at_once() -> None:
    space = load(WIDE)
    codes = drawn(space, 900, 0)
    values = product(space, codes)
    once, parts = (Surrogate(features_of(space)) for _ in range(2))
    once.learn(codes, outcome(values))
    for part in np.split(np.arange(900), [100, 300]):  # each is worth another fit
        parts.learn(codes[part], outcome(values[part]))
        parts.expected(codes[:3])
    assert once.learnt == parts.learnt == 900
    new = drawn(space, 50, 1)
    np.testing.assert_allclose(parts.expected(new), once.expected(new), rtol=1e-9)


def test_only_feasible_designs_teach_and_not_all_of_many() -> None:
    space = load(WIDE)
    codes = drawn(space, 3 * module.MOST, 0)
    feasible = np.arange(len(codes)) % 2 == 0
    surrogate = Surrogate(features_of(space))
    surrogate.learn(codes, outcome(product(space, codes), feasible))
    assert module.MOST / 2 < surrogate.learnt <= module.MOST
    nothing = Surrogate(features_of(space))
    nothing.learn(codes, outcome(product(space, codes), ~np.ones(len(codes), dtype=bool)))
    assert nothing.learnt == 0 and not nothing.ready


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_made_large_is_a_product_too(sign: float) -> None:
    space = load(WIDE)
    codes, new = drawn(space, 1_500, 0), drawn(space, 100, 1)
    surrogate = Surrogate(features_of(space))
    surrogate.learn(codes, outcome(sign * product(space, codes)))
    np.testing.assert_allclose(surrogate.expected(new), sign * product(space, new), rtol=1e-2)


def test_values_of_both_signs_are_fitted_as_they_are() -> None:
    space = load(WIDE)
    codes, new = drawn(space, 1_500, 0), drawn(space, 100, 1)

    def centred(codes: np.ndarray) -> np.ndarray:
        return np.log(product(space, codes)) - np.log(product(space, drawn(space, 500, 2))).mean(0)

    surrogate = Surrogate(features_of(space))
    surrogate.learn(codes, outcome(centred(codes)))
    assert (surrogate.signs == 0).all()
    np.testing.assert_allclose(surrogate.expected(new), centred(new), atol=1e-2)


def test_accuracy_is_known_by_its_distance_from_all() -> None:
    space = load(
        {
            **WIDE,
            "workload": {"task": "sst2"},
            "objectives": {"accuracy": "max", "latency_s": "min"},
        }
    )
    codes, new = drawn(space, 1_500, 0), drawn(space, 100, 1)

    def values(codes: np.ndarray) -> np.ndarray:
        hidden, latency = product(space, codes).T
        return np.stack([-(100.0 - 3.0 * (hidden / 1e3) ** -0.2), latency], axis=1)

    surrogate = Surrogate(features_of(space))
    surrogate.learn(codes, outcome(values(codes)))
    np.testing.assert_allclose(surrogate.expected(new), values(new), atol=1e-2, rtol=1e-2)
    assert (surrogate.expected(new)[:, 0] > -100.0).all()
    # beyond every design that was learnt, too
    all_of_it = np.stack([np.full(5, -100.0), np.ones(5)], axis=1)
    surrogate.learn(codes[:5], outcome(all_of_it))
    assert np.isfinite(surrogate.expected(new)).all()


def test_features_of_layers_are_of_those_that_are_there() -> None:
    space = load(LAYERED)
    features, codes = features_of(space), drawn(space, 400, 0)
    deep = codes.copy()
    # layers that are not there say nothing, whatever their codes
    for column in np.flatnonzero(space.idle(codes).any(axis=0)):
        idle = space.idle(codes)[:, column]
        deep[idle, column] = space.parameters[column].size - 1
    assert (deep != codes).any()
    np.testing.assert_array_equal(features.of(deep), features.of(codes))
    shallow = codes[:, next(i for i, p in enumerate(space.parameters) if "layers" in p.name)] == 0
    assert shallow.any() and not shallow.all()


def test_a_mean_and_a_largest_value_stand_for_a_family() -> None:
    space = load(LAYERED)
    features = features_of(space)
    code, names = drawn(space, 1, 3), [p.label for p in space.parameters]
    number = names.index("model.layers")
    code[:, number] = 1  # four layers
    columns = [i for i, name in enumerate(names) if "feed_forward" in name]
    assert len(columns) == 4
    code[0, columns] = [0, 0, 2, 1]
    table = table_of(space.parameters[columns[0]])[0]
    wanted = [table[[0, 0, 2, 1]].mean(), table[2]]
    plain = features.of(code)[:, 0]
    assert all(np.isclose(plain, value).any() for value in wanted)


def test_layers_are_known_by_their_weights() -> None:
    space = load(LAYERED)
    features, codes = features_of(space), drawn(space, 200, 0)
    number = {
        p.name: p.numbers[codes[:, i]]
        for i, p in enumerate(space.parameters)
        if p.numbers is not None
    }
    weights, stacks = np.zeros((2, 200))
    for i in range(1, 5):
        there = number["model.layers"] >= i
        hidden, wide = number[f"model.layer{i}.hidden"], number[f"model.layer{i}.feed_forward1"]
        weights += there * (4 * hidden**2 + 2 * hidden * wide)
        stacks += there * hidden * wide
    encoded = features.of(codes)
    for wanted in (weights, stacks):
        shares = np.exp(encoded) / wanted
        assert np.isclose(shares, shares[:, :1], rtol=1e-9).all(axis=1).sum() == 1


@pytest.mark.parametrize("missing", ["hidden", "feed_forward"])
def test_layers_of_which_little_is_searched_have_no_weights(missing: str) -> None:
    fewer = {key: value for key, value in LAYERED["model"].items() if key != missing}
    all_of_it, some = (
        features_of(load({**LAYERED, "model": model})) for model in (LAYERED["model"], fewer)
    )
    # without a family there are two numbers and two sums less
    assert some.count == all_of_it.count - 4


def test_a_single_layer_is_known_by_its_weights_too() -> None:
    model = {"base": "flexibert", "layers": 1, "hidden": [128, 256], "feed_forward": [256, 512]}
    features = features_of(load({**LAYERED, "model": model}))
    assert not features.families.wholes
    encoded = features.of(drawn(features.space, 20, 0))
    assert len(encoded) == features.count == len(features._numeric)


@pytest.mark.parametrize("values", [(0, 256, 512), (-2, 0, 3), (1, 10, 100), ("a", "b", "c")])
def test_whatever_the_values_they_count_alike(values: tuple[Any, ...]) -> None:
    table = table_of(Parameter("workload.some", "workload.some", values))
    np.testing.assert_allclose(table.mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(table.std(axis=1), 1.0, atol=1e-12)
    if not isinstance(values[0], str):
        assert table.shape == (1, 3) and (np.diff(table[0]) > 0).all()


def test_products_are_bounded_however_many_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {
        **SMALL,
        "accelerator": {
            "base": "systolic",
            **{k: [8, 16, 32] for k in ("rows", "cols")},
        },
    }
    space = load(many)
    plain = features_of(space)
    assert len(plain.pairs[0]) == plain.count * (plain.count + 1) // 2
    assert len(features_of(load("machines")).pairs[0]) > 700
    monkeypatch.setattr(features_module, "PRODUCTS", 150)
    some = features_of(load("machines"))
    assert 150 <= len(some.pairs[0]) <= 150 + some.count
    assert (some.pairs[1][some.pairs[0] == 0] == np.arange(some.count)).all()
    codes = drawn(load("machines"), 20, 0)
    one, two = some.pairs
    features = some.of(codes)
    np.testing.assert_array_equal(some.products(features), features[one] * features[two])


def test_the_best_are_those_that_add_most_and_some_that_nobody_expects() -> None:
    space = load(WIDE)
    known, new = drawn(space, 1_500, 0), drawn(space, 400, 1)
    values = product(space, known)
    surrogate = Surrogate(features_of(space))
    surrogate.learn(known, outcome(values))
    front = values[pareto.nondominated(values)] * 1.3
    reference = values.max(axis=0) * 1.1
    places = surrogate.best(new, 40, front, reference)
    anyhow = int(module.ANYHOW * 40)
    assert 0 < anyhow < 40 == len(set(places.tolist()))
    assert places[:anyhow].tolist() == list(range(anyhow))
    whole = pareto.hypervolume(front, reference)
    true = np.array(
        [pareto.hypervolume(np.vstack([front, v]), reference) - whole for v in product(space, new)]
    )
    left = np.arange(anyhow, 400)
    ideal = np.sort(true[left])[::-1][: 40 - anyhow].sum()
    assert true[places[anyhow:]].sum() > 0.9 * ideal > 0


def run(space_of: dict[str, Any], budget: int, seed: int) -> tuple[float, np.ndarray]:
    problem = problem_of(space_of)
    codes = problem.space.designs(np.arange(0, problem.space.cardinality, 7))
    every = problem.assess(codes[problem.space.allowed(codes)])
    reference = pareto.reference_point(every.objectives[every.feasible])
    engine = engines.make("evolve", problem, seed, 4096, reference)
    assert isinstance(engine, Evolve)
    batches, values = [], []
    while sum(map(len, batches)) < budget:
        batch = engine.suggest(4096)
        result = problem.assess(batch)
        engine.update(batch, result)
        batches.append(batch)
        values.append(result.objectives[result.feasible])
    return pareto.hypervolume(np.concatenate(values), reference), np.concatenate(batches)


def test_a_search_that_expects_something_finds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    three = {
        **WIDE,
        "objectives": {"latency_s": "min", "energy_j": "min", "area_mm2": "min"},
        "constraints": [],
    }
    with_it = [run(three, 900, seed)[0] for seed in range(4)]
    monkeypatch.setattr(module, "LEAST", 10**9)
    without = [run(three, 900, seed)[0] for seed in range(4)]
    assert np.mean(with_it) > np.mean(without)


def test_a_resumed_engine_expects_the_same() -> None:
    problem = problem_of(WIDE)
    engine = engines.make("evolve", problem, 3, 512, np.ones(2))
    again = engines.make("evolve", problem, 3, 512, np.ones(2))
    assert isinstance(engine, Evolve) and isinstance(again, Evolve)
    for _ in range(14):
        codes = engine.suggest(512)
        state = engine.state()
        result = problem.assess(codes)
        again.resume(engines.Finished(codes, result, state))
        engine.update(codes, result)
        again.population = engine.population  # what was measured since is in the next state
    assert engine.surrogate.ready
    np.testing.assert_array_equal(again.suggest(512), engine.suggest(512))
