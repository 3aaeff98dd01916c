"""A server that reads prompts between the tokens of others, beside one that is played through."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from commands import run

import elector
import transcode.space
from elector.base.table import Column
from elector.evaluation.path import evaluate

MACHINES = {
    "a100-sxm-80gb": {"workload.implementation": "vllm", "workload.attention": "flash"},
    "tpu-v4i": {},
    "systolic": {},
    "acceltran-server": {},
    "puma": {},
}
SMALL = {"model.layers": 2, "model.vocabulary": 1000, "model.positions": 1024}


def asked(machine: str, **workload: object) -> dict[str, Any]:
    settings = {f"workload.{key}": value for key, value in workload.items()}
    return elector.simulate("gpt2", machine, settings={**SMALL, **MACHINES[machine], **settings})


# ---- a server, played through step by step ----


@dataclass
class Request:
    """When it came, and when each of its tokens was there."""

    came: float
    tokens: list[float] = field(default_factory=list)


def served(
    requests: int,
    tokens: int,
    read: Callable[[int], float],
    decode: Callable[[list[int]], float],
    ended: int,
) -> list[Request]:
    """The last half of so many ended requests of a server that always has `requests` of them.

    read : prompts of one pass -> seconds. decode : tokens that each request has -> seconds of the
    next one of all. They begin spread over the tokens, and a request comes when another one ends.
    """
    now, done, fresh = 0.0, list[Request](), list[Request]()
    running = []
    for i in range(requests):
        old = Request(-math.inf, [-math.inf] * (1 + i * (tokens - 1) // requests))
        running.append(old)
    while len(done) < ended:
        if fresh:
            now += read(len(fresh))
            for request in fresh:
                request.tokens.append(now)
            running, fresh = running + fresh, []
        now += decode([len(request.tokens) for request in running])
        for request in running:
            request.tokens.append(now)
        over = [r for r in running if len(r.tokens) == tokens]
        running = [r for r in running if len(r.tokens) < tokens]
        done, fresh = done + over, [Request(now) for _ in over]
    return done[ended // 2 :]


def played(machine: str, batch: int, length: int, tokens: int) -> dict[str, float]:
    """What a played server measures, on passes that are simulated one by one."""
    read = [
        asked(machine, batch=n, sequence_length=length, generate=1)["latency_s"]
        for n in range(1, -(-batch // (tokens - 1)) + 1)
    ]
    # Seconds of a token are linear in the keys of all sequences, or nearly so.
    ends = (length, length + tokens)
    short, long = (
        asked(machine, batch=batch, sequence_length=n, generate=2)["time_per_output_token_s"]
        for n in ends
    )

    def decode(ages: list[int]) -> float:
        keys = length + sum(ages) / len(ages) - 1.0
        return float(short + (long - short) * (keys - ends[0]) / (ends[1] - ends[0]))

    turnovers = 8
    requests = served(batch, tokens, lambda n: read[n - 1], decode, turnovers * batch)
    spans = [r.tokens[-1] - r.tokens[0] for r in requests]
    seconds = requests[-1].tokens[-1] - requests[0].tokens[-1]
    return {
        "time_to_first_token_s": float(np.mean([r.tokens[0] - r.came for r in requests])),
        "time_per_output_token_s": float(np.mean(spans)) / (tokens - 1),
        "tokens_per_s": (len(requests) - 1) * tokens / seconds,
        "latency_s": float(np.mean([r.tokens[-1] - r.came for r in requests])),
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_a_played_server_measures_what_the_closed_form_says(machine: str) -> None:
    batch, length, tokens = 6, 48, 25  # a prompt every fourth token
    said = asked(
        machine, batch=batch, sequence_length=length, generate=tokens, serving="continuous"
    )
    simulated = played(machine, batch, length, tokens)
    for name, value in simulated.items():
        # the played throughput is cut off between two requests of a turnover
        near = 0.05 if name == "tokens_per_s" else 0.02
        assert said[name] == pytest.approx(value, rel=near), name


def test_more_requests_than_tokens_share_passes() -> None:
    batch, length, tokens = 12, 48, 5  # three prompts between two tokens
    machine = "a100-sxm-80gb"
    said = asked(
        machine, batch=batch, sequence_length=length, generate=tokens, serving="continuous"
    )
    simulated = played(machine, batch, length, tokens)
    for name in ("time_to_first_token_s", "time_per_output_token_s", "latency_s"):
        assert said[name] == pytest.approx(simulated[name], rel=0.02), name
    three = asked(machine, batch=3, sequence_length=length, generate=1)
    assert said["time_to_first_token_s"] == pytest.approx(three["latency_s"], rel=1e-9)


@pytest.mark.parametrize("machine", MACHINES)
def test_passes_of_unlike_numbers_of_prompts_are_those_of_a_played_server(machine: str) -> None:
    batch, length, tokens = 11, 48, 5  # three passes of three prompts and one of two
    said = asked(
        machine, batch=batch, sequence_length=length, generate=tokens, serving="continuous"
    )
    simulated = played(machine, batch, length, tokens)
    for name in ("time_to_first_token_s", "time_per_output_token_s", "latency_s"):
        assert said[name] == pytest.approx(simulated[name], rel=0.02), name
    two, three = (
        asked(machine, batch=n, sequence_length=length, generate=1)["latency_s"] for n in (2, 3)
    )
    mean = (2 * two + 9 * three) / batch
    assert said["time_to_first_token_s"] == pytest.approx(mean, rel=1e-3)


# ---- what holds by itself ----


RANGES = {
    "tpu-v4i": 64,
    "reram+systolic": 400,
    "a100-sxm-80gb": 64,
    "acceltran-server": 64,
    "systolic": 400,
    "hpt": 64,
}


def grid(machine: str, **numbers: list[int]) -> np.ndarray:
    """Seconds of gpt2 on a machine for every pair of two settings of the workload, as a table."""
    sides = [np.array(values) for values in numbers.values()]
    size = math.prod(side.size for side in sides)
    pairs = [side.ravel().tolist() for side in np.meshgrid(*sides, indexing="ij")]
    columns = {
        "model": Column.of(["gpt2"] * size),
        "accelerator": Column.of([machine] * size),
        "model.layers": Column.of([2] * size),
        "workload.sequence_length": Column.of([RANGES[machine]] * size),
        "workload.serving": Column.of(["continuous"] * size),
        **{f"workload.{k}": Column.of(v) for k, v in zip(numbers, pairs, strict=True)},
    }
    return evaluate(columns, size).scalars["latency_s"].reshape([side.size for side in sides])


@pytest.mark.parametrize("machine", RANGES)
def test_a_request_or_a_token_more_is_never_faster(machine: str) -> None:
    batches, tokens = list(range(1, 41)), list(range(2, 34))
    seconds = grid(machine, batch=batches, generate=tokens)
    assert (np.diff(seconds, axis=0) > -1e-12 * seconds[:-1]).all()
    # what a machine reads faster in two passes than in one is faster where more passes read it
    one = grid(machine, batch=batches, generate=[1])[:, 0] / np.array(batches)
    slower = np.flatnonzero(np.diff(one) > 1e-12)
    least = batches[slower[0]] if slower.size else batches[-1]
    passes = np.minimum(np.array(batches)[:, None], np.array(tokens) - 1)
    fits = (np.array(batches)[:, None] / passes <= least)[:, :-1]
    assert fits.mean() > 0.7
    assert (np.diff(seconds, axis=1)[fits] > 0).all()


@pytest.mark.parametrize(
    ("machine", "length", "first", "second"),
    [
        ("reram+systolic", 64, (19, 11), (20, 11)),
        ("tpu-v4i", 400, (20, 20), (20, 21)),
        ("tpu-v4i", 400, (10, 11), (11, 11)),
    ],
)
def test_more_work_takes_longer(
    machine: str, length: int, first: tuple[int, int], second: tuple[int, int]
) -> None:
    fewer, more = (
        elector.simulate(
            "gpt2",
            machine,
            settings={
                "workload.batch": batch,
                "workload.generate": generate,
                "workload.sequence_length": length,
                "workload.serving": "continuous",
            },
        )
        for batch, generate in (first, second)
    )
    assert fewer["latency_s"] < more["latency_s"] < 1.1 * fewer["latency_s"]
    assert 0.95 * fewer["tokens_per_s"] < more["tokens_per_s"]


@pytest.mark.parametrize("machine", [*MACHINES, "reram+systolic"])
@pytest.mark.parametrize(("batch", "generate"), [(7, 4), (8, 5), (3, 9), (13, 7)])
def test_seconds_are_those_of_the_passes(machine: str, batch: int, generate: int) -> None:
    settings = SMALL | MACHINES.get(machine, {})
    own = {"workload.batch": batch, "workload.generate": generate}
    served, phases, few, more = (
        elector.simulate("gpt2", machine, settings=settings | asked_for)
        for asked_for in (
            own | {"workload.serving": "continuous"},
            own,
            own | {"workload.generate": 1, "workload.batch": batch // min(batch, generate - 1)},
            own | {"workload.generate": 1, "workload.batch": batch // min(batch, generate - 1) + 1},
        )
    )
    passes = min(batch, generate - 1)
    left = batch % passes
    decoding = phases["latency_s"] - phases["time_to_first_token_s"]
    seconds = (passes - left) * few["latency_s"] + left * more["latency_s"] + decoding
    assert served["latency_s"] == pytest.approx(seconds, rel=1e-3)
    assert served["macs"] == pytest.approx(phases["macs"], rel=1e-12)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("batch", "generate"), [(1, 9), (8, 1)])
def test_one_request_and_one_token_are_served_alike(
    machine: str, batch: int, generate: int
) -> None:
    phases, served = (
        asked(machine, batch=batch, generate=generate, serving=s) for s in ("phases", "continuous")
    )
    for name in ("latency_s", "energy_j", "time_to_first_token_s", "time_per_output_token_s"):
        assert phases[name] == served[name], name


@pytest.mark.parametrize("machine", MACHINES)
def test_times_of_a_request_add_up_and_are_those_of_its_place(machine: str) -> None:
    said = asked(machine, batch=8, generate=17, serving="continuous")
    tokens = said["time_to_first_token_s"] + 16 * said["time_per_output_token_s"]
    assert said["latency_s"] == pytest.approx(tokens, rel=1e-12)
    # Little 1961: requests in a server = requests a second x seconds of each
    assert said["throughput_sequences_per_s"] * said["latency_s"] == pytest.approx(8.0)
    assert said["tokens_per_s"] == pytest.approx(8 * 17 / said["latency_s"])


def test_the_same_work_is_done() -> None:
    for batch, generate in ((8, 17), (12, 5)):
        phases, served = (
            asked("tpu-v4i", batch=batch, generate=generate, serving=s)
            for s in ("phases", "continuous")
        )
        assert served["macs"] == pytest.approx(phases["macs"], rel=1e-12)
        assert served["memory_bytes"]["cache"] == phases["memory_bytes"]["cache"]
        assert served["memory_bytes"]["activations"] < phases["memory_bytes"]["activations"]


@pytest.mark.parametrize("machine", MACHINES)
def test_a_design_among_others_is_what_it_is_alone(machine: str) -> None:
    batches, tokens = [1, 3, 8, 12, 11], [9, 2, 17, 5, 4]
    columns = {
        "model": Column.of(["gpt2"] * 5),
        "accelerator": Column.of([machine] * 5),
        "workload.serving": Column.of(["continuous"] * 5),
        "workload.batch": Column.of(batches),
        "workload.generate": Column.of(tokens),
        **{k: Column.of([v] * 5) for k, v in {**SMALL, **MACHINES[machine]}.items()},
    }
    cost = evaluate(columns, 5)
    names = ("latency_s", "energy_j", "time_to_first_token_s", "time_per_output_token_s")
    for i in range(5):
        alone = evaluate({k: Column.of([c[i]]) for k, c in columns.items()}, 1)
        for name in names:
            assert np.array_equal(cost.scalars[name][i], alone.scalars[name][0], equal_nan=True), (
                i,
                name,
            )


def test_an_encoder_decoder_is_served_too() -> None:
    settings = {"workload.batch": 4, "workload.generate": 9, "workload.serving": "continuous"}
    result = elector.simulate("t5-base", "tpu-v4i", settings=settings)
    one = {"workload.batch": 1, "workload.generate": 1}
    alone = elector.simulate("t5-base", "tpu-v4i", settings=one)
    assert result["time_to_first_token_s"] == pytest.approx(alone["latency_s"], rel=0.01)


def test_it_counts_for_generation_alone_and_other_words_are_refused() -> None:
    result = elector.simulate("gpt2", "tpu-v4i", settings={"workload.serving": "continuous"})
    assert any(n.startswith("workload.serving changes nothing") for n in result["notes"])
    with pytest.raises(elector.InputError, match=r"workload\.serving.*did you mean continuous"):
        elector.simulate("gpt2", "tpu-v4i", settings={"workload.serving": "continous"})


@pytest.mark.parametrize(("batch", "generate"), [(1, 9), (8, 1), (8, 2), (8, 0)])
def test_serving_without_effect_is_said(batch: int, generate: int) -> None:
    told = asked("tpu-v4i", batch=batch, generate=generate, serving="continuous")
    (note,) = [n for n in told["notes"] if n.startswith("workload.serving changes nothing")]
    assert "workload.batch is above 1 and workload.generate above 2" in note
    if generate:
        phases = asked("tpu-v4i", batch=batch, generate=generate)
        for name in ("latency_s", "energy_j", "time_to_first_token_s"):
            assert told[name] == phases[name], name


def test_serving_with_an_effect_is_in_the_heading_and_noted_nowhere() -> None:
    asked_for = ("--set", "model.layers=2", "--batch", "2", "--generate", "3")
    args = ("simulate", "gpt2", "tpu-v4i", *asked_for)
    served = run(*args, "--serving", "continuous")
    assert "3 generated, continuous serving," in served.output.replace("\n  ", " ")
    assert "changes nothing" not in served.output
    assert "serving" not in run(*args).output


def test_which_designs_of_a_table_it_counts_for() -> None:
    columns = {
        "model": Column.of(["gpt2"] * 3),
        "accelerator": Column.of(["tpu-v4i"] * 3),
        "model.layers": Column.of([2] * 3),
        "workload.serving": Column.of(["continuous"] * 3),
        "workload.batch": Column.of([1, 4, 4]),
        "workload.generate": Column.of([9, 9, 2]),
    }
    notes = evaluate(columns, 3, level="groups").notes()
    told = [any("serving changes nothing" in note for note in own) for own in notes]
    assert told == [True, False, True]


@pytest.mark.parametrize(
    ("batch", "generate", "counts"),
    [(1, 9, False), (8, 2, False), ([1, 8], [2, 9], True), (8, 9, True)],
)
def test_a_space_that_asks_for_it_in_vain_is_refused(
    batch: object, generate: object, counts: bool
) -> None:
    space = {
        "model": "gpt2",
        "accelerator": {"base": "systolic", "rows": [64, 128]},
        "workload": {
            "serving": ["phases", "continuous"],
            "batch": batch,
            "generate": generate,
        },
        "objectives": {"latency_s": "min"},
    }
    if counts:
        assert transcode.space.load(space)
        return
    with pytest.raises(elector.InputError, match="changes nothing in this space") as caught:
        transcode.space.load(space)
    assert caught.value.field == "workload.serving"
