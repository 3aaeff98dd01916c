"""The event-driven model of ReRAM: shares of crossbars and power, no gaps, plans by brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elector.evaluation.path import inspect
from elector.events.engine import EventEngine, Job, Span
from elector.events.timeline import Timeline, timeline
from elector.events.trace import events, trace
from elector.machines.reram.events import ReramUnits
from elector.operations.roles import RowPart
from elector.studies.simulation import columns_of
from elector.technology import Technology


def chunk(model: str, name: str, **settings: Any) -> Any:
    cells = {k.replace("__", "."): v for k, v in settings.items()}
    return inspect(columns_of({"model": model, "accelerator": name, **cells}), Technology.load())


def gaps(step: Timeline) -> list[float]:
    """Seconds between which nothing is busy, one after another."""
    listed, end = [], 0.0
    for span in sorted(step.spans, key=lambda s: s.start):
        listed.append(span.start - end)
        end = max(end, span.end)
    return [gap for gap in [*listed, step.seconds - end] if gap > 1e-12]


def most_at_once(spans: list[Span], resource: str) -> float:
    """The largest share of a resource that is taken at any time."""
    mine = [s for s in spans if s.resource == resource]
    steps = [(s.start, s.amount) for s in mine] + [(s.end, -s.amount) for s in mine]
    total = most = 0.0
    for _, change in sorted(steps, key=lambda step: (round(step[0], 15), step[1])):
        total += change
        most = max(most, total)
    return most


@pytest.mark.parametrize("name", ["isaac", "puma", "reram"])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_something_works_at_any_time(name: str, batch: int, mode: str) -> None:
    """But while the last sums of a product are converted: 100 ns each time."""
    inspected = chunk(
        "bert-tiny",
        name,
        workload__batch=batch,
        workload__mode=mode,
        accelerator__transposed_read="bidirectional",
    )
    assert all(gap <= 100e-9 * (1 + 1e-6) for gap in gaps(timeline(inspected)))


@pytest.mark.parametrize(
    ("asked", "resource"),
    [
        ({"accelerator__copies": 7}, "crossbars: layers 1 query"),
        ({"workload__sequence_length": 5, "accelerator__copies": 64}, "crossbars: layers 2 output"),
        ({"accelerator__write_power": 0.02}, "write drivers"),
        ({"accelerator__tiles": 4}, "spare crossbars"),
        ({"accelerator__tiles": 1, "accelerator__reload": True}, "spare crossbars"),
    ],
)
def test_nobody_takes_what_is_taken(asked: dict[str, Any], resource: str) -> None:
    step = timeline(chunk("bert-tiny", "isaac", workload__batch=6, **asked))
    most = most_at_once(step.spans, resource)
    assert 0.2 < most <= 1 + 1e-6
    assert step.busy[resource] <= step.seconds * (1 + 1e-9)


def test_what_stands_side_by_side_is_drawn_side_by_side() -> None:
    cells = {"model": "bert-tiny", "accelerator": "isaac", "workload.batch": 4}
    listed = events(trace(columns_of(cells), "t"))["traceEvents"]
    assert isinstance(listed, list)
    tracks = {e["args"]["name"]: e["tid"] for e in listed if e["ph"] == "M" and e["tid"]}
    shared = [name for name in tracks if name.startswith("spare crossbars")]
    assert shared == ["spare crossbars", *(f"spare crossbars #{i}" for i in range(2, 5))]
    last: dict[int, float] = {}
    for e in sorted((e for e in listed if e["ph"] == "X"), key=lambda e: (e["tid"], e["ts"])):
        assert e["ts"] >= last.get(e["tid"], 0.0) - 1e-9
        last[e["tid"]] = e["ts"] + e["dur"]


def test_a_piece_takes_two_units_at_once_or_waits() -> None:
    def job(unit: str, seconds: float, amount: float, also: tuple[str, float] | None) -> Job:
        shape = (0, 0, 0, unit, [seconds], 0.0, 0.0, 0.0, None, False, "m")
        return Job(*shape, amount=amount, also=also)

    jobs = [
        job("pool", 2.0, 0.5, ("power", 0.8)),
        job("pool", 2.0, 0.25, ("power", 0.4)),  # there is room, but no power
        job("pool", 1.0, 0.25, None),  # waits behind it
    ]
    engine = EventEngine(jobs, {"m": (1.0, 1.0)}, 0.0)
    assert engine.run() == pytest.approx(4.0)
    assert engine.busy == pytest.approx({"pool": 1.0 + 0.5 + 0.25, "power": 1.6 + 0.8})
    assert {(s.resource, s.start, s.end) for s in engine.spans if s.amount == 0.25} == {
        ("pool", 2.0, 4.0),
        ("pool", 2.0, 3.0),
    }


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("model", ["bert-tiny", "bert-mini"])
def test_the_plan_is_among_the_best_that_brute_force_finds(model: str, batch: int) -> None:
    """Every number of copies is run through the queue of events with all the rest for operands."""
    asked = {"workload__batch": batch, "workload__sequence_length": 40, "accelerator__tiles": 40}
    inspected = chunk(model, "isaac", **asked)
    own = timeline(inspected).seconds
    weights = {"bert-tiny": 200, "bert-mini": 1568}[model]
    best = np.inf
    for copies in range(1, 40 * 96 // weights + 1):
        pool = 40 * 96 - copies * weights
        if pool < 8:
            continue

        def forced(c: Any, copies: int = copies, pool: int = pool) -> ReramUnits:
            return ReramUnits(c, copies, pool)

        other = replace(inspected, machine=replace(inspected.machine, events=forced))
        best = min(best, timeline(other).seconds)
    assert own <= 1.15 * best


RELOAD: dict[str, Any] = {
    "accelerator__reload": True,
    "accelerator__memory_capacity": 1e12,
    "workload__sequence_length": 32,
    "workload__batch": 2,
    "model__layers": 2,
    "model__vocabulary": 5000,
}


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("bert-mini", {"accelerator__tiles": 4, "accelerator__digital_macs": 0}),
        (
            "bert-tiny",
            {"accelerator__tiles": 1, "accelerator__digital_macs": 1024, "workload__batch": 1},
        ),
        (
            "gpt2",
            {
                "workload__mode": "training",
                "workload__batch": 1,
                "workload__sequence_length": 4,
                "accelerator__tiles": 4,
                "accelerator__digital_macs": 1024,
                "accelerator__write_power": 1,
                "accelerator__transposed_read": "bidirectional",
            },
        ),
        (
            "gpt-oss-20b",
            {
                "workload__batch": 1,
                "workload__sequence_length": 2,
                "workload__generate": 1,
                "accelerator__tiles": 168,
                "accelerator__digital_macs": 16384,
            },
        ),
    ],
)
def test_weights_that_do_not_stay_take_as_long_as_the_closed_form_says(
    model: str, asked: dict[str, Any]
) -> None:
    """Fetching the next matrix goes on while this one is written and read, and products of two
    computed operands run where the plan has them run."""
    case = chunk(model, "reram", **RELOAD | asked)
    assert case.activity.told.extra["weight_copies"][0] == 0
    assert timeline(case).seconds == pytest.approx(float(case.timing.seconds[0]), rel=0.1)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_matrix_is_fetched_before_it_is_written_and_written_before_it_is_read(
    batch: int,
) -> None:
    """By every sequence, whose reads take no write drivers."""
    asked = RELOAD | {"workload__batch": batch, "accelerator__tiles": 4}
    case = chunk("bert-mini", "reram", accelerator__digital_macs=1024, **asked)
    step, checked = timeline(case), 0
    for r in {s.row for s in step.spans if s.resource == "write drivers"}:
        for layer in range(2):
            mine = [s for s in step.spans if (s.row, s.layer) == (r, layer)]
            written = [s for s in mine if s.resource == "write drivers"]
            moved = sorted(s.end for s in mine if s.resource == "memory")
            fetched = moved[: len(written)]  # later ones are what its results move
            if not written or not fetched:
                continue
            pulses = {(s.start, s.end) for s in written}
            read = [
                s
                for s in mine
                if s.resource == "spare crossbars" and (s.start, s.end) not in pulses
            ]
            begun = sorted(s.start for s in written)
            assert all(there <= start + 1e-15 for there, start in zip(fetched, begun, strict=True))
            assert min(s.start for s in read) >= max(s.end for s in written) - 1e-15
            assert {s.stream for s in written} == {0}
            assert len({s.stream for s in read}) == int(case.timing.streams["step"][0])
            checked += 1
    assert checked >= 11


@pytest.mark.parametrize(
    "asked", [{"accelerator__reload": True}, {"accelerator__dynamic": "write"}]
)
def test_a_packed_cache_is_unpacked_before_it_is_written(asked: dict[str, Any]) -> None:
    """In as many pieces as it is written in, which is one: a finer cut would never be taken."""
    sizes = {"accelerator__digital_macs": 0, "accelerator__memory_capacity": 1e12}
    sizes |= {"model__layers": 2, "model__vocabulary": 500, "workload__sequence_length": 4}
    packed = {"workload__generate": 3, "workload__kv_cache": "int4"}
    tiles = 2 if "accelerator__reload" in asked else 1000
    case = chunk("gpt2", "reram", accelerator__tiles=tiles, **sizes, **packed, **asked)
    step = timeline(case)
    assert any(step.rows[s.row].part is RowPart.UNPACKED for s in step.spans)
    assert step.seconds == pytest.approx(float(case.timing.seconds[0]), rel=0.1)
