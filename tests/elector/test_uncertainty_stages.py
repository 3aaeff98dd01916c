"""Intervals of the stages of a step: no prompt and no token takes less than what it needs."""

from __future__ import annotations

import numpy as np
import pytest

import elector
from elector.base.table import Column
from elector.evaluation.path import evaluate, inspect
from elector.evaluation.stages import stages_of
from elector.studies.simulation import columns_of
from elector.studies.uncertainty import Sampling, sample
from elector.technology import Technology

#: A prompt bound by its products, and tokens bound by main memory.
CHAT = {"workload.generate": 16, "workload.sequence_length": 800, "workload.batch": 4}


def _sampled(model: str, accelerator: str, settings: dict[str, object]) -> dict[str, np.ndarray]:
    columns = columns_of({"model": model, "accelerator": accelerator, **settings}, 1)
    return sample(columns, 1, Sampling.of(None, samples=300)).values


@pytest.mark.parametrize(
    ("model", "accelerator", "other"),
    [
        ("llama-3.1-8b", "h100-sxm-80gb", {"workload.sequence_length": 8192}),
        ("llama-3.1-8b", "a40", {"workload.serving": "continuous"}),
        ("gpt2-xl", "tpu-v4i", {}),
        ("gpt2", "systolic", {}),
        ("gpt2", "acceltran-server", {}),
        ("gpt2", "reram+systolic", {"workload.batch": 1}),
    ],
)
def test_no_stage_takes_less_than_its_peak_and_main_memory_allow(
    model: str, accelerator: str, other: dict[str, object]
) -> None:
    settings = CHAT | other
    asked = columns_of({"model": model, "accelerator": accelerator, **settings}, 1)
    known = stages_of(inspect(asked, Technology.load()))
    values = _sampled(model, accelerator, settings)
    seconds, share = (float(x[0]) for x in known["decode"])
    first = values["time_to_first_token_s"]
    later = values["time_per_output_token_s"] * (settings["workload.generate"] - 1)  # type: ignore[operator]
    if "workload.serving" not in other:
        assert (later >= seconds * share * (1 - 1e-9)).all()
        prompt, busy = (float(x[0]) for x in known["step"])
        assert (first >= prompt * busy * (1 - 1e-9)).all()
    # What a request waits for is what the step takes.
    assert first + later == pytest.approx(values["latency_s"], rel=1e-9)


def test_an_update_has_a_floor_of_its_own() -> None:
    """That waits for main memory, whatever the passes before it do."""
    settings = {"workload.mode": "training", "workload.batch": 16}
    asked = columns_of({"model": "bert-large", "accelerator": "tpu-v3", **settings}, 1)
    known = stages_of(inspect(asked, Technology.load()))
    share = float(known["update"][1][0])
    assert share > 0.9
    least = sum(float((took * busy)[0]) for took, busy in known.values())
    values = _sampled("bert-large", "tpu-v3", settings)
    assert (values["latency_s"] >= least * (1 - 1e-9)).all()
    whole = elector.simulate("bert-large", "tpu-v3", settings=settings)
    used = max(float(whole["utilization"]), float(whole["bandwidth_utilization"]))
    assert used * float(whole["latency_s"]) < least  # the whole step has a lower floor


@pytest.mark.parametrize("accelerator", ["acceltran-server", "h100-sxm-80gb", "tpu-v4i"])
def test_stages_of_many_draws_are_those_of_the_design(accelerator: str) -> None:
    """Of a table too, whose designs have stages that others lack."""
    rows = {
        "model": Column.of(["gpt2", "bert-base", "gpt2"]),
        "accelerator": Column.constant(accelerator, 3),
        "workload.generate": Column.of([4, None, 9]),
    }
    constants = Sampling.of(None, samples=20).drawn
    stages = evaluate(rows, 3, technology=constants, level="groups").stages
    for place, (model, tokens) in enumerate((("gpt2", 4), ("bert-base", 0), ("gpt2", 9))):
        own = {"model": model, "accelerator": accelerator, "workload.generate": tokens}
        known = stages_of(inspect(columns_of(own, 1), Technology.load()))
        for stage, drawn in stages.items():
            seconds, share = (x.reshape(20, 3)[:, place] for x in drawn)
            expected = known.get(stage, (np.zeros(1), np.zeros(1)))
            assert seconds == pytest.approx(float(expected[0][0]), rel=1e-9)
            assert share == pytest.approx(float(expected[1][0]), rel=1e-9)
