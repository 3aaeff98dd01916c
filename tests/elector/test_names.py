"""Names are shown and decide nothing; users' files name operations by words of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import columns, operations, settings_of

import elector
from elector.base.table import Column
from elector.evaluation.path import evaluate
from elector.events.timeline import run
from elector.operations import names
from elector.operations.roles import ModelSection, Place, Role, RowPart, layer_word, word

MACHINES = ("systolic", "acceltran-edge", "a100-sxm-40gb", "reram", "hpt", "reram+systolic")
MODES: dict[str, dict[str, Any]] = {
    "inference": {},
    "training": {"mode": "training"},
    "flash": {"mode": "training", "attention": "flash", "trainable": "lora:4"},
    "recompute": {"mode": "training", "activations": "recompute"},
    "heads": {"mode": "training", "trainable": "heads"},
}


def hashed(*identity: object) -> str:
    """A name that says nothing and contains nothing that a word does."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()


def one_for_all(*_: object) -> str:
    """The same name for everything."""
    return "0"


def renamed(monkeypatch: pytest.MonkeyPatch, name: Callable[..., str]) -> None:
    monkeypatch.setattr(names, "operation", name)
    monkeypatch.setattr(names, "layer", name)


def numbers(value: Any) -> Any:
    """A result without the names in it."""
    if isinstance(value, dict):
        return {k: numbers(v) for k, v in value.items() if k not in ("name", "layer")}
    return [numbers(v) for v in value] if isinstance(value, list) else value


def results(model: str, machine: str, settings: dict[str, Any]) -> Any:
    dotted = {k: v for k, v in settings_of(model, machine, settings).items() if "." in k}
    simulated = elector.simulate(model, machine, settings=dotted, operations=True)
    explained = [
        elector.explain(model, machine, result=result, settings=dotted)
        for result in ("energy_j", "latency_s", "macs")
        if simulated["feasible"]
    ]
    return numbers([simulated, explained])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", [hashed, pytest.param(one_for_all, marks=pytest.mark.slow)])
def test_names_decide_nothing(
    machine: str, mode: str, name: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results("bert-tiny", machine, MODES[mode])
    renamed(monkeypatch, name)
    assert results("bert-tiny", machine, MODES[mode]) == before


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("gpt2", {"generate": 8, "model__layers": 2}),
        pytest.param(
            *("t5-base", {"mode": "training", "model__layers": 2, "attention": "flash"}),
            marks=pytest.mark.slow,
        ),
        ("llama-2-7b", {"mode": "training", "model__layers": 1}),
        pytest.param(
            *("vit-base", {"mode": "training", "model__layers": 2}), marks=pytest.mark.slow
        ),
    ],
)
def test_names_of_no_model_decide(
    model: str, settings: dict[str, Any], machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = results(model, machine, settings)
    renamed(monkeypatch, hashed)
    assert results(model, machine, settings) == before


@pytest.mark.parametrize("table", ["acceltran", "dynatran", "trained-docstrings"])
def test_sparsity_tables_go_by_words(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"sparsity": table, "mode": "training"}
    if table == "trained-docstrings":
        settings |= {"model__layers": 3, "model__head": "classifier"}
    before = results("bert-tiny", "acceltran-edge", settings)
    renamed(monkeypatch, hashed)
    assert results("bert-tiny", "acceltran-edge", settings) == before


def test_heads_of_every_type_go_by_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "model": "flexibert",
        "accelerator": ["acceltran-edge", "systolic", "reram"],
        "workload.mode": "training",
        "model.layers": 2,
        **{f"model.layer1.head{i}": t for i, t in enumerate(("sdp", "wma", "dft", "c5"), 1)},
    }

    def costs() -> list[np.ndarray]:
        cost = evaluate(columns(3, rows), 3, level="groups")
        return [cost.scalar(name) for name in sorted(cost.names())]

    before = costs()
    renamed(monkeypatch, hashed)
    for one, other in zip(before, costs(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", [hashed, one_for_all])
def test_the_second_opinion_reads_no_names(
    machine: str, name: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("bert-tiny", machine, {"mode": "training", "sequence_length": 16})
    table = {key: Column.constant(value, 1) for key, value in settings.items()}
    before = run(table)
    renamed(monkeypatch, name)
    after = run(table)
    assert (after.seconds, after.stages, after.busy) == (before.seconds, before.stages, before.busy)
    assert after.spans == before.spans


def test_what_is_shown_is_the_word() -> None:
    """A user may copy what `--operations` shows into an assignment or a sparsity table."""
    ops = operations("t5-base", mode="training")
    for row in ops.rows:
        assert (row.name, row.layer) == (row.word, row.layer_word)


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("query", (Role.QUERY,)),
        ("cross query, key, value bias", (Role.PROJECTION_BIAS, RowPart.FORWARD, True)),
        (
            "feed-forward 2 gate weight gradient",
            (Role.FEED_FORWARD_GATE, RowPart.WEIGHT_GRADIENT, False, 2),
        ),
        (
            "feed-forward gelu gradient",
            (Role.FEED_FORWARD_ACTIVATION, RowPart.GRADIENT, False, 0, "gelu"),
        ),
        ("c9 pointwise", (Role.POINTWISE, RowPart.FORWARD, False, 0, "c9")),
        ("scores again", (Role.SCORES, RowPart.AGAIN)),
        ("output bias update", (Role.OUTPUT, RowPart.BIAS_UPDATE)),
    ],
)
def test_words(text: str, identity: tuple[Any, ...]) -> None:
    assert word(*identity) == text


def test_words_of_layers() -> None:
    assert layer_word(Place(ModelSection.LAYER, 2)) == "layer 3"
    assert layer_word(Place(ModelSection.LAYER, 2), RowPart.UPDATE) == "block 3"
    assert layer_word(Place(ModelSection.HEAD), RowPart.UPDATE) == "head"
