"""Prices of tau_i and tau_t: published curves, trained models, a user's own table."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from elector.base.errors import InputError
from transcode import accuracy
from transcode.accuracy.threshold_surface import TrainedScore, prices, raised
from transcode.accuracy.user_rows import read_rows

HEADER = "name,task,metric,score,std,layers,hidden,heads,feed_forward,parameters,source,evidence"
TAUS = [(i, t) for i in (0.0, 0.02, 0.1) for t in (0.0, 0.001)]


def trained(task: str = "digits", slope: float = 50.0, less: bool = False) -> list[TrainedScore]:
    """Three seeds on a grid; a point lost for each .02 of tau_i, noise between seeds."""
    stream = np.random.default_rng(0)
    rows = []
    for seed in range(3):
        dense = 95.0 + seed  # seeds differ by more than pruning costs
        for tau_i, tau_t in TAUS:
            lost = slope * tau_i + 1000.0 * tau_t + stream.normal(0, 0.05) * (tau_i + tau_t > 0)
            score = dense + lost if less else dense - lost
            rows.append(TrainedScore(task, "small", str(seed), tau_i, tau_t, score, less))
    return rows


def test_pruning_never_gains_and_its_price_is_uncertain() -> None:
    tau, score = np.linspace(0.0, 0.09, 10), np.full(10, 90.0)
    points, std = accuracy.pruning_prices("sst2").predict(tau, np.zeros(10), score)
    assert points[0] == 0.0 and (np.diff(points) <= 0.0).all() and points[-1] < -1.0
    assert std[0] == 0.0 and (std[1:] > 0.4).all()
    with pytest.raises(InputError, match="prices it"):
        accuracy.pruning_prices("sst2").predict(np.array([0.5]), np.zeros(1), score[:1])
    with pytest.raises(InputError, match="prices pruning"):
        accuracy.pruning_prices("mnli")


def test_both_thresholds_are_priced_together_and_seeds_are_compared_with_themselves() -> None:
    priced = prices(trained(), "digits", "t")
    tau_i, tau_t = np.array([0.0, 0.1, 0.1, 0.06]), np.array([0.0, 0.0, 0.001, 0.0])
    points, std = priced.predict(tau_i, tau_t, np.full(4, 96.0))
    assert points[0] == 0.0 and std[0] == 0.0
    assert points[1:] == pytest.approx([-5.0, -6.0, -3.0], abs=0.15)
    # 0.05 of noise, not the point by which seeds differ
    assert (std[1:] > 0.005).all() and (std[1:] < 0.2).all()
    assert priced.own and "its own models" in priced.describe()
    with pytest.raises(InputError, match=r"0 to 0\.1 is known"):
        priced.predict(np.array([0.2]), np.zeros(1), np.full(1, 96.0))


def test_a_metric_of_which_less_is_better_costs_the_same() -> None:
    more, less = (prices(trained(less=flag), "digits", "t") for flag in (False, True))
    assert np.allclose(more.surface.loss, less.surface.loss, atol=2e-3)


def test_a_task_without_models_gets_the_others_and_their_disagreement() -> None:
    two = trained("digits", 50.0) + trained("words", 100.0)
    other = prices(two, "sst2", "t")
    assert not other.own and "transferred" in other.describe()
    tau = np.array([0.1]), np.zeros(1), np.full(1, 96.0)
    points, std = other.predict(*tau)
    own_points, own_std = prices(two, "digits", "t").predict(*tau)
    assert points[0] == pytest.approx(-7.5, abs=0.1) and own_points[0] > points[0]
    assert std[0] > 3.0 > own_std[0]  # tasks are five points apart
    one = prices(trained(), "sst2", "t").predict(*tau)
    assert one[1][0] > abs(one[0][0])  # one task alone says little about another


def test_a_surface_never_falls_and_stays_near() -> None:
    stream = np.random.default_rng(1)
    truth = np.add.outer(np.linspace(0, 1, 6), np.linspace(0, 2, 5))
    noisy = truth + stream.normal(0, 0.3, truth.shape)
    surface = raised(noisy)
    assert (np.diff(surface, axis=0) >= 0).all() and (np.diff(surface, axis=1) >= 0).all()
    assert (surface >= 0).all()
    assert np.mean((surface - truth) ** 2) < np.mean((noisy - truth) ** 2)
    assert np.allclose(raised(truth), truth)


def test_one_seed_is_as_uncertain_as_its_loss_and_its_scatter() -> None:
    one = [t for t in trained(slope=0.0) if t.seed == "0"]
    priced = prices(one, "digits", "t")
    assert "one seed" in priced.describe()
    assert priced.surface.std[0, 0] == 0.0
    assert (priced.surface.std[1:] > 1e-5).all()  # where the smoothed loss is 0, too


def test_grids_with_holes_are_refused() -> None:
    with pytest.raises(InputError, match=r"no accuracy at tau_i 0\.1, tau_t 0\.001"):
        prices([t for t in trained() if t.tau_i + t.tau_t < 0.1005], "digits", "t")
    with pytest.raises(InputError, match="trained without pruning"):
        prices([t for t in trained() if t.tau_i > 0], "digits", "t")


def rows_file(path: Path) -> Path:
    lines = [f"{HEADER},tau_i,tau_t,seed"]
    for t in trained():
        lines.append(
            f"m,{t.task},accuracy,{t.score},,2,64,2,128,1000,sweep,measured,"
            f"{t.tau_i},{t.tau_t},{t.seed}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_shipped_rows_price_the_shipped_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rows_file(tmp_path / "dynaprop.csv")
    assert len(read_rows(path)) == 18
    monkeypatch.setattr(sys.modules["transcode.accuracy.pruning"], "MEASURED", path)
    assert accuracy.priced("dynaprop") and accuracy.priced("trained-digits")
    priced = accuracy.pruning_prices("digits", "dynaprop")
    points, _ = priced.predict(np.array([0.1]), np.array([0.001]), np.full(1, 96.0))
    assert points[0] == pytest.approx(-6.0, abs=0.15)


def sparsity_file(path: Path, with_accuracy: bool = True) -> Path:
    header = "model,task,seed,tau_i,tau_t,phase,operation,layer,operand,density,accuracy,evidence"
    lines = [header]
    for t in trained():
        score = t.score if with_accuracy else ""
        for phase, operand in (
            ("forward", "activation"),
            ("backward", "activation"),
            ("backward", "gradient"),
        ):
            lines.append(
                f"small,digits,{t.seed},{t.tau_i},{t.tau_t},{phase},*,*,{operand},0.5,"
                f"{score},measured"
            )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_of_the_users_own_prices_its_thresholds(tmp_path: Path) -> None:
    path = str(sparsity_file(tmp_path / "mine.csv"))
    assert accuracy.priced(path)
    priced = accuracy.pruning_prices("digits", path)
    assert priced.predict(np.array([0.02]), np.zeros(1), np.full(1, 96.0))[0][0] == pytest.approx(
        -1.0, abs=0.15
    )
    assert "18 trained models of mine.csv" in priced.describe()
    without = str(sparsity_file(tmp_path / "none.csv", with_accuracy=False))
    assert not accuracy.priced(without)
    with pytest.raises(InputError, match="has no accuracies"):
        accuracy.pruning_prices("digits", without)


def test_names_without_accuracies_have_no_price() -> None:
    assert not accuracy.priced("acceltran") and not accuracy.priced("dense")
    assert not accuracy.priced("acceltran-released") and accuracy.priced("dynatran")
