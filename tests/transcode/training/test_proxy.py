"""Models trained for a search: they go on where they stopped, and are never trained twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from elector.base.errors import InputError

pytestmark = pytest.mark.extras("torch", "sklearn")
SMALL: dict[str, object] = {
    "model": "encoder",
    "model.layers": 1,
    "model.hidden": 16,
    "model.heads": 2,
    "model.feed_forward": 16,
}


def test_a_model_that_goes_on_is_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    from transcode.training.proxy import Proxies

    at_once, in_parts = (Proxies(tmp_path / name, "digits", 8) for name in ("a", "b"))
    whole = at_once.score(SMALL, 0, 8)
    first = in_parts.score(SMALL, 0, 4)
    assert (in_parts.of(SMALL) / "seed-0" / "checkpoint.pt").exists()
    assert Proxies(tmp_path / "b", "digits", 8).score(SMALL, 0, 8) == whole  # in another session
    assert not (in_parts.of(SMALL) / "seed-0" / "checkpoint.pt").exists()
    kept = json.loads((in_parts.of(SMALL) / "seed-0" / "scores.json").read_text())
    assert kept == {"4": first, "8": whole}
    assert in_parts.score(SMALL, 1, 8) != whole  # seeds differ


def test_what_is_known_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transcode.training import proxy

    proxies = proxy.Proxies(tmp_path, "digits", 2)
    score = proxies.score(SMALL, 0, 2)

    def refuse(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(proxy, "Copy", refuse)
    again = proxy.Proxies(tmp_path, "digits", 2)
    assert again.score(SMALL, 0, 2) == score
    # a setting that changes nothing means the same model
    assert again.score({**SMALL, "model.head": "pooler"}, 0, 2) == score
    assert again.key({**SMALL, "workload.tau_i": 0.1}) != again.key(SMALL)
    assert again.key({**SMALL, "model.hidden": 32}) != again.key(SMALL)


@pytest.mark.slow
def test_models_trained_side_by_side_are_the_same(tmp_path: Path) -> None:
    from transcode.training.proxy import Proxies

    wanted = [(own, seed) for own in (SMALL, {**SMALL, "model.heads": 1}) for seed in (0, 1)]
    both = [Proxies(tmp_path / str(jobs), "digits", 4, jobs) for jobs in (1, 2)]
    for proxies in both:
        proxies.prepare(wanted, 4)
    assert len(list((tmp_path / "2").glob("*/seed-*/scores.json"))) == 4
    assert not (tmp_path / "1").exists()
    one, two = ([p.score(own, seed, 4) for own, seed in wanted] for p in both)
    assert one == two


def test_thresholds_are_trained_with(tmp_path: Path) -> None:
    from transcode.training.proxy import Proxies

    proxies = Proxies(tmp_path, "digits", 4)
    harsh = {**SMALL, "workload.tau_i": 10.0}  # nothing is that large
    assert proxies.score(harsh, 0, 4) != proxies.score(SMALL, 0, 4)


def test_errors_of_a_score_and_a_loss_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transcode.training.copy import Copy
    from transcode.training.proxy import Proxies

    proxies = Proxies(tmp_path, "digits", 2)
    assert proxies.sampling(50.0) == pytest.approx(100.0 * 0.5 / proxies.task.valid.size**0.5)
    assert proxies.sampling(100.0) == 0.0
    monkeypatch.setattr(Copy, "step", lambda *_: math.nan)
    assert math.isnan(proxies.score(SMALL, 0, 2))
    assert math.isnan(Proxies(tmp_path, "digits", 2).score(SMALL, 0, 2))  # and it is remembered


def test_an_unknown_task_and_a_model_that_does_not_fit(tmp_path: Path) -> None:
    from transcode.training.proxy import Proxies

    with pytest.raises(InputError, match="did you mean digits"):
        Proxies(tmp_path, "digit", 2)
    with pytest.raises(InputError, match="cannot be trained"):
        Proxies(tmp_path, "digits", 2).score({"model": "t5-base"}, 0, 2)
