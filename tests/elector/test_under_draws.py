"""Designs under draws of the constants: what no constant has a say in is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import columns

from elector.base.table import Column
from elector.evaluation import under_draws
from elector.evaluation.path import evaluate
from elector.technology import Technology

SHIPPED = Technology.load()
IDS = (
    "overhead:idle_power",
    "mac:pe_energy_factor",
    "sram:read_energy@14",
    "dram.hbm2:energy",
    "logic:leakage@14",
    "mac.bf16:operator_area@45",
    "acceltran.lane_16_relu:energy@14",
    "gpu.fp16:energy@7",
    "reram.isaac:adc",
    "reram:write",
)
#: Model, machine, settings that differ among three designs.
DESIGNS = [
    ("bert-base", "systolic", {"accelerator.clock": [0.7e9, 1.5e9, 0.3e9]}),
    ("gpt2", "systolic", {"workload.generate": [4, 0, 9]}),
    ("bert-base", "tpu-v3", {"workload.mode": ["training"] * 3, "workload.batch": [1, 3, 8]}),
    ("bert-tiny", "acceltran-edge", {"workload.sparsity": ["dynatran"] * 3}),
    ("bert-large", "systolic", {"accelerator.memory_capacity": ["1 MB", "16 GB", "9 GB"]}),
    ("bert-base", "a100-sxm-80gb", {"accelerator.power_limit": ["90 W", "400 W", "200 W"]}),
    ("bert-tiny", "reram", {"workload.mode": ["training"] * 3, "workload.batch": [1, 3, 8]}),
    ("bert-tiny", "reram+systolic", {}),
]


def drawn(draws: int = 3) -> Technology:
    """The shipped constants, some of them under draws."""
    random = np.random.default_rng(0)
    own = {i: float(SHIPPED.row(i).value) * random.uniform(0.5, 2.0, draws) for i in IDS}
    return SHIPPED.drawn({i: values.tolist() for i, values in own.items()})


def table(model: str, accelerator: str, settings: dict[str, list[Any]]) -> dict[str, Column]:
    """Three designs."""
    return columns(3, {"model": model, "accelerator": accelerator, **settings})


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_once_is_as_good_as_for_every_draw(
    model: str,
    accelerator: str,
    settings: dict[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bit for bit the costs of designs whose physics are computed anew for each draw."""
    asked, technology = table(model, accelerator, settings), drawn()
    cost = evaluate(asked, 3, technology=technology, level="groups")
    monkeypatch.setattr(under_draws, "apart", lambda chunk, technology: False)
    anew = evaluate(asked, 3, technology=technology, level="groups")
    assert cost.size == 9 and cost.names() == anew.names()
    for name in cost.names():
        assert np.array_equal(cost.scalar(name), anew.scalar(name), equal_nan=True), name
    assert (cost.feasible == anew.feasible).all()
    assert [cost.reason(i) for i in range(9)] == [anew.reason(i) for i in range(9)]


def test_the_physics_of_a_systolic_array_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 draws of three designs, three are scheduled; of a GPU under a limit, all are."""
    scheduled = []
    from elector.evaluation import path

    real = path.schedule

    def counted(ops: Any, index: Any, activity: Any) -> Any:
        scheduled.append(index.size)
        return real(ops, index, activity)

    monkeypatch.setattr(path, "schedule", counted)
    evaluate(table(*DESIGNS[0]), 3, technology=drawn(50))
    assert sum(scheduled) == 3
    scheduled.clear()
    evaluate(table(*DESIGNS[5]), 3, technology=drawn(50))
    assert sum(scheduled) >= 150


def test_draws_of_what_silicon_reaches_decide_which_designs_run() -> None:
    """Half the clock that published silicon reaches: 1.5 GHz at 14 nm no longer runs."""
    rows = [r for r in SHIPPED.rows if (r.part, r.quantity) == ("logic", "clock")]
    values = {r.id: [float(r.value), float(r.value) / 2.0] for r in rows}
    cost = evaluate(table(*DESIGNS[0]), 3, technology=SHIPPED.drawn(values))
    assert cost.feasible.tolist() == [True, True, True, True, False, True]
