"""Choices that another choice leaves without effect are said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import elector
from elector.base.table import schema

#: Layers without attention.
MAMBA = {
    "model_type": "mamba2",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "vocab_size": 500,
    "state_size": 16,
    "num_heads": 8,
    "head_dim": 32,
}


def test_double_buffering_is_no_matter_where_nothing_stalls() -> None:
    costs = [
        elector.simulate(
            "bert-base",
            "systolic",
            settings={"accelerator.convention": "scalesim", "accelerator.double_buffer": value},
        )
        for value in (True, False)
    ]
    assert costs[0]["latency_s"] == costs[1]["latency_s"]
    (note,) = costs[1]["notes"]
    assert note.startswith("accelerator.double_buffer changes nothing: it counts where accel")


@pytest.mark.parametrize(
    "memory", schema("acceltran")["memory"].choices, ids=lambda name: str(name)
)
def test_channels_are_charged_where_there_are_several(memory: str) -> None:
    costs = [
        elector.simulate(
            "bert-tiny",
            "acceltran",
            settings={"accelerator.memory": memory, "accelerator.memory_price": price},
        )
        for price in ("channel", "published")
    ]
    said = (
        "accelerator.memory_price changes nothing: it counts where accelerator.memory has several"
    )
    several = not memory.endswith("_1")
    assert (costs[0]["energy_j"] != costs[1]["energy_j"]) is several
    assert [n.startswith(said) for n in costs[1]["notes"]] == ([] if several else [True])


@pytest.mark.parametrize(
    ("model", "attention", "counts"),
    [
        ("bert-tiny", "unfused", True),
        ("bert-tiny", "fused", True),
        ("bert-tiny", "flash", False),
        ("bert-tiny", "auto", False),  # which is flash on a GPU
        ("mamba.json", "unfused", False),
    ],
)
def test_scores_that_nobody_keeps_are_not_computed_again(
    model: str, attention: str, counts: bool, tmp_path: Path
) -> None:
    file = tmp_path / "mamba.json"
    file.write_text(json.dumps(MAMBA))
    name = str(file) if model == file.name else model

    def costs(activations: str, **more: object) -> dict[str, object]:
        settings = {"mode": "training", "attention": attention, "activations": activations, **more}
        asked = {f"workload.{key}": value for key, value in settings.items()}
        return dict(elector.simulate(name, "h100-sxm-80gb", settings=asked))

    kept, again = costs("store"), costs("selective")
    same = all(kept[key] == again[key] for key in ("latency_s", "energy_j", "memory_bytes"))
    assert same is not counts
    said = [n for n in again["notes"] if n.startswith("workload.activations changes nothing")]
    assert len(said) == (not counts) and not any("activations" in n for n in kept["notes"])
    heads = costs("selective", trainable="heads")["notes"]
    assert sum("workload.activations changes nothing" in n for n in heads) == 1
