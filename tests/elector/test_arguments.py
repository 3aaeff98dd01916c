"""The Python API with arguments that no command line can hand in: errors of ours, never others."""

from __future__ import annotations

import decimal
import math
import pathlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import elector
import transcode
from elector.base import arguments
from elector.base.errors import ElectorError, InputError
from transcode.runs.manifest import MOST_ISLANDS

SPACE = {
    "name": "two",
    "model": {"base": "encoder", "layers": [1, 2], "hidden": 128, "heads": 2, "feed_forward": 512},
    "accelerator": {"base": "systolic", "rows": [16, 32]},
    "objectives": {"latency_s": "min", "area_mm2": "min"},
}
#: What is no argument of anything.
ODD: list[Any] = [
    object(),
    1j,
    b"bert-tiny",
    b"\0",
    "\0",
    "",
    [1],
    ("a", "b"),
    {1: 2},
    {"a"},
    math.nan,
    -1,
    decimal.Decimal(3),
    np.array([1, 2]),
    pd.Series(["bert-tiny"]),
    pd.NA,
    pathlib.Path("no/such.yaml"),
    elector,
    int,
]
MODEL = ("bert-tiny", "systolic")
DESIGN = {"model": "bert-tiny", "accelerator": "systolic"}
CALLS: dict[str, Callable[[Any], Any]] = {
    "simulate model": lambda v: elector.simulate(v, "systolic"),
    "simulate accelerator": lambda v: elector.simulate("bert-tiny", v),
    "simulate settings": lambda v: elector.simulate(*MODEL, settings=v),
    "simulate number": lambda v: elector.simulate(*MODEL, settings={"workload.batch": v}),
    "simulate choice": lambda v: elector.simulate(*MODEL, settings={"accelerator.dataflow": v}),
    "simulate technology": lambda v: elector.simulate(*MODEL, technology=v),
    "simulate operations": lambda v: elector.simulate(*MODEL, operations=v),
    "simulate samples": lambda v: elector.simulate(*MODEL, uncertainty=True, samples=v),
    "explain result": lambda v: elector.explain(*MODEL, v),
    "explain settings": lambda v: elector.explain(*MODEL, "energy_j", settings=v),
    "explain technology": lambda v: elector.explain(*MODEL, "energy_j", technology=v),
    "trace settings": lambda v: elector.trace(*MODEL, settings=v),
    "trace technology": lambda v: elector.trace(*MODEL, technology=v),
    "sweep": elector.sweep,
    "sweep technology": lambda v: elector.sweep([DESIGN], technology=v),
    "evaluate": elector.evaluate,
    "run": elector.run,
    "show": elector.show,
    "validate": lambda v: elector.validate(v),
    "validate technology": lambda v: elector.validate(only="tpu-v1", technology=v),
    "search": lambda v: transcode.search(v, budget=2),
    "search sampler": lambda v: transcode.search(SPACE, sampler=v),
    "search budget": lambda v: transcode.search(SPACE, budget=v),
    "search time": lambda v: transcode.search(SPACE, time=v),
    "search seed": lambda v: transcode.search(SPACE, seed=v),
    "search fresh": lambda v: transcode.search(SPACE, fresh=v),
    "search islands": lambda v: transcode.search(SPACE, islands=v),
    "search storage": lambda v: transcode.search(SPACE, storage=v),
    "search cluster": lambda v: transcode.search(SPACE, cluster=v),
    "search stall": lambda v: transcode.search(SPACE, stall=v),
    "search warm start": lambda v: transcode.search(SPACE, warm_start=v),
    "load_run": transcode.load_run,
    "front": transcode.front,
    "compare": lambda v: transcode.compare(v, v),
    "report": transcode.report,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working folder, and nothing in it afterwards."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_argument_is_an_error_of_ours(call: str) -> None:
    for value in ODD:
        with pytest.raises(ElectorError) as caught:
            CALLS[call](value)
        assert len(str(caught.value)) < 4000


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: elector.simulate(*MODEL, technology="mine.csv"), r"Technology\.load\(FILE\)"),
        (lambda: elector.simulate(*MODEL, operations="no"), "operations: must be True or False"),
        (lambda: elector.simulate(*MODEL, settings=[("a.b", 1)]), "settings: must be a mapping"),
        (lambda: elector.simulate(*MODEL, settings={3: 1}), "settings: a name must be text"),
        (lambda: elector.explain(*MODEL, None), "result: must be text"),
        (lambda: elector.show(None), "NAME: must be a name or a path"),
        (lambda: elector.validate(only=3), "only: must be text"),
        (lambda: elector.run(3), "plan: must be a plan"),
        (lambda: transcode.search(None), "space: must be a file"),
        (lambda: transcode.search(SPACE, seed=None), "--seed: must be a whole number from 0 up"),
        (lambda: transcode.search(SPACE, budget=True), "--budget: must be a whole number"),
        (lambda: transcode.search(SPACE, out=b"x"), "--out: must be a path"),
        (lambda: transcode.search(SPACE, evaluator=3), "evaluator: must be a function"),
        (lambda: transcode.search(SPACE, progress="x"), "progress: must be a function"),
        (lambda: transcode.front(None), "run: must be the folder of a run"),
    ],
)
def test_the_error_names_the_argument_and_what_it_has_to_be(
    call: Callable[[], Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_so_many_islands_are_refused_before_they_take_memory() -> None:
    with pytest.raises(InputError, match="--islands: must be a whole number from 1 to 1,024"):
        transcode.search(SPACE, sampler="evolve", islands=MOST_ISLANDS + 1)


def test_numbers_of_numpy_are_numbers() -> None:
    assert arguments.whole(np.int64(3)) == 3
    assert type(arguments.whole(np.uint8(3))) is int
    assert arguments.whole(np.bool_(True)) is None
    assert arguments.whole(3.0) is None
    assert arguments.number(np.float32(0.5)) == 0.5
    assert arguments.number(10**400) == math.inf
    assert arguments.flag(np.bool_(True), "x") is True
    one = elector.simulate(*MODEL, uncertainty=np.bool_(True), samples=np.int64(20))
    assert one == elector.simulate(*MODEL, uncertainty=True, samples=20)


def test_paths_are_names() -> None:
    assert elector.show(Path("bert-tiny")) == elector.show("bert-tiny")
    with pytest.raises(InputError, match=r"no/such\.yaml"):
        transcode.search(Path("no/such.yaml"))
