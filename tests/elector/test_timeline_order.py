"""What the event-driven model does in turn, waits for, and fetches ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.evaluation.path import inspect
from elector.events.timeline import run, timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology


def products(folder: Path, *shapes: tuple[int, int, int]) -> str:
    """A list of matrix products (m, k, n)."""
    path = folder / "list.csv"
    lines = [f"p{i},{m},{n},{k}" for i, (m, k, n) in enumerate(shapes)]
    path.write_text("name,M,N,K\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def order_of(settings: dict[str, Any], phase: str) -> list[tuple[int, str, int]]:
    """(turn, layer word, layer) of the operations of a phase, as they begin."""
    step = timeline(inspect(columns_of(settings), Technology.load()))
    begins: dict[tuple[int, str, int], float] = {}
    for s in step.spans:
        row = step.rows[s.row]
        if row.phase == phase and s.resource in ("array", "vector"):
            key = (s.turn, row.layer, s.layer)
            begins[key] = min(begins.get(key, np.inf), s.start)
    return sorted(begins, key=lambda key: begins[key])


@pytest.mark.parametrize("model", ["gpt2", "t5-base"])
def test_a_token_depends_on_the_last_one(model: str) -> None:
    """All embeddings came first, then "layers 1 ... 84" of seven tokens."""
    settings: dict[str, Any] = {
        "model": model,
        "accelerator": "systolic",
        "workload.generate": 8,
        "accelerator.memory_capacity": 1e12,
    }
    order = order_of(settings, "decode")
    assert [turn for turn, *_ in order] == sorted(turn for turn, *_ in order)
    for turn in range(7):
        one = [(word, layer) for t, word, layer in order if t == turn]
        assert one[0][0] == "embedding" and one[-1][0] == "head"
        layers = [layer for word, layer in one if word not in ("embedding", "head")]
        assert layers == list(range(12))
    assert {turn for turn, *_ in order} == set(range(7))


def test_a_window_that_fills_up_changes_no_order() -> None:
    """Tokens before and after the window is full are rows of their own, in their order."""
    settings: dict[str, Any] = {
        "model": "mistral-7b",
        "model.layers": 2,
        "accelerator": "systolic",
        "workload.sequence_length": 4094,
        "workload.generate": 6,
        "accelerator.memory_capacity": 1e12,
    }
    step = timeline(inspect(columns_of(settings), Technology.load()))
    heads = [s for s in step.spans if step.rows[s.row].layer == "head" and s.resource == "array"]
    layers = [s for s in step.spans if step.rows[s.row].phase == "decode"]
    ends = sorted({round(s.end, 12) for s in heads if step.rows[s.row].phase == "decode"})
    assert len({(s.row, s.turn) for s in heads if step.rows[s.row].phase == "decode"}) == 5
    assert len(ends) >= 5 and len({(s.row, s.turn, s.layer) for s in layers}) > 5 * 2


def test_a_micro_batch_comes_after_the_one_before() -> None:
    settings: dict[str, Any] = {
        "model": "bert-mini",
        "accelerator": "systolic",
        "workload.mode": "training",
        "workload.gradient_accumulation": 3,
    }
    drawn = timeline(inspect(columns_of(settings), Technology.load()))
    chained = [s for s in drawn.spans if not drawn.rows[s.row].off_chain]
    for turn in range(2):
        last = max(s.end for s in chained if s.turn == turn and s.resource != "memory")
        step = [s for s in chained if drawn.rows[s.row].phase != "update"]
        first = min(s.start for s in step if s.turn == turn + 1 and s.resource != "memory")
        assert first >= last - 1e-12


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize(("mode", "port"), [("inference", 1e9), ("training", 1e10)])
def test_the_port_of_the_on_chip_memory_is_waited_for(
    dataflow: str, mode: str, port: float
) -> None:
    """It was ignored: 280 us against 3.82 ms."""
    settings: dict[str, Any] = {
        "model": "bert-tiny",
        "accelerator": "systolic",
        "accelerator.dataflow": dataflow,
        "accelerator.sram_bandwidth": port,
        "workload.mode": mode,
    }
    chunk = inspect(columns_of(settings), Technology.load())
    seconds, closed = timeline(chunk).seconds, float(chunk.timing.seconds[0])
    assert seconds == pytest.approx(closed, rel=0.05)
    plain = run(columns_of(settings | {"accelerator.sram_bandwidth": 0}))
    assert seconds > 1.3 * plain.seconds


def test_large_products_are_fetched_ahead(tmp_path: Path) -> None:
    """Pieces larger than the buffer were admitted alone: 81.6 ms for 47.9, 9.27 for 6.31."""
    cube: dict[str, Any] = {"model": products(tmp_path, (8192, 8192, 8192))}
    wide = {"rows": 128, "cols": 512, "dataflow": "os", "sram": 1e6}
    vision = {"model": "vit-base", "workload.batch": 3}
    vision |= {f"accelerator.{key}": value for key, value in wide.items()}
    for settings in (cube, vision):
        chunk = inspect(columns_of(settings | {"accelerator": "systolic"}), Technology.load())
        step = timeline(chunk)
        assert step.seconds == pytest.approx(float(chunk.timing.seconds[0]), rel=0.02)
        assert step.seconds < 1.2 * max(step.busy.values())
