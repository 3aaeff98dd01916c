"""Runs into a folder: the same from a seed, resumed after anything, refused where they differ."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.extras("torch", "sklearn")

import torch  # noqa: E402
import yaml  # noqa: E402

from elector import simulate  # noqa: E402
from elector.base.errors import InputError  # noqa: E402
from transcode.dynaprop.saved import Kept  # noqa: E402
from transcode.training import checkpoint, folder  # noqa: E402
from transcode.training.loop import Diverged, TrainingInterrupted, TrainingProgress, train  # noqa: E402
from transcode.training.settings import Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SIZES = {"model.layers": "1", "model.hidden": "16", "model.heads": "2", "model.feed_forward": "32"}


def asked(**changes: Any) -> Settings:
    """A run of a second."""
    plain: dict[str, Any] = {
        "model": "encoder",
        "task": "digits",
        "tau_i": 0.02,
        "tau_t": 1e-5,
        "steps": 12,
        "batch": 8,
        "sequence_length": 4,
        "evaluate": 4,
        "overrides": SIZES,
    }
    return Settings(**{**plain, **changes})


def stop_after(step: int) -> Callable[[TrainingProgress], None]:
    """As an interrupt between two steps."""

    def show(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return show


def same(first: Path, second: Path) -> None:
    """Two folders hold the same run: everything but the seconds."""
    weights = [checkpoint.load(path) for path in (first, second)]
    assert weights[0] is not None and weights[1] is not None
    for key, tensor in weights[0]["full"]["module"].items():
        assert torch.equal(tensor, weights[1]["full"]["module"][key]), key
    for name in ("sparsity.csv", "accuracy.csv", "model.yaml"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in folder.read_metrics(path)]
        for path in (first, second)
    ]
    assert rows[0] == rows[1]
    results = [json.loads((path / "result.json").read_text()) for path in (first, second)]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    result = train(asked(), out=tmp_path / "a")
    train(asked(), out=tmp_path / "b")
    same(tmp_path / "a", tmp_path / "b")
    other = train(asked(seed=1), out=tmp_path / "c")
    assert other["loss"] != result["loss"]
    assert [row["step"] for row in folder.read_metrics(tmp_path / "a")] == ["4", "8", "12"]
    assert (tmp_path / "a" / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("step", [3, 6])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path, step: int) -> None:
    train(asked(), out=tmp_path / "whole")
    with pytest.raises(TrainingInterrupted):
        train(asked(), out=tmp_path / "parts", progress=stop_after(step))
    train(asked(), out=tmp_path / "parts")
    same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("step", [3, 6])
def test_an_interrupt_within_a_step_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    train(asked(), out=tmp_path / "whole")
    plain = Kept.__del__

    def pressed(kept: Kept) -> None:  # in a destructor Python drops what a handler raises
        plain(kept)
        if due and due.pop():
            signal.raise_signal(signal.SIGINT)

    due: list[bool] = []
    monkeypatch.setattr(Kept, "__del__", pressed)
    # a shell that runs the tests in the background has interrupts ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(TrainingInterrupted) as raised:
            train(
                asked(),
                out=tmp_path / "parts",
                progress=lambda at: due.append(True) if at.step == step - 1 else None,
            )
        monkeypatch.undo()
        assert raised.value.step == step  # the step that was going on is safe, too
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    train(asked(), out=tmp_path / "parts")
    same(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    result = train(asked(), out=tmp_path)
    assert train(asked(), out=tmp_path, progress=stop_after(1)) == result


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    train(asked(), out=tmp_path)
    with pytest.raises(InputError, match=r"settings\.tau_t: 1e-05 there, 0\.001 asked for"):
        train(asked(tau_t=1e-3), out=tmp_path)
    train(asked(tau_t=1e-3), out=tmp_path, fresh=True)


def test_the_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"space_sha256": "0"}')
    for fresh in (False, True):
        with pytest.raises(InputError, match="not the manifest of a training run"):
            train(asked(), out=tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_damaged_checkpoint_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted):
        train(asked(), out=tmp_path, progress=stop_after(6))
    path = tmp_path / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        train(asked(), out=tmp_path)


def test_a_loss_that_diverges_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    diverges = asked(
        task="elnino", sequence_length=None, learning_rate=1e4, dropout=0.0, steps=60, evaluate=1
    )
    with pytest.raises(Diverged, match="diverged at step"):
        train(diverges, out=tmp_path)
    state = checkpoint.load(tmp_path)
    assert state is not None and 0 < state["step"] < 60
    assert all(bool(torch.isfinite(t).all()) for t in state["full"]["module"].values())
    assert not (tmp_path / "result.json").exists()


def test_a_loss_that_diverges_before_the_first_look_leaves_the_beginning(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="--learning-rate"):
        train(asked(learning_rate=1e6, steps=60, evaluate=60), out=tmp_path)
    state = checkpoint.load(tmp_path)
    assert state is not None and state["step"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau_i": -0.1}, "at least 0"),
        ({"tau_t": float("inf")}, "finite"),
        ({"tau_i": 0.0, "top_k_i": 0.0}, "share above 0"),
        ({"tau_t": 0.0, "top_k_t": 1.5}, "at most 1"),
        ({"top_k_i": 0.5}, "in place of a threshold"),
        ({"steps": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"switch": "sometimes"}, "allowed: none, hpt"),
        ({"window": 3}, "only a switch rule"),
        ({"switch": "hpt", "window": 3}, "at most 2 in 12 steps"),
        ({"task": "dgits"}, "digits"),
        ({"batch": 5000}, "1000"),
        ({"overrides": {"model.layer": "2"}}, "layers"),
    ],
)
def test_bad_settings_write_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(asked(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_top_k_in_place_of_a_threshold(tmp_path: Path) -> None:
    """Half of each row stays; another share is another run; no tau is said to have done it."""
    result = train(asked(tau_i=0.0, tau_t=0.0, top_k_i=0.5), out=tmp_path)
    assert result["top_k_i"] == 0.5 and result["top_k_t"] is None
    assert result["density"]["activation"] < 0.9
    with (tmp_path / "accuracy.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["tau_i"] == "" and float(row["tau_t"]) == 0.0
    with pytest.raises(InputError, match="top_k_i"):
        train(asked(tau_i=0.0, tau_t=0.0, top_k_i=0.25), out=tmp_path)
    assert "top_k_i" not in asked().entries()  # runs from before there was top-k go on


def test_elector_takes_the_table_and_the_model(tmp_path: Path) -> None:
    train(asked(tau_i=0.05, tau_t=1e-4), out=tmp_path)
    shared = {"workload.mode": "training", "workload.batch": 8}
    model = str(tmp_path / "model.yaml")
    dense, pruned = (
        simulate(model, "acceltran-server", settings={**shared, "workload.sparsity": table})
        for table in ("dense", str(tmp_path / "sparsity.csv"))
    )
    assert pruned["feasible"] and pruned["parameters"] == dense["parameters"]
    assert pruned["energy_j"] < dense["energy_j"]
    entries = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert (entries["patches"], entries["labels"]) == (4, 10)


SWITCHES = {
    "switch": "hpt",
    "steps": 150,
    "window": 4,
    "tau_i": 0.0,
    "tau_t": 0.0,
    "learning_rate": 1e-3,
    "evaluate": 50,
    "dropout": 0.0,
}


@pytest.mark.slow
def test_a_switched_run_resumes_and_its_plan_runs(tmp_path: Path) -> None:
    from elector.studies.training_run import run

    result = train(asked(**SWITCHES), out=tmp_path / "whole")
    switched = result["switch"]["switched"]
    assert switched is not None and result["trainable_share"] < 1.0
    for step in (switched - 2, switched + 3):  # side by side, and behind the switch
        with pytest.raises(TrainingInterrupted):
            train(
                asked(
                    **SWITCHES,
                ),
                out=tmp_path / "parts",
                progress=stop_after(step),
            )
    train(asked(**SWITCHES), out=tmp_path / "parts")
    same(tmp_path / "whole", tmp_path / "parts")
    assert (tmp_path / "whole" / "plan.yaml").read_bytes() == (
        tmp_path / "parts" / "plan.yaml"
    ).read_bytes()
    costs = run(tmp_path / "parts" / "plan.yaml")
    assert costs["feasible"] and costs["switch"]["step"] == switched  # type: ignore[index]


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    settings = {"steps": 400, "evaluate": 10}
    train(asked(**settings), out=tmp_path / "whole")
    code = (
        "from pathlib import Path\nfrom transcode.training.loop import train\n"
        "from transcode.training.settings import Settings\n"
        f"train(Settings(**{vars(asked(**settings))!r}), out=Path({str(tmp_path / 'killed')!r}))"
    )
    path = tmp_path / "killed" / "metrics.csv"
    for rows in (3, 12):
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
            while process.poll() is None and not (
                path.exists() and len(path.read_text().splitlines()) > rows
            ):
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        assert not (tmp_path / "killed" / "result.json").exists()
    train(asked(**settings), out=tmp_path / "killed")
    same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("seed", [1844674407370955, 2**62 + 1, 2**63 - 1])
def test_any_seed_trains(seed: int, tmp_path: Path) -> None:
    """torch takes 63 bits of a seed, and so does a run."""
    train(asked(seed=seed, steps=4, evaluate=2), out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["settings"]["seed"] == seed
