"""Spaces of encoders with layers of their own: codes, files that extend others, whole runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import transcode
from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.pricing import Cost
from elector.evaluation.path import evaluate
from elector.studies.sweep import run_sweep
from elector.studies.sweep_output import write_result
from elector.studies.sweep_table import read_table
from transcode.engines import streams
from transcode.space import Space, load

SMALL: dict[str, Any] = {
    "name": "layers",
    "model": {
        "base": "flexibert",
        "layers": [1, 2],
        "hidden": [128, 256],
        "heads": [1, 2],
        "head_types": ["sdp", "dft"],
        "feed_forward": [256],
    },
    "accelerator": {"base": "acceltran-edge", "pe": [64, 128]},
    "workload": {"sequence_length": 128},
    "objectives": {"latency_s": "min", "area_mm2": "min"},
}
#: A layer: two widths, and one head of two types or two heads of two types each.
LAYER = 2 * (2 + 4)


def described(space: Space, codes: np.ndarray) -> list[tuple[object, ...]]:
    """What a design is, absent layers and heads left out."""
    designs = []
    columns = space.decode(codes)
    for i in range(len(codes)):

        def value(name: str, i: int = i) -> Any:
            return columns[name][i]

        parts = [value("accelerator.pe")]
        for layer in range(1, value("model.layers") + 1):
            at = f"model.layer{layer}."
            heads = value(f"{at}heads")
            parts += [value(f"{at}hidden"), *(value(f"{at}head{h}") for h in range(1, heads + 1))]
        designs.append(tuple(parts))
    return designs


# ---- one design, one code ----


def test_what_is_not_there_does_not_make_another_design() -> None:
    space = load(SMALL)
    codes = space.designs(np.arange(space.cardinality))
    each = described(space, codes)
    canonical = space.canonical(codes.copy())
    assert described(space, canonical) == each
    assert len(set(each)) == len(np.unique(space.key(canonical)))
    assert space.allowed_count == len(set(each)) == 2 * (LAYER + LAYER**2)
    assert (space.is_canonical(codes) == (codes == canonical).all(axis=1)).all()
    assert (space.encode(space.decode(codes)) == canonical).all()


@pytest.mark.parametrize("sampler", ["enumerate", "random", "quasi"])
def test_streams_give_every_design_once(sampler: str) -> None:
    space = load(SMALL)
    stream = {
        "enumerate": lambda: streams.enumerate_all(space),
        "random": lambda: streams.random(space, 0),
        "quasi": lambda: streams.quasi_random(space, 0),
    }[sampler]()
    designs = described(space, stream.suggest(10_000))
    assert len(designs) == len(set(designs)) == space.allowed_count


@pytest.mark.parametrize("sampler", ["enumerate", "evolve", "tpe"])
def test_no_design_is_evaluated_twice(tmp_path: Path, sampler: str) -> None:
    result = transcode.search(SMALL, out=tmp_path, sampler=sampler, budget=60)
    names = [p.name for p in result.space.parameters]
    rows = [
        dict(zip(names, row, strict=True))
        for part in transcode.runs.parts.read_all(tmp_path / "designs")
        for row in result.space.encode(dict(part.columns)).tolist()
    ]
    keys = [tuple(row.values()) for row in rows]
    assert len(keys) == len(set(keys)) == result.manifest["designs"]


def test_a_condition_on_a_layer_that_is_not_there_holds() -> None:
    space = load({**SMALL, "where": ["model.layer2.hidden >= 256"]})
    codes = space.canonical(space.designs(np.arange(space.cardinality)))
    kept = space.decode(codes[space.allowed(codes)])
    shallow = kept["model.layers"].map(int) == 1
    wide = kept["model.layer2.hidden"].map(int) == 256
    assert shallow.any() and (~shallow).any() and wide[~shallow].all()
    assert space.allowed_count is None


# ---- extends ----


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


BELOW = """
name: below
model: {base: encoder, layers: [2, 4]}
accelerator: {base: systolic, rows: [16, 32]}
objectives: {latency_s: min}
constraints: ["area_mm2 <= 100"]
"""


def test_a_space_takes_over_what_it_does_not_give(tmp_path: Path) -> None:
    below = written(tmp_path, "below.yaml", BELOW)
    over = written(tmp_path, "over.yaml", "extends: below.yaml\nname: over\nconstraints: []\n")
    deep = written(tmp_path, "deep.yaml", "extends: over.yaml\nmodel: bert-tiny\n")
    assert load(below).constraints and not load(over).constraints
    assert load(over).name == "over" and load(over).cardinality == 4
    assert load(deep).cardinality == 2 and load(deep).name == "over"
    lifted = written(tmp_path, "free.yaml", "extends: transcode\nconstraints: []\n")
    assert load("transcode").constraints and not load(lifted).constraints


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: none.yaml", "cannot be read|no such"),
        ("extends: nonesuch", "neither a file nor a shipped space"),
        ("extends: [a, b]", "must be a file or a shipped space"),
        ("extends: loop.yaml", "end somewhere"),
        ("extends: below.yaml\nobjectives: {}", "objectives"),
    ],
)
def test_bad_extensions(tmp_path: Path, text: str, message: str) -> None:
    written(tmp_path, "below.yaml", BELOW)
    path = written(tmp_path, "loop.yaml", text)
    with pytest.raises(InputError, match=message):
        load(path)


# ---- bad keys ----


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": [0]}, "from 1 to 12"),
        ({"layers": [13]}, "from 1 to 12"),
        ({"layers": []}, "no choice"),
        ({"heads": [2.5]}, "from 1 to 12"),
        ({"heads": [13]}, "from 1 to 12"),
        ({"head_types": ["sdp", "c7"]}, "c7"),
        ({"head_types": []}, "no choice"),
        ({"feed_forward": {"stacks": 4, "choices": [256]}}, "from 1 to 3"),
        ({"feed_forward": {"choices": []}}, "needs a list"),
        ({"feed_forward": {"widths": [256]}}, "unknown key"),
        ({"layer3.head13": "sdp"}, "unknown key"),
        ({"layer13.hidden": 128}, "unknown key"),
        ({"layer1.kernel": 5}, "unknown key"),
        ({"layer1.heads": [64]}, "from 1 to 12"),
    ],
)
def test_bad_keys_of_layers(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load({**SMALL, "model": {**SMALL["model"], **changed}})


# ---- whole runs ----

PRUNED: dict[str, Any] = {
    **SMALL,
    "name": "pruned",
    "workload": {
        "sequence_length": 128,
        "task": "sst2",
        "sparsity": "dynatran",
        "tau_i": [0, 0.05],
        "tau_t": [0, 0.001],
    },
    "workloads": {"serve": {"mode": "inference"}, "tune": {"mode": "training"}},
    "objectives": {
        "accuracy": "max",
        "serve.latency_per_sequence_s": "min",
        "tune.energy_per_sequence_j": "min",
        "area_mm2": "min",
    },
}


def test_a_front_sweeps_to_its_own_costs(tmp_path: Path) -> None:
    transcode.search(PRUNED, out=tmp_path / "run", sampler="random", budget=80)
    write_result(run_sweep(read_table(tmp_path / "run" / "front.csv")), str(tmp_path / "costs.csv"))
    with (tmp_path / "run" / "front.csv").open(encoding="utf-8") as file:
        front = list(csv.DictReader(file))
    with (tmp_path / "costs.csv").open(encoding="utf-8") as file:
        costs = list(csv.DictReader(file))
    assert len(front) == len(costs) > 3
    for name in PRUNED["objectives"]:
        for before, after in zip(front, costs, strict=True):
            assert float(after[name]) == pytest.approx(float(before[name]), rel=1e-12), name


class Interrupted:
    """The simulator, interrupted at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, columns: Mapping[str, Column], size: int) -> Cost:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return evaluate(columns, size, jobs=1)


def test_a_resumed_run_is_as_if_never_interrupted(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"sampler": "evolve", "budget": 60, "batch": 12, "seed": 3}
    settings["jobs"] = 1  # the simulator counts its calls, and a copy would count for itself
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    transcode.search(PRUNED, out=whole, evaluator=Interrupted(1000), **settings)
    with pytest.raises(KeyboardInterrupt):
        transcode.search(PRUNED, out=cut, evaluator=Interrupted(10), **settings)
    transcode.search(PRUNED, out=cut, evaluator=Interrupted(1000), **settings)
    for name in ("front.csv", "front.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
