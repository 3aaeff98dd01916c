"""The one loop: an engine suggests, the simulator answers, the archive keeps, the folder records.

`search` is all of it: it reads a space, refuses what is wrong before anything is written,
continues the run it finds in the folder, and leaves the front behind.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector import units
from elector.errors import InputError
from transcode import engines, objective, pareto, runs
from transcode.engines import streams
from transcode.objective import Accuracy, Evaluator, Outcome, Problem, Rejections
from transcode.pareto import Archive
from transcode.space import Space, describe, digest, load

if TYPE_CHECKING:
    import pandas as pd

#: Designs looked at before a run: for names, units, the reference point and the cost of one.
PROBE, FIRST_PROBE = 4096, 64
#: Seconds between two looks at the hypervolume, and between two checkpoints, at least.
_LOOK, _CHECKPOINT = 1.0, 10.0


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    designs : evaluated so far, earlier sessions included. rate : designs a second, this session.
    hypervolume : None before there is a reference point. exact : whether it is of every point.
    left : seconds to go, as far as can be said.
    """

    designs: int
    budget: int | None
    feasible: int
    front: int
    hypervolume: float | None
    exact: bool
    rate: float
    seconds: float
    left: float | None


@dataclass(frozen=True)
class Result:
    """A finished or interrupted search.

    front : the non-dominated feasible designs, sorted by the first objective.
    """

    folder: Path
    space: Space
    front: Archive
    manifest: dict[str, Any]
    rejections: Rejections
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """front.csv as a pandas DataFrame."""
        import pandas as pd

        return pd.read_csv(self.folder / "front.csv")


@dataclass(frozen=True)
class Sources:
    """Where answers come from.

    accuracy : the record for the manifest, with `text` for people; None without accuracy.
    """

    evaluator: Callable[[bool], Evaluator]
    accuracy: Accuracy | None
    record: dict[str, Any] | None


def search(
    space: str | Path | Mapping[str, object],
    *,
    sampler: str = "auto",
    budget: int | None = None,
    time: float | str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    fresh: bool = False,
    jobs: int = 0,
    batch: int | None = None,
    evaluator: Evaluator | None = None,
    command: str = "",
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = clocks.perf_counter,
) -> Result:
    """Searches a space for the designs that nothing beats.

    Parameters
    ----------
    space : a file, the name of a shipped space, or the mapping such a file holds.
    sampler : see `transcode.engines.SAMPLERS`; or module:Class.
    budget : designs to evaluate, earlier sessions of the same run included.
    time : seconds of this session, or text such as "60s".
    out : run folder; results/<name of the space> by default. fresh : replace what is there.
    jobs : threads of the simulator; 0 uses every processor.
    batch : designs proposed at once; the sampler's own default otherwise.
    evaluator : stands in for `elector.evaluate`.
    progress : called after each batch.

    Raises InputError for anything wrong with the input, before anything is written. On
    KeyboardInterrupt the run is left complete up to its last batch and the interrupt goes on.
    """
    started = clock()
    seconds = _checked(budget, time, seed, jobs, batch)
    engines.check(sampler)
    read = load(space)
    folder = Path(out) if out is not None else Path("results") / read.name
    sources = _sources(read, evaluator, jobs)
    problem, outcome, each = _probe(read, sources, clock)
    description = describe(read)
    manifest: dict[str, Any] = {
        "space": description,
        "space_sha256": digest(description),
        "simulator": runs.manifest.simulator(),
        "seed": seed,
    }
    old = None if fresh else runs.manifest.read(folder)
    if old is not None:
        runs.manifest.refuse_other(folder, old, manifest)
    choice, batch = _choice(sampler, read, each, budget, seconds, batch, old, folder)
    reference = _reference(problem, outcome, old)
    manifest |= {
        "command": command,
        "versions": runs.manifest.versions(),
        "sampler": {"asked": choice.asked, "used": choice.used, "why": choice.why},
        "batch": batch,
        "islands": 1,
        "budget": choice.budget,
        "accuracy": sources.record,
    }
    engine = engines.make(choice.used, problem, seed, batch, _fallback(problem, reference))
    run = _Run(problem, folder, engine, batch, choice.budget, reference, manifest, clock, started)
    run.time = seconds
    with _opened(folder, fresh):
        return run.go(progress)


def _checked(
    budget: int | None, time: float | str | None, seed: int, jobs: int, batch: int | None
) -> float | None:
    """Refuses numbers without meaning; returns the time limit in seconds."""
    for name, value, least in (
        ("--budget", budget, 1), ("--seed", seed, 0), ("--jobs", jobs, 0), ("--batch", batch, 1),
    ):  # fmt: skip
        if value is not None and (not isinstance(value, int) or value < least):
            raise InputError(f"must be a whole number from {least} up", field=name, value=value)
    if time is None:
        return None
    seconds = units.parse(time, "s", field="--time")
    if seconds <= 0:
        raise InputError("must be positive", field="--time", value=time)
    return seconds


def _sources(space: Space, evaluator: Evaluator | None, jobs: int) -> Sources:
    """The simulator, or what stands in for it, and the accuracy source if one is needed."""

    def simulator(nested: bool) -> Evaluator:
        from elector.evaluate import evaluate

        level = "groups" if nested else "scalars"
        return lambda columns, size: evaluate(columns, size, jobs=jobs, level=level)

    accuracy, record = None, None
    if space.uses_accuracy:
        from elector.api import features
        from transcode.accuracy import surrogate

        task = next(p for p in space.parameters if p.name == "workload.task").values[0]
        try:
            source = surrogate(str(task))
        except InputError as error:
            raise error.at(file=space.source) from None
        accuracy = Accuracy(source, features)
        validation = source.cross_validation
        record = {"task": source.task.name, "text": source.describe(), **_plain(validation)}
    given = evaluator
    return Sources(simulator if given is None else lambda nested: given, accuracy, record)


def _plain(record: object) -> dict[str, object]:
    """The fields of a frozen record, in JSON types."""
    return {k: v for k, v in vars(record).items() if isinstance(v, str | int | float)}


def _probe(
    space: Space, sources: Sources, clock: Callable[[], float]
) -> tuple[Problem, Outcome, float]:
    """Looks at designs from all over the space before anything is written.

    Returns the problem with its names and units resolved, what became of the designs, and
    the seconds one takes.
    """
    codes = probe_designs(space, PROBE)
    try:
        costs = objective.sample_costs(space, sources.evaluator(True), codes[:FIRST_PROBE])
        space = objective.bound(space, objective.result_names(space, costs))
        nested = any("." in n.partition(".")[2] or _is_nested(space, n)
                     for n in Problem(space, sources.evaluator(True)).result_names)  # fmt: skip
        problem = Problem(space, sources.evaluator(nested), sources.accuracy)
        start = clock()
        outcome = problem.assess(codes[:FIRST_PROBE])
        if clock() - start < 1.0 and len(codes) > FIRST_PROBE:
            start = clock()
            outcome = problem.assess(codes)
        return problem, outcome, (clock() - start) / len(outcome)
    except InputError as error:
        raise error.at(file=space.source) from None


def _is_nested(space: Space, name: str) -> bool:
    head, dot, _ = name.partition(".")
    return bool(dot) and head not in space.workloads


def probe_designs(space: Space, count: int) -> np.ndarray:
    """(D, S) allowed designs from all over the space, the same for every seed and sampler.

    Every alternative is among the first ones, however few designs it has.
    """
    if space.cardinality <= streams.LARGEST_ENUMERATION:
        stream = streams.enumerate_all(space)
    else:
        stream = streams.random(space, 0)
    spread = stream.suggest(count)
    if len(spread) == 0:
        raise InputError("rejects every design", file=space.source, field="where",
                         value=[e.text for e in space.where])  # fmt: skip
    rare = []
    for section in space.sections:
        for code in range(len(section.groups) if len(section.groups) > 1 else 0):
            changed = spread[: 16 * len(section.groups)].copy()
            changed[:, section.selector] = code
            for column in section.members[section.groups[code]]:
                changed[:, column] = np.arange(len(changed)) % space.parameters[column].size
            changed = space.canonical(changed)
            rare.append(changed[space.allowed(changed)][:2])
    return np.concatenate([*rare, spread])


def _choice(
    sampler: str,
    space: Space,
    seconds_each: float,
    budget: int | None,
    time: float | None,
    batch: int | None,
    old: Mapping[str, Any] | None,
    folder: Path,
) -> tuple[engines.Choice, int]:
    """The sampler and batch of a new run, or those of the run that is continued."""
    if old is None:
        choice = engines.choose(sampler, space, seconds_each, budget, time)
        return choice, batch or engines.default_batch(choice.used)
    before = old["sampler"]
    for what, there, asked in (
        ("sampler", before["used"], before["used"] if sampler == "auto" else sampler),
        ("batch", old["batch"], batch or old["batch"]),
    ):
        if there != asked:
            raise InputError(
                f"holds another run\n  {what}: {there} there, {asked} asked for", file=folder,
                hint="--fresh replaces it; or choose another --out",
            )  # fmt: skip
    limit = old["budget"] if budget is None and time is None else budget
    return engines.Choice(before["asked"], before["used"], before["why"], limit), old["batch"]


def _reference(
    problem: Problem, outcome: Outcome, old: Mapping[str, Any] | None
) -> np.ndarray | None:
    """(O,) the reference point, minimised: that of the run, of the space, or of the probe."""
    names = [o.name for o in problem.space.objectives]
    if old is not None and old.get("reference_point"):
        return np.array([old["reference_point"][n] for n in names]) * problem.signs
    given = problem.space.reference
    if outcome.feasible.any():
        found = pareto.reference_point(outcome.objectives[outcome.feasible])
    elif len(given) < len(names):
        return None
    else:
        found = np.zeros(len(names))
    fixed = np.array([given.get(n, np.nan) for n in names]) * problem.signs
    return np.where(np.isnan(fixed), found, fixed)


def _fallback(problem: Problem, reference: np.ndarray | None) -> np.ndarray:
    """(O,) what a design without values counts as: the reference point, where there is one."""
    return np.ones(len(problem.signs)) if reference is None else reference


class _opened:  # noqa: N801 (a context manager)
    """Makes and holds the run folder; anything that cannot be written is the user's to mend."""

    def __init__(self, folder: Path, fresh: bool) -> None:
        self.folder, self.fresh = folder, fresh

    def __enter__(self) -> None:
        try:
            (self.folder / "designs").mkdir(parents=True, exist_ok=True)
            self.lock = runs.locked(self.folder)
            self.lock.__enter__()
            if self.fresh:
                runs.manifest.clear(self.folder)
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror or error}", file=self.folder, field="--out"
            ) from None

    def __exit__(self, *error: object) -> None:
        self.lock.__exit__(None, None, None)


@dataclass
class _Run:
    """A search in progress."""

    problem: Problem
    folder: Path
    engine: engines.Engine
    batch: int
    budget: int | None
    reference: np.ndarray | None
    manifest: dict[str, Any]
    clock: Callable[[], float]
    started: float
    time: float | None = None
    number: int = 0
    designs: int = 0
    before: int = 0
    feasible: int = 0
    notes: list[str] = field(default_factory=list)
    rejections: Rejections = field(default_factory=Rejections)
    timing: dict[str, float] = field(default_factory=dict)
    looked: float = -np.inf
    saved: float = 0.0
    volume: tuple[float | None, bool] = (None, True)

    def __post_init__(self) -> None:
        space = self.problem.space
        self.archive = Archive.empty(
            len(space.parameters), len(space.objectives), self.problem.result_names
        )

    def go(self, progress: Callable[[Progress], None] | None) -> Result:
        """Takes over what there is, and goes on until there is a reason to stop."""
        self._recover()
        self.save_manifest("running")
        self.saved = self.clock()
        status = "interrupted"
        try:
            while True:
                status = self._reason_to_stop()
                if status:
                    break
                status = "interrupted"
                self._step()
                if progress is not None:
                    progress(self._progress())
                if self.clock() - self.saved > _CHECKPOINT:
                    self.checkpoint("running")
        finally:
            self.checkpoint(status or "interrupted")
        if progress is not None:
            self.looked = -np.inf
            progress(self._progress())
        return Result(
            self.folder, self.problem.space, self.archive.sorted(), self.manifest,
            self.rejections, tuple(self.notes),
        )  # fmt: skip

    def _recover(self) -> None:
        """Takes over the whole parts of the folder; what comes after a cut one is set aside."""
        designs = self.folder / "designs"
        for found in runs.parts.read_all(designs):
            space = self.problem.space
            codes = space.encode(dict(found.columns))
            outcome = self.problem.judge(space.decode(codes), dict(found.results), found.reasons)
            self._keep(codes, outcome)
            self.engine.resume(engines.Finished(codes, outcome, dict(found.state)))
            self.number = found.number + 1
        hidden = runs.parts.set_aside(designs, self.number)
        if hidden:
            self.notes.append(
                f"{hidden[0]} is not whole: going on from batch {self.number} "
                f"({self.designs:,} designs); {len(hidden)} part(s) set aside"
            )
        self.before = self.designs

    def _reason_to_stop(self) -> str:
        if self.budget is not None and self.designs >= self.budget:
            return "budget reached"
        if self.time is not None and self.clock() - self.started >= self.time:
            return "time reached"
        if self.engine.exhausted:
            return "nothing new to look at"
        return ""

    def _step(self) -> None:
        """One batch: suggested, evaluated, kept, committed, learnt from."""
        count = self.batch if self.budget is None else min(self.batch, self.budget - self.designs)
        begin = self.clock()
        codes = self.engine.suggest(count)
        suggested = self.clock()
        outcome = self.problem.assess(codes)
        assessed = self.clock()
        self.engine.update(codes, outcome)
        learnt = self.clock()
        first = self.designs
        self._keep(codes, outcome)
        kept = self.clock()
        self._commit(first, codes, outcome)
        self._spent("sampler", suggested - begin + learnt - assessed)
        self._spent("evaluation", assessed - suggested)
        self._spent("archive", kept - learnt)
        self._spent("recording", self.clock() - kept)

    def _spent(self, what: str, seconds: float) -> None:
        self.timing[what] = self.timing.get(what, 0.0) + seconds

    def _keep(self, codes: np.ndarray, outcome: Outcome) -> None:
        """The archive, the counts and the reference point after a batch."""
        rows = np.flatnonzero(outcome.feasible)
        ids = np.arange(self.designs, self.designs + len(codes), dtype=np.int64)
        results = {name: outcome.results[name] for name in self.problem.result_names}
        self.archive = self.archive.add(Archive(ids, codes, outcome.objectives, results).take(rows))
        self.rejections.add(codes, outcome)
        self.designs += len(codes)
        self.feasible += len(rows)
        if self.reference is None and len(rows):
            self.reference = pareto.reference_point(outcome.objectives[rows])

    def _commit(self, first: int, codes: np.ndarray, outcome: Outcome) -> None:
        space = self.problem.space
        names = dict.fromkeys(["model", "accelerator", *space.varied])
        runs.parts.write(
            self.folder / "designs",
            runs.Batch(
                number=self.number,
                first_id=first,
                columns={name: space.column(name, codes) for name in names},
                results={name: outcome.results[name] for name in self.problem.result_names},
                feasible=outcome.feasible,
                reasons=outcome.reasons,
                state=self.engine.state(),
            ),
        )
        self.number += 1

    def _progress(self) -> Progress:
        now = self.clock()
        if now - self.looked >= _LOOK and self.reference is not None:
            self.volume = pareto.live_hypervolume(self.archive.objectives, self.reference)
            self.looked = now
        seconds = now - self.started
        rate = (self.designs - self.before) / max(seconds, 1e-9)
        left = [] if self.time is None else [max(self.time - seconds, 0.0)]
        if self.budget is not None and rate > 0:
            left.append((self.budget - self.designs) / rate)
        return Progress(
            self.designs, self.budget, self.feasible, len(self.archive), *self.volume,
            rate, seconds, min(left, default=None),
        )  # fmt: skip

    def save_manifest(self, status: str) -> None:
        """Writes the manifest as it stands."""
        names = [o.name for o in self.problem.space.objectives]
        reference = None
        if self.reference is not None:
            reference = dict(
                zip(names, (self.reference * self.problem.signs).tolist(), strict=True)
            )
        self.manifest |= {
            "reference_point": reference,
            "status": status,
            "designs": self.designs,
            "feasible": self.feasible,
            "front": len(self.archive),
            "timing": {
                "seconds": self.clock() - self.started,
                "designs": self.designs - self.before,
                **self.timing,
            },
        }
        runs.manifest.write(self.folder, self.manifest)

    def checkpoint(self, status: str) -> None:
        """Writes front, study and manifest."""
        front = self.archive.sorted()
        volume = None
        if self.reference is not None:
            volume = pareto.hypervolume(front.objectives, self.reference)
        self.manifest["hypervolume"] = volume
        self.save_manifest(status)
        header = {key: self.manifest[key] for key in
                  ("space_sha256", "seed", "reference_point", "hypervolume")}  # fmt: skip
        runs.front.write(self.folder, self.problem.space, front, header)
        self._write_study(front)
        # a long front takes long to write: at most a twentieth of the time goes into it
        now = self.clock()
        self.saved = now

    def _write_study(self, front: Archive) -> None:
        """study.log: every trial of an Optuna sampler; otherwise the front, thinned."""
        space = self.problem.space
        attributes = {key: self.manifest[key] for key in
                      ("space_sha256", "seed", "sampler", "reference_point")}  # fmt: skip
        own = self.engine.study_trials()
        if own is not None:
            runs.study.write(self.folder / "study.log", space, own[0], attributes, own[1])
            return
        shown = front.take(pareto.spread(front.objectives, runs.study.LIMIT))
        outcome_margins = self._margins(shown)
        distributions = [runs.distribution(p) for p in space.parameters]
        trials = []
        for row in range(len(shown)):
            values = (shown.objectives[row] * self.problem.signs).tolist()
            extra = {n: float(v[row]) for n, v in shown.results.items()
                     if n not in [o.name for o in space.objectives]}  # fmt: skip
            trial = runs.Trial(
                shown.codes[row], values, {n: float(m[row]) for n, m in outcome_margins.items()},
                {"id": int(shown.ids[row]), **extra},
            )  # fmt: skip
            trials.append(runs.study.frozen(space, distributions, trial))
        runs.study.write(self.folder / "study.log", space, trials, attributes)

    def _margins(self, front: Archive) -> dict[str, np.ndarray]:
        from elector.table import Column

        columns = self.problem.space.decode(front.codes)
        reasons = Column.constant("", len(front))
        return self.problem.judge(columns, front.results, reasons).margins
