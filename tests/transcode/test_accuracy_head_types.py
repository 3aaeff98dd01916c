"""Heads other than attention: what nine trained models and a prior say of them."""

from __future__ import annotations

import csv

import numpy as np

from elector.base.table import Column
from elector.studies.simulation import features
from transcode import accuracy
from transcode.accuracy.head_types import PRIOR, SHARES, head_type_effects
from transcode.accuracy.published_scores import DATA

SHAPE = {
    "layers": np.array([6.0]),
    "hidden": np.array([512.0]),
    "heads": np.array([8.0]),
    "feed_forward": np.array([2048.0]),
}


def test_nine_converged_models_are_used_and_every_other_says_why_not() -> None:
    with open(DATA / "flexibert.csv", newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    used = [row for row in table if row["use"] == "yes"]
    assert len(table) == 16 and len(used) == 9 == head_type_effects().models
    assert all(float(row["pretraining_loss"]) < 5.0 and row["score"] for row in used)
    assert all(row["note"] for row in table if row["use"] == "no")
    assert sum(row["note"] == "pre-training never converged" for row in table) == 4


def test_the_data_narrow_the_prior_only_a_little() -> None:
    effects = head_type_effects()
    std = np.sqrt(np.diag(effects.covariance))
    prior = np.array([PRIOR[name][1] for name in SHARES])
    assert (std < prior).all() and (std > 0.6 * prior).all()
    # only what is nine tenths sure moves a prediction: transforms instead of attention
    assert effects.used[0] == 0.0 and effects.used[2] == 0.0 and effects.used[1] < -0.3
    assert effects.mae < effects.mae_without
    assert "the data decide little" in effects.describe()


def test_transforms_cost_accuracy_and_every_other_head_costs_certainty() -> None:
    source = accuracy.surrogate("mnli")
    mean, std = source.predict(SHAPE)
    for name in SHARES:
        other, wider = source.predict({**SHAPE, name: np.ones(1)})
        assert wider[0] > 1.2 * std[0]
        assert other[0] < mean[0] - 3.0 if name == "linear_heads" else other[0] == mean[0]
    stacked, wider = source.predict({**SHAPE, "stacks": np.array([3.0])})
    assert stacked[0] == mean[0] and wider[0] > std[0]


def test_attention_alone_is_predicted_as_before_whatever_it_is_asked_with() -> None:
    source = accuracy.surrogate("sst2")
    alone = source.predict(SHAPE)
    both = source.predict(
        {**{k: np.repeat(v, 2) for k, v in SHAPE.items()}, "linear_heads": np.array([0.0, 0.5])}
    )
    assert both[0][0] == alone[0][0] and both[1][0] == alone[1][0]
    assert both[0][1] < alone[0][0]


def test_features_count_the_heads_of_a_layered_model() -> None:
    settings: dict[str, object] = {
        "model": "flexibert",
        "accelerator": "acceltran",
        "model.layers": 2,
        "model.layer1.hidden": 128,
        "model.layer2.hidden": 128,
        "model.layer1.heads": 2,
        "model.layer2.heads": 2,
        "model.layer1.head1": "dft",
        "model.layer1.head2": "c5",
        "model.layer2.head1": "wma",
        "model.layer2.head2": "dct",
        "model.layer2.feed_forward2": 512,
    }
    counted = features({k: Column.constant(v, 1) for k, v in settings.items()}, 1)
    assert [counted[name][0] for name in SHARES] == [0.25, 0.5, 0.25]
    assert counted["stacks"][0] == 1.5
    plain = features(
        {
            k: Column.constant(v, 1)
            for k, v in {"model": "bert-tiny", "accelerator": "systolic"}.items()
        },
        1,
    )
    assert [plain[name][0] for name in SHARES] == [0.0, 0.0, 0.0] and plain["stacks"][0] == 1.0
