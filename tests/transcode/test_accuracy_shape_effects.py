"""What the shape of a model wastes: the studies, the fit, and what it means for predictions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from transcode import accuracy
from transcode.accuracy.published_scores import DATA
from transcode.accuracy.scaling_law import scaling_law
from transcode.accuracy.shape_effects import EXPONENT, LogShapes, shape_effects

TASKS = accuracy.tasks()


def features(layers: object, hidden: object, **more: object) -> dict[str, np.ndarray]:
    """Models with heads of 64 and a feed-forward layer of four times the width."""
    depth, width = np.broadcast_arrays(np.atleast_1d(layers), np.atleast_1d(hidden))
    shape = {"layers": depth, "hidden": width, "heads": width / 64, "feed_forward": 4 * width}
    return {k: np.asarray(v, dtype=float) for k, v in {**shape, **more}.items()}


def shapes(layers: object, hidden: object, **more: object) -> LogShapes:
    return LogShapes.of(*(features(layers, hidden, **more)[key] for key in accuracy.FEATURES))


def lower(source: accuracy.ScoreSurrogate, models: dict[str, np.ndarray]) -> np.ndarray:
    """What holds with 90 %."""
    mean, std = source.predict(models)
    return np.asarray(mean - 1.2816 * std)


def test_every_figure_has_a_source_and_says_whether_it_was_read_there() -> None:
    with open(DATA / "shapes.csv", newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    for row in table:
        assert row["source"] and row["evidence"] in ("published", "derived")
        assert ("second-hand" in row["source"]) == (row["verified"] == "no")
        assert row["use"] == "yes" or row["note"]
    assert {"kaplan2020", "tay2021", "levine2020", "narang2021"} <= {r["study"] for r in table}


def test_the_fit_meets_the_losses_it_was_fitted_to() -> None:
    effects = shape_effects()
    assert effects.rmse < 0.15  # doublings
    # Kaplan et al., caption of figure 5: 6 x 4288 within 3 % of 48 x 1600
    wide, usual = effects.loss_increase(shapes([6, 48], [4288, 1600]))
    assert 0.015 < wide - usual < 0.03
    # figure 5: 50 million weights in two layers of 1,430 lose 4.6 %
    assert effects.loss_increase(shapes(2, 1430))[0] == pytest.approx(0.046, abs=0.015)
    ratio = effects.loss_increase(shapes(12, 768, feed_forward=np.array([40.0 * 768])))[0]
    assert ratio == pytest.approx(0.081, abs=0.015)
    head = effects.loss_increase(shapes(12, 768, heads=np.array([3.0])))[0]
    assert head == pytest.approx(0.015 + effects.loss_increase(shapes(12, 768))[0], abs=0.006)


def test_scores_prefer_depth_as_tay_et_al_found() -> None:
    effects = shape_effects()
    assert effects.depth_preference > 2.0 * effects.preference_std > 0.0
    # T5-Small of 16 layers scores as T5-Base with 59 % of its weights
    small, base = effects.lost(shapes([16, 12], [512, 768]))
    assert base - small == pytest.approx(np.log2(198.3 / 117.6), abs=0.35)
    assert (effects.lost(shapes([12, 24], [384, 768])) < 0.3).all()  # aspect 32: deep enough


def test_nothing_is_ever_gained_by_a_shape_and_more_never_hurts() -> None:
    effects, stream = shape_effects(), np.random.default_rng(0)
    layers, hidden = stream.uniform(1, 200, 5000), stream.uniform(16, 20_000, 5000)
    heads, ff = stream.uniform(1, 128, 5000), hidden * stream.uniform(0.1, 60, 5000)
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "feed_forward": ff}
    for scores in (True, False):

        def useful(**changed: np.ndarray) -> np.ndarray:
            own = {**sizes, **changed}
            logs = LogShapes.of(*(own[key] for key in accuracy.FEATURES))
            lost = effects.lost(logs, scores=scores)  # noqa: B023
            assert (lost >= 0.0).all()
            return np.asarray(logs.weights - lost)

        before = useful()
        assert (useful(layers=2 * layers) > before).all()
        assert (useful(hidden=2 * hidden, feed_forward=2 * ff, heads=2 * heads) > before).all()


def test_the_absurd_optima_of_sst2_are_gone() -> None:
    source = accuracy.surrogate("sst2")
    base = source.predict(features(12, 768))[0][0]
    assert base == pytest.approx(92.4, abs=0.5)
    assert (source.predict(features([1, 2, 4], [4096, 2048, 4096]))[0] < base).all()
    deep, shallow = source.predict(features([24, 6], [512, 1024]))[0]
    assert deep >= shallow


@pytest.mark.parametrize("task", TASKS)
def test_shallow_and_wide_is_never_the_better_known_or_the_better(task: str) -> None:
    source = accuracy.surrogate(task)
    base, _ = source.predict(features(12, 768))
    mean, _ = source.predict(features([1, 2], [4096, 2048]))
    assert (mean < base).all()
    deep, shallow = source.predict(features([24, 6], [512, 1024]))[0]
    assert deep >= shallow
    width = np.geomspace(16, 1e6, 100)
    for layers in (1, 2):
        for ratio in (0.5, 2, 4, 16, 64):
            for head in (16.0, 64.0, 256.0):
                models = features(
                    layers, width, heads=np.maximum(width / head, 1), feed_forward=ratio * width
                )
                assert (lower(source, models) < lower(source, features(12, 768))).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_deviation_never_falls_with_the_distance_from_the_rows(task: str) -> None:
    source = accuracy.surrogate(task)
    hull = source.fit.hull
    middle, far = hull.corners.mean(axis=0), np.linspace(0.0, 8.0, 161)
    for angle in np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False):
        depth, width = middle[0] + far * np.cos(angle), middle[1] + far * np.sin(angle)
        _, std = source.predict(features(2.0**depth, 2.0**width))
        outside = hull.beyond(depth, width) > 0.0
        assert (np.diff(std)[outside[:-1]] >= 0.0).all()
    _, std = source.predict(features(2.0 ** hull.corners[:, 0], 2.0 ** hull.corners[:, 1]))
    corner = hull.corners[np.argmax(hull.corners.sum(axis=1))]  # the largest model there is
    _, border = source.predict(features(*(2.0 ** corner[:, None])))
    _, beyond = source.predict(features(*(2.0 ** (corner[:, None] + [[0.5, 1, 2], [0.5, 1, 2]]))))
    assert beyond[0] > border[0] and (np.diff(beyond) > 0.0).all()


def test_the_deviation_of_what_nobody_trained_is_larger_than_at_the_hull() -> None:
    source = accuracy.surrogate("sst2")
    _, inside = source.predict(features([12, 24, 12, 24, 48], [768, 1024, 4096, 2048, 1024]))
    _, outside = source.predict(features([4, 24], [4096, 4096]))
    assert (outside > inside.max()).all()


@pytest.mark.parametrize("task", TASKS)
def test_far_from_all_rows_the_mean_is_the_familys_or_below(task: str) -> None:
    source = accuracy.surrogate(task)
    family = source.task.to_score(np.array([source.fit.family]))[0][0]
    mean, _ = source.predict(features([1e4, 1e3, 1, 1], [64, 1e6, 1e7, 1]))
    assert (mean <= family + 1e-6).all()
    assert mean[1] == pytest.approx(family)  # the trend is above it
    sizes = 2.0 ** np.linspace(0, 4, 33)
    large, _ = source.predict(features(24 * sizes, 1024 * sizes))
    assert large[-1] == pytest.approx(family, abs=0.1) and large.max() > family


def test_figures_in_the_documentation_are_those_of_the_fit() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "accuracy.md").read_text("utf-8")
    e = shape_effects()
    for row in (
        f"{e.wide:.3f} log2(a / 80)^2",
        f"{e.deep:.3f} log2(80 / a)^2",
        f"{e.shallow:.2f} / layers^2.5",
        f"{e.feed_forward:.3f} log2(feed_forward / 2 hidden)^2",
        f"{e.head:.3f} log2(hidden / 64 heads)^2",
        f"({e.depth_preference:.2f} ± {e.preference_std:.2f}) log2(a / 32)",
        f"by {e.rmse:.2f} doublings",
    ):
        assert row in text, row
    source = accuracy.surrogate("sst2")
    shapes_shown = ((12, 768), (24, 512), (6, 1024), (2, 2048), (1, 4096), (4, 4096), (24, 4096))
    for layers, hidden in shapes_shown:
        mean, std = source.predict(features(layers, hidden))
        row = f"| {layers} x {hidden:,} | {mean[0]:.1f} ± {std[0]:.1f} |"
        assert row in text, row


def test_a_loss_knows_depth_from_width() -> None:
    law = scaling_law("besiroglu", "massivetext", 3e11, None)
    size = np.full(3, 3.2e8)
    models = features([24, 6, 2], [1024, 2048, 3547.2])  # 302 million weights each
    mean, std = law.predict({**models, "parameters": size})
    plain, plain_std = law.predict({"parameters": size})
    assert mean[0] == pytest.approx(plain[0], rel=0.002) and (np.diff(mean) > 0.0).all()
    assert mean[2] / plain[2] > 1.06 and std[2] > plain_std[2] + 0.05
    best = shape_effects().loss_increase(shapes(24, 1920, feed_forward=np.array([3840.0])))
    assert best[0] < 0.01 and best[0] < 2.0**EXPONENT - 1.0


def test_one_loss_gives_the_bits_of_a_batch() -> None:
    law, stream = scaling_law("besiroglu", "pile", None, 20.0), np.random.default_rng(0)
    many = features(stream.integers(1, 60, 999), stream.integers(64, 4096, 999))
    many["parameters"] = 12.0 * many["layers"] * many["hidden"] ** 2
    mean, std = law.predict(many)
    for i in (0, 7, 998):
        one = law.predict({key: values[i : i + 1] for key, values in many.items()})
        assert (one[0][0], one[1][0]) == (mean[i], std[i])
