"""kill -9 at random moments: what was committed stays, and every folder can be read at that moment.

    PYTHONPATH=tests:tests/transcode python -m fuzz.kills --kills 200 --seed 0
    PYTHONPATH=tests:tests/transcode python -m fuzz.kills --kills 40 --of merge

Every kind of work is done once undisturbed, and then killed and begun again until it ends, half of
the times after a random time and half just before a random one of its operations on files. It ends
with 1 where something that was committed is gone, a folder cannot be read, or the end differs.
Parts are united and front files written after every batch, so that kills meet these moments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing as mp
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import EvaluationError, InputError
from transcode.runs import parts, query, snapshot, storage
from transcode.search import run as search_run
from transcode.search.merge import merge

#: What takes away the time that a process needs to begin.
PRELOADED = ["transcode.search.merge", "transcode.runs.study", "optuna", "pyarrow.parquet"]
BUDGET, BATCH, SHARED, STEPS = 1500, 25, 24, 60
SIZES = {"model.layers": "1", "model.hidden": "16", "model.heads": "2", "model.feed_forward": "32"}


class Lost(AssertionError):
    """A promise that a kill broke."""


# ---- what is killed; each runs in a process of its own ----


def search(folder: Path, told: Any, seed: int) -> None:
    """A search that writes front files and unites parts all the time."""
    _hurry()
    _searched(folder, told, seed=seed, sampler="evolve", budget=BUDGET, batch=BATCH)


def compaction(folder: Path, told: Any, seed: int) -> None:
    """A search of small batches: most of what it does is to unite them."""
    _hurry()
    _searched(folder, told, seed=seed, sampler="random", budget=400, batch=4)


def shared(folder: Path, told: Any, seed: int) -> None:
    """A search on a database."""
    storage.HEARTBEAT, storage.GRACE = 1, 2
    url = f"sqlite:///{folder.parent / 'study.db'}"
    _searched(folder, told, seed=seed, sampler="nsga2", budget=SHARED, storage=url)


def merging(folder: Path, told: Any, seed: int) -> None:
    """Runs made one; the runs lie beside it."""
    _hurry()
    merge([folder.parent / name for name in "abc"], folder)
    told.value = 1


def training(folder: Path, told: Any, seed: int) -> None:
    """A training run of a second that writes a checkpoint every few steps."""
    from transcode.training.loop import train
    from transcode.training.settings import Settings

    plain: dict[str, Any] = {
        **{"model": "encoder", "task": "digits", "tau_i": 0.02, "tau_t": 1e-5, "steps": STEPS},
        **{"batch": 8, "sequence_length": 4, "evaluate": 3, "overrides": SIZES, "seed": seed},
    }
    train(Settings(**plain), out=folder)


def _searched(folder: Path, told: Any, **options: Any) -> None:
    def note(progress: Any) -> None:
        told.value = progress.designs

    transcode.search(SMALL, out=folder, evaluator=fake, jobs=1, progress=note, **options)


def _hurry() -> None:
    search_run._CHECKPOINT, search_run._SHARE = 0.0, 1e9
    parts._SEVERAL = 4


def killed_at(work: Callable[..., None], folder: Path, told: Any, seed: int, counted: Any) -> None:
    """Runs `work` in this process, which ends before operation `counted` on files below a folder.

    counted : how many operations there were, or, where it is positive, at which one to end.
    """
    place, last = str(folder.parent), counted.value
    seen = 0

    def hear(event: str, details: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir"):
            return
        if not str(details[0]).startswith(place):
            return
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        if last <= 0:
            counted.value = -seen

    sys.addaudithook(hear)
    work(folder, told, seed)


# ---- what must hold ----


def designs_of(folder: Path) -> pd.DataFrame:
    """Committed designs of a folder, in order."""
    if not list((folder / "designs").glob("part-*.parquet")):
        return pd.DataFrame()
    designs = pd.read_parquet(folder / "designs")
    return designs.drop_duplicates("id").sort_values("id", ignore_index=True)


def differing(designs: pd.DataFrame, expected: pd.DataFrame) -> str:
    """What differs, "" where nothing does; how pandas keeps text is no difference."""
    try:
        pd.testing.assert_frame_equal(designs, expected, check_dtype=False, check_categorical=False)
    except AssertionError as error:
        return str(error)
    return ""


def demand(truth: bool, what: str) -> None:
    """Raises Lost where something is not so."""
    if not truth:
        raise Lost(what)


def readable(folder: Path, committed: int) -> None:
    """The folder of a run answers, at whatever moment it is; or says that it is young."""
    try:
        taken = snapshot.taken(folder)
        result = query.front(query.opened(folder), [], None)
    except EvaluationError as error:
        demand(committed == 0 and "no batch has been committed yet" in str(error), str(error))
        return
    except InputError as error:
        demand(committed == 0 and not (folder / "manifest.json").exists(), str(error))
        return
    demand(taken.size == len(result.archive), f"front of {taken.size} and {len(result.archive)}")


@dataclass
class Kind:
    """One kind of work.

    name : of it. work : what is killed. prepare : what it needs beside its folder.
    after : checks a folder after a kill, given the whole one and what was committed before and is
    known to be; gives what is committed now. end : checks a folder where it ended.
    """

    name: str
    work: Callable[[Path, Any, int], None]
    after: Callable[[Path, Path, int], int]
    end: Callable[[Path, Path], None]
    prepare: Callable[[Path], None] = lambda place: None


def search_after(folder: Path, whole: Path, known: int) -> int:
    """Parts hold the first designs of the undisturbed search, all that were committed."""
    now = designs_of(folder)
    demand(len(now) >= known, f"{known} designs were committed, {len(now)} are there")
    demand(
        now.empty or not differing(now, designs_of(whole).head(len(now))),
        f"other designs: {differing(now, designs_of(whole).head(len(now)))}",
    )
    readable(folder, len(now))
    return len(now)


def search_end(folder: Path, whole: Path) -> None:
    """The same designs and front files, and a study that Optuna reads."""
    demand(not differing(designs_of(folder), designs_of(whole)), "other designs at the end")
    for name in ("front.csv", "front.json"):
        demand((folder / name).read_bytes() == (whole / name).read_bytes(), f"another {name}")
    demand(not list(folder.rglob("*.tmp")), "temporary files are left")


def shared_after(folder: Path, whole: Path, known: int) -> int:
    """No design twice, none that was committed gone; the database can be read."""
    import optuna

    now = designs_of(folder)
    demand(len(now) >= known, f"{known} designs were committed, {len(now)} are there")
    readable(folder, len(now))
    if (folder.parent / "study.db").exists() and len(now):
        url = f"sqlite:///{folder.parent / 'study.db'}"
        optuna.load_study(study_name="small", storage=url).get_trials()
    return len(now)


def shared_end(folder: Path, whole: Path) -> None:
    """As many designs as asked for, each once, and no trial that seems to run."""
    now = designs_of(folder)
    settings = [name for name in now.columns if name.startswith(("model", "accelerator"))]
    demand(len(now) == SHARED, f"{len(now)} designs of {SHARED}")
    demand(not now.duplicated(settings).any(), "a design twice")


def three_runs(place: Path) -> None:
    """Runs of one space, to be made one."""
    options = {"sampler": "random", "budget": 300, "batch": 10}
    space = {**SMALL, "reference_point": {"latency_s": "1 s", "energy_j": "1 J"}}
    for seed, name in enumerate("abc"):
        if not (place / name).exists():
            transcode.search(space, out=place / name, evaluator=fake, jobs=1, seed=seed, **options)
    (place / "sums.json").write_text(json.dumps(sums(place)))


def sums(place: Path) -> dict[str, str]:
    """Digests of every file of the three runs."""
    files = [p for name in "abc" for p in sorted((place / name).rglob("*")) if p.is_file()]
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != ".lock"
    }


def merge_after(folder: Path, whole: Path, known: int) -> int:
    """The runs are as they were; what has come together can be read."""
    demand(json.loads((folder.parent / "sums.json").read_text()) == sums(folder.parent), "sources")
    now = designs_of(folder)
    readable(folder, len(now))
    return 0


def train_after(folder: Path, whole: Path, known: int) -> int:
    """The checkpoint is whole and no older than the last; every file that is there is whole."""
    from transcode.training import checkpoint
    from transcode.training import folder as written

    state = checkpoint.load(folder)
    step = 0 if state is None else int(state["step"])
    demand(step >= known, f"step {known} was safe, the checkpoint is of {step}")
    if (folder / "metrics.csv").exists() and (folder / "manifest.json").exists():
        written.read_metrics(folder)
    return step


def train_end(folder: Path, whole: Path) -> None:
    """The same weights and tables."""
    import torch

    from transcode.training import checkpoint

    states = [checkpoint.load(place) for place in (folder, whole)]
    weights = [state["full"]["module"] for state in states if state is not None]
    demand(len(weights) == 2, "no checkpoint")
    demand(all(torch.equal(t, weights[1][k]) for k, t in weights[0].items()), "other weights")
    for name in ("sparsity.csv", "accuracy.csv", "model.yaml"):
        demand((folder / name).read_bytes() == (whole / name).read_bytes(), f"another {name}")


def checked(kind: Kind, folder: Path, whole: Path, known: int) -> int:
    """What is committed in a folder after a kill or on a full disk; gone with it is not there."""
    if folder.exists():
        return kind.after(folder, whole, known)
    demand(known == 0, f"{known} were committed, and the folder is gone")
    return 0


KINDS = [
    Kind("search", search, search_after, search_end),
    Kind("merge", merging, merge_after, search_end, three_runs),
    Kind("compaction", compaction, search_after, search_end),
    Kind("train", training, train_after, train_end),
    Kind("storage", shared, shared_after, shared_end),
]


# ---- the attack ----


@dataclass
class Attack:
    """Kills of one kind, over as many runs as they need. kills, ended : so far."""

    kind: Kind
    place: Path
    draw: random.Random
    server: Any
    kills: int = 0
    ended: int = 0
    lasted: float = 0.0
    operations: int = 0
    findings: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """The undisturbed run, its time [s] and its operations on files."""
        place = self.place / "whole"
        place.mkdir(parents=True)
        self.kind.prepare(place)
        counted, begin = self.server.Value("q", 0), time.monotonic()
        code, _ = self.watched(place / "run", counted, None)
        self.lasted, self.operations = time.monotonic() - begin, -counted.value
        demand(code == 0, f"the undisturbed run failed: exit code {code}")
        demand((place / "run").exists(), "the undisturbed run wrote nothing")

    def watched(self, folder: Path, counted: Any, seconds: float | None) -> tuple[int, int]:
        """Exit code of the work, ended after so long, and what it said was committed."""
        told = self.server.Value("q", 0)
        task = self.server.Process(
            target=killed_at, args=(self.kind.work, folder, told, 0, counted)
        )
        task.start()
        task.join(seconds)
        if task.is_alive() and seconds is not None:
            task.kill()
        task.join(120)
        demand(task.exitcode is not None, "does not end")
        return int(task.exitcode), int(told.value)

    def go(self, kills: int) -> None:
        """Kills until there were so many."""
        number = 0
        while self.kills < kills:
            number += 1
            place = self.place / f"{number:03d}"
            place.mkdir()
            self.kind.prepare(place)
            self.through(place / "run", kills)

    def through(self, folder: Path, kills: int) -> None:
        """One run to its end, killed on the way: at most eight times, so that it has one."""
        committed, whole = 0, self.place / "whole" / "run"
        for turn in range(9):
            last = turn == 8 or self.kills >= kills
            counted, seconds = self.server.Value("q", 0), None
            if not last and self.draw.random() < 0.5:
                counted.value = self.draw.randint(1, max(self.operations // 2, 2))
            elif not last:
                seconds = self.draw.uniform(0.0, 0.6) * self.lasted
            code, told = self.watched(folder, counted, seconds)
            if code not in (0, -signal.SIGKILL):
                raise Lost(f"exit code {code}")
            if code == 0:
                self.kind.end(folder, whole)
                self.ended += 1
                return
            self.kills += 1
            known = max(committed, told) if self.kind.work is not merging else 0
            committed = checked(self.kind, folder, whole, known)


def main() -> int:
    """Attack every kind, and say what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all, over the kinds")
    parser.add_argument("--of", action="append", choices=[kind.name for kind in KINDS])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    server = mp.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    kinds = [kind for kind in KINDS if not asked.of or kind.name in asked.of]
    bad = 0
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="kills-") as name:
            draw = random.Random(f"{asked.seed}:{kind.name}")
            attack = Attack(kind, Path(name), draw, server)
            said = ""
            try:
                attack.begin()
                attack.go(-(-asked.kills // len(kinds)))
            except Exception as error:
                said, bad = f"  {type(error).__name__}: {error}", bad + 1
            sys.stdout.write(
                f"{kind.name:12} {attack.kills} kills, {attack.ended} runs ended as undisturbed; "
                f"undisturbed {attack.lasted:.2f} s, {attack.operations} operations on files"
                f"{said}\n"
            )
            sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
