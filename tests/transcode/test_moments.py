"""A run folder at any moment: whatever is committed is read, however the search goes or ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode import runs
from transcode.cli.commands import main
from transcode.runs import snapshot
from transcode.search import prepare
from transcode.search.run import SearchRun

OPTIONS: dict[str, Any] = {
    "sampler": "random",
    "budget": 200,
    "batch": 20,
    "evaluator": fake,
    "jobs": 1,
}
#: Searches in a process of its own, where `then` is done after so many designs.
SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from search_fakes import SMALL, fake
import transcode

def at(progress):
    if progress.designs >= {designs}:
        {then}

try:
    transcode.search(SMALL, out={out!r}, progress=at, sampler={sampler!r}, budget=200, batch=20,
                     evaluator=fake, jobs={jobs})
except transcode.Interrupted as stop:
    from transcode.cli import report
    print(report.interrupted(stop.folder))
    sys.exit(130)
"""


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def questions(run: str) -> list[tuple[str, ...]]:
    """Everything that reads a run folder."""
    return [
        ("front", run),
        ("front", run, "--format", "csv"),
        ("front", run, "--format", "json"),
        ("front", run, "--where", "latency_s <= 1"),
        ("plot", run, "--out", f"{run}.png"),
        ("compare", run, run),
        ("check", run, "--require", "hypervolume >= 1e-300"),
        ("check", run, "--require", "hypervolume >= baseline", "--baseline", run),
        ("check", run, "--require", "designs >= 1 and front >= 1 and feasible >= 1"),
    ]


def refuse_all(run: str, code: int, words: str) -> None:
    for question in questions(run):
        done = ask(*question)
        assert done.exit_code == code and words in done.stderr, (question, done.output)
        assert isinstance(done.exception, SystemExit) and done.stdout == "", question


def answer_all(run: str) -> None:
    for question in questions(run):
        done = ask(*question)
        assert done.exit_code == 0, (question, done.output, done.exception)


def in_a_process(out: Path, designs: int, then: str, sampler: str = "random", jobs: int = 1) -> Any:
    tests = str(Path(__file__).parent)
    script = SCRIPT.format(
        tests=tests, designs=designs, then=then, out=str(out), sampler=sampler, jobs=jobs
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300
    )


def test_a_running_search_is_read_before_its_first_checkpoint(tmp_path: Path) -> None:
    run, seen = tmp_path / "run", []

    def at(progress: transcode.Progress) -> None:
        if progress.designs in (20, 60):
            assert not (run / "front.csv").exists()
            answer_all(str(run))
            seen.append(snapshot.taken(run).manifest["designs"])
            figures = snapshot.taken(run).manifest
            if progress.designs == 20:  # it is looked at once a second
                assert figures["hypervolume"] == progress.hypervolume
            assert (figures["feasible"], figures["front"]) == (progress.feasible, progress.front)

    result = transcode.search(SMALL, out=run, progress=at, **OPTIONS)
    assert seen == [20, 60]
    assert snapshot.taken(run).manifest == result.manifest


def test_what_is_computed_is_what_is_written(tmp_path: Path) -> None:
    spaces: list[dict[str, Any]] = [
        SMALL,
        {**SMALL, "objectives": {"latency_s": "min"}, "reference_point": {"latency_s": 1}},
        {**SMALL, "record": ["energy_j"], "objectives": {"latency_s": "min", "area_mm2": "min"}},
        {
            **SMALL,
            "workloads": {"serve": {"mode": "inference"}, "tune": {"mode": "training"}},
            "objectives": {"serve.latency_s": "min", "tune.energy_j": "min"},
        },
    ]
    for number, space in enumerate(spaces):
        run = tmp_path / str(number)
        transcode.search(space, out=run, **OPTIONS)
        written = snapshot.taken(run)
        assert written.computed is None
        (run / "front.csv").rename(run / "away.csv")
        moment = snapshot.taken(run)
        assert moment.computed is not None
        assert moment.csv == (run / "away.csv").read_text()
        assert "".join(moment.json()) == (run / "front.json").read_text()
        assert moment.head == {
            key: value
            for key, value in json.loads("".join(written.json())).items()
            if key != "points"
        }


def test_a_search_that_has_just_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed: before the manifest, and after it."""
    run = tmp_path / "run"

    def young(self: SearchRun, *arguments: object) -> None:
        refuse_all(str(run), 1, f"{run}: no batch has been committed yet")
        done = ask("merge", str(run), str(run), "--out", str(tmp_path / "merged"))
        assert done.exit_code == 1 and "no batch has been committed yet" in done.stderr
        assert not (tmp_path / "merged").exists()
        raise SystemExit

    for name in ("_recover", "_loop"):
        with monkeypatch.context() as patch:
            patch.setattr(SearchRun, name, young)
            with pytest.raises(SystemExit):
                transcode.search(SMALL, out=run, **OPTIONS)


@pytest.mark.parametrize("moment", ["before the manifest", "after it", "between the files"])
def test_a_search_that_was_killed_while_young_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    where = {
        "before the manifest": (SearchRun, "_recover"),
        "after it": (SearchRun, "_loop"),
        "between the files": (runs.study, "write"),
    }[moment]

    def dies(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(*where, dies)
        with pytest.raises(SystemExit):
            transcode.search(SMALL, out=run, **OPTIONS)
    transcode.search(SMALL, out=run, **OPTIONS)
    transcode.search(SMALL, out=whole, **OPTIONS)
    for name in ("front.csv", "front.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_killed_search_is_read_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = in_a_process(run, 60, "os._exit(9)")
    assert first.returncode == 9, first.stderr
    assert not (run / "front.csv").exists()
    answer_all(str(run))
    assert snapshot.taken(run).manifest["designs"] == 60
    merged = ask("merge", str(run), str(run), "--out", str(tmp_path / "merged"))
    assert merged.exit_code == 0, merged.output
    second = in_a_process(run, 120, "os._exit(9)")
    assert second.returncode == 9
    moment = snapshot.taken(run)
    assert moment.manifest["designs"] == 120 and moment.manifest["hypervolume"] > 0
    answer_all(str(run))
    result = transcode.search(SMALL, out=run, **OPTIONS)
    whole = transcode.search(SMALL, out=tmp_path / "whole", **OPTIONS)
    assert (run / "front.csv").read_bytes() == (tmp_path / "whole" / "front.csv").read_bytes()
    assert result.manifest["hypervolume"] == whole.manifest["hypervolume"]


def test_a_search_that_goes_on_keeps_what_its_checkpoint_said(tmp_path: Path) -> None:
    """The front files are of 200 designs, the parts of 220: the front is of the parts."""
    run = tmp_path / "run"
    before = transcode.search(SMALL, out=run, **OPTIONS).manifest
    more = OPTIONS | {"budget": 400}

    def at(progress: transcode.Progress) -> None:
        written = json.loads((run / "manifest.json").read_text())
        assert written["status"] == "running"
        for key in ("hypervolume", "front", "checkpoint"):
            assert written[key] == before[key]
        assert snapshot.taken(run).manifest["designs"] == progress.designs
        answer_all(str(run))
        raise KeyboardInterrupt

    with pytest.raises(transcode.Interrupted):
        transcode.search(SMALL, out=run, progress=at, **more)
    assert json.loads((run / "manifest.json").read_text())["checkpoint"] == 220


def test_parts_that_are_united_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    small = OPTIONS | {"budget": 140, "batch": 2}
    with monkeypatch.context() as patch:
        patch.setattr(runs.parts, "compact", lambda folder: None)
        transcode.search(SMALL, out=run, **small)
    expected = runs.query.front(runs.query.opened(run), ["latency_s <= 1"], None)
    tries = []

    def unites(recorded: runs.query.Recorded) -> runs.query.Front:
        tries.append(len(recorded.parts))
        if len(tries) == 1:
            runs.parts.compact(run / "designs")
        return runs.query.front(recorded, ["latency_s <= 1"], None)

    answer = runs.query.settled(run, unites)
    assert tries[0] >= 64 and len(tries) == 2 and tries[1] < tries[0]
    assert answer.looked_at == expected.looked_at
    assert answer.archive.ids.tolist() == expected.archive.ids.tolist()


# ---- signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_a_search_alike(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    done = in_a_process(run, 60, f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == 130, done.stderr
    assert done.stdout.startswith("interrupted: 60 designs are safe in ") and done.stderr == ""
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "interrupted" and manifest["designs"] == 60
    assert manifest["front"] == len((run / "front.csv").read_text().splitlines()) - 1
    answer_all(str(run))


@pytest.mark.parametrize("sampler", ["random", "evolve"])
def test_two_signals_at_once_lose_no_batch(tmp_path: Path, sampler: str) -> None:
    """The second is handled while the first is on its way out, before the last batch is written:
    with several processes it is written while the next one is evaluated."""
    run = tmp_path / "run"
    two = "os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGTERM)"
    done = in_a_process(run, 60, f"print(progress.designs); {two}", sampler, jobs=2)
    assert done.returncode == 130, done.stderr
    shown, said = done.stdout.splitlines()[-2:]
    assert int(shown) >= 60 and f"interrupted: {int(shown):,} designs are safe" in said
    assert runs.parts.survey(run / "designs") == (int(shown), None)


def test_a_signal_that_a_destructor_swallows_is_not_forgotten(tmp_path: Path) -> None:
    swallowed = "type('T', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGINT)})()"
    done = in_a_process(tmp_path / "run", 60, swallowed)
    assert done.returncode == 130, (done.stdout, done.stderr)


def test_a_hangup_that_nohup_ignores_is_ignored(tmp_path: Path) -> None:
    then = "os.kill(os.getpid(), signal.SIGHUP)"
    script = SCRIPT.format(
        tests=str(Path(__file__).parent),
        designs=60,
        then=then,
        out=str(tmp_path / "run"),
        sampler="random",
        jobs=1,
    )
    ignoring = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", ignoring], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_merge_that_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        transcode.search(SMALL, out=tmp_path / str(seed), seed=seed, **OPTIONS)
    words = ("merge", str(tmp_path / "0"), str(tmp_path / "1"), "--out", str(tmp_path / "all"))

    def stops(run: SearchRun, status: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SearchRun, "checkpoint", stops)
        done = ask(*words)
        assert done.exit_code == 130 and not (tmp_path / "all").exists()
    with monkeypatch.context() as patch:  # killed: what it left is made anew
        patch.setattr(runs.manifest, "clear", lambda folder: None)
        patch.setattr(SearchRun, "checkpoint", stops)
        assert ask(*words).exit_code == 130 and (tmp_path / "all" / "designs").exists()
    with pytest.raises(InputError, match="not merged to the end"):
        transcode.search(SMALL, out=tmp_path / "all", **OPTIONS)
    assert ask(*words).exit_code == 0
    assert ask(*words).exit_code == 2, "a whole one is not replaced"


# ---- a folder that is taken away


def test_a_folder_that_is_removed_under_a_search(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def removes(progress: transcode.Progress) -> None:
        if progress.designs == 60:
            shutil.rmtree(run)

    with pytest.raises(EvaluationError, match="was removed or replaced while it was being written"):
        transcode.search(SMALL, out=run, progress=removes, **OPTIONS)
    assert not run.exists()


def test_a_folder_that_is_replaced_under_a_search(tmp_path: Path) -> None:
    run, other = tmp_path / "run", OPTIONS | {"seed": 5}

    def replaces(progress: transcode.Progress) -> None:
        if progress.designs == 60:
            shutil.rmtree(run)
            transcode.search(SMALL, out=run, **other)

    with pytest.raises(EvaluationError, match="was removed or replaced"):
        transcode.search(SMALL, out=run, progress=replaces, **OPTIONS)
    transcode.search(SMALL, out=tmp_path / "other", **other)
    assert (run / "front.csv").read_bytes() == (tmp_path / "other" / "front.csv").read_bytes()


@pytest.mark.parametrize("number", [0, 1, 9])
def test_a_part_that_is_removed_under_a_search(tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"

    def removes(progress: transcode.Progress) -> None:
        if progress.designs == 200:
            runs.parts.path_of(run / "designs", number).unlink()

    with pytest.raises(EvaluationError, match="of 200 recorded designs are gone"):
        transcode.search(SMALL, out=run, progress=removes, **OPTIONS)
    result = transcode.search(SMALL, out=run, **OPTIONS)
    whole = transcode.search(SMALL, out=tmp_path / "whole", **OPTIONS)
    assert (run / "front.csv").read_bytes() == (tmp_path / "whole" / "front.csv").read_bytes()
    assert result.manifest["designs"] == whole.manifest["designs"] == 200


# ---- two at once


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_comes_into_a_folder_while_another_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """What lies in a folder is read once it is ours, not before."""
    run, probe = tmp_path / "run", prepare.probe
    if there:
        run.mkdir()

    def another(*arguments: Any) -> Any:
        monkeypatch.setattr(prepare, "probe", probe)
        transcode.search(SMALL, out=run, seed=7, **OPTIONS)
        return probe(*arguments)

    monkeypatch.setattr(prepare, "probe", another)
    with pytest.raises(InputError, match=r"holds another run|another search began here"):
        transcode.search(SMALL, out=run, **OPTIONS)
    assert json.loads((run / "manifest.json").read_text())["seed"] == 7


def test_a_refused_search_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "front.csv").write_text("mine")
    with pytest.raises(InputError, match="no manifest"):
        transcode.search(SMALL, out=run, **OPTIONS)
    assert os.listdir(run) == ["front.csv"]


# ---- a disk that is full at the very end


def full(*arguments: object, **more: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_at_the_very_end_costs_a_picture_and_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text(
        "name: s\nmodel: {base: bert-tiny}\naccelerator: {base: systolic, rows: [16, 32]}\n"
        "objectives: {latency_s: min, energy_j: min}\n"
    )
    space = str(tmp_path / "s.yaml")
    for module, name, said in (
        (runs.study, "write", "study.log was not written: No space left"),
        (runs.parts, "compact", "part files were not united: No space left"),
        ("matplotlib.figure.Figure", "savefig", "front.png: cannot be written: No space left"),
    ):
        run = tmp_path / f"{name}"
        with monkeypatch.context() as patch:
            target = (f"{module}.{name}",) if isinstance(module, str) else (module, name)
            patch.setattr(*target, full)
            done = ask("search", space, "--out", str(run), "--quiet")
        assert done.exit_code == 0 and "note: " in done.output and said in done.output, done.output
        assert json.loads((run / "manifest.json").read_text())["status"].startswith("finished")
        assert (run / "front.csv").exists() and (run / "front.json").exists()
    for module, name in ((runs.front, "write"), (runs.manifest, "write"), (runs.parts, "write")):
        run = tmp_path / f"{module.__name__}"
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            done = ask("search", space, "--out", str(run), "--quiet")
        assert done.exit_code == 1 and done.stdout == "", (module, done.output)
        assert f"{run}: cannot be written: No space left on device" in done.stderr
        assert ask("search", space, "--out", str(run), "--quiet").exit_code == 0
