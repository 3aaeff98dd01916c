"""Everything a search settles before it starts: sources, a first look, sampler, reference point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.studies.pruning import SPARSITY, warnings
from transcode import engines, objective, pareto
from transcode.engines import streams
from transcode.objective import Accuracy, AccuracyScores, Evaluator, Outcome, Problem
from transcode.runs.manifest import NAME
from transcode.search import halving, proxies
from transcode.search.probe import FIRST_PROBE, probe_designs
from transcode.search.workers import Simulator
from transcode.space import RUN, Space

#: Designs looked at before a run: for names, units, the reference point and the cost of one.
PROBE = 4096
#: ... fewer where each has many parameters in several workloads: so many of those in all.
_PROBED = 1 << 18
#: What takes so many times too long to enumerate is timed twice: it may be a moment's other load.
BUSY = 4.0
#: Islands of a run that says nothing about them; never from the number of processors.
ISLANDS = 4
#: Most designs proposed at once where models are trained: what a kill may cost.
TRAINED_BATCH = 16


@dataclass(frozen=True)
class Request:
    """What the user asked for; budget in designs, time in seconds, None where left open."""

    sampler: str
    budget: int | None
    time: float | None
    batch: int | None
    islands: int | None = None


@dataclass(frozen=True)
class Sources:
    """Where answers come from.

    record : of the accuracy source, for the manifest, with `text` for people.
    first_look : stands in for accuracies that have to be trained, before a run.
    seconds : measures what a design takes where it has to be trained.
    """

    evaluator: Callable[[bool], Evaluator]
    accuracy: AccuracyScores | None
    record: dict[str, Any] | None
    first_look: AccuracyScores | None = None
    seconds: Callable[[Problem], float] | None = None

    def ready(self, problem: Problem) -> Problem:
        """The problem with the accuracies of the run instead of those of the first look."""
        return problem if self.first_look is None else replace(problem, accuracy=self.accuracy)


def sources_of(space: Space, evaluator: Evaluator | None, jobs: int, folder: Path) -> Sources:
    """The simulator, or what stands in for it, and the accuracy source if one is needed.

    folder : of the run, where models that are trained inside the search are kept.

    evaluator : stands in for `elector.evaluate`, or None. jobs : processes.
    """

    def simulator(nested: bool) -> Evaluator:
        return Simulator("groups" if nested else "scalars", jobs)

    def given(nested: bool) -> Evaluator:
        return simulator(nested) if evaluator is None else evaluator

    if not space.uses_accuracy:
        return Sources(given, None, None)
    try:
        if space.accuracy.source == "trained":
            training = proxies.training_of(space, folder, jobs)
            return Sources(
                given, training.scores, training.record, halving.Untrained(), training.seconds
            )
        return Sources(given, *_accuracy_of(space))
    except InputError as error:
        raise error.at(file=space.source) from None


def _accuracy_of(space: Space) -> tuple[Accuracy, dict[str, Any]]:
    """The accuracy source of a space with the prices of its thresholds, and their record."""
    from elector.studies.simulation import features
    from transcode.accuracy import (
        WithFormat,
        find_task,
        format_cost,
        pruning_prices,
        source_of,
        text_of,
    )
    from transcode.space.pricing import number_formats

    fixed = {p.name: p.values[0] for p in space.parameters}
    task = str(fixed.get("workload.task", ""))
    if space.accuracy.quantity == "loss":
        _require_decoders(space)
    source = source_of(space.accuracy, task)
    known, loss = find_task(task), space.accuracy.quantity == "loss"
    cost = format_cost(number_formats(space), loss)
    price = None
    table = str(fixed.get("workload.sparsity", "dense"))
    if space.prunes and table != "dense":
        price = pruning_prices(known.name if known else task, table)
    layered = any(p.name.startswith("model.layer1.head") for p in space.parameters)
    text = text_of(source, layered)
    text += "".join(f"\n{part.describe()}" for part in (price, cost) if part)
    if space.accuracy.bound is not None:
        sure = f"{100 * space.accuracy.bound:g} %"
        text += (
            f"\nsearched: {space.accuracy.bound_name}, which holds with {sure} "
            f"(mean {space.accuracy.z:+.2f} std)"
        )
    predictor = WithFormat(source, cost, loss) if cost else source
    return Accuracy(predictor, features, price), {"text": text, **source.record()}


def _require_decoders(space: Space) -> None:
    """A scaling law is of decoders."""
    from elector.describe.formats import load_model

    for base in space.parameters[space.sections[0].selector].values:
        family = load_model(str(base)).family
        if family != "decoder":
            raise InputError(
                f"a scaling law is of decoders, this is of the family {family}",
                field="model",
                value=base,
                hint="accuracy: surrogate",
            )


def pruning_notes(space: Space) -> list[str]:
    """What is to be said of the sparsity tables of a space and the models they are used for."""
    tables = {v for p in space.parameters if p.name == SPARSITY for v in p.values}
    tables |= {given[SPARSITY] for given in space.workloads.values() if SPARSITY in given}
    models = space.parameters[space.sections[0].selector].values if tables else ()
    return [
        note
        for table in sorted(str(t) for t in tables if t is not None)
        for model in models
        for note in warnings(str(model), {SPARSITY: table})
    ]


def probe(space: Space, sources: Sources, clock: Callable[[], float]) -> tuple[Problem, Outcome]:
    """Looks at designs from all over the space before anything is written.

    Returns the problem with its names and units resolved, and what became of the designs.
    """
    free = sum(p.size > 1 for p in space.parameters) * len(space.workloads)
    codes = probe_designs(space, min(PROBE, max(FIRST_PROBE, _PROBED // max(free, 1))))
    try:
        costs = objective.costs_of(space, sources.evaluator(True), codes[:FIRST_PROBE])
        space = objective.bound(space, objective.names_of(space, costs))
        names = Problem(space, sources.evaluator(True)).result_names
        nested = any(_is_nested(space, name) for name in names)
        known = sources.first_look or sources.accuracy
        problem = Problem(space, sources.evaluator(nested), known)
        if isinstance(problem.evaluator, Simulator):
            return problem, problem.assess(codes)
        # The reference point follows from these designs, so how many there are may depend on
        # the speed of a user's evaluator only.
        start = clock()
        outcome = problem.assess(codes[:FIRST_PROBE])
        if clock() - start < 1.0 and len(codes) > FIRST_PROBE:
            outcome = problem.assess(codes)
        return problem, outcome
    except InputError as error:
        raise error.at(file=space.source) from None


def seconds_each(problem: Problem, batch: int, clock: Callable[[], float]) -> float:
    """Seconds a design takes in batches of that size, from two small ones.

    A call costs a fixed part and one for each design; both are warm by now. Where there are too
    many designs to enumerate, a rough figure is enough.

    batch : designs.
    """
    sizes, spent = (PROBE, 4 * PROBE), []
    if problem.space.cardinality > streams.LARGEST_ENUMERATION:
        sizes = (0, FIRST_PROBE)
    codes = streams.random(problem.space, 0).suggest(sizes[1])
    if len(codes) < sizes[1]:  # so few designs that it does not matter
        sizes = (0, len(codes))
    for size in sizes:
        start = clock()
        if size:
            problem.assess(codes[:size])
        spent.append(clock() - start)
        if size and spent[-1] > 1.0:  # a slow evaluator needs no second look
            return spent[-1] / size
    each = max(spent[1] - spent[0], 0.0) / (sizes[1] - sizes[0])
    return each + max(spent[0] - each * sizes[0], 0.0) / batch


def _is_nested(space: Space, name: str) -> bool:
    """Whether a result is one of a group, such as memory_bytes.weights."""
    head, _, rest = name.partition(".")
    return "." in (rest if head in (*space.workloads, RUN) else name)


def choice_of(
    asked: Request,
    problem: Problem,
    old: Mapping[str, Any] | None,
    folder: Path,
    clock: Callable[[], float],
    seconds: Callable[[Problem], float] | None = None,
) -> tuple[engines.Choice, int, int]:
    """The sampler, batch and islands of a new run, or those of the run that is continued.

    seconds : measures a design where it has to be trained; such batches stay small.

    old : the manifest of the run that is continued, None for a new one.
    """
    if old is None:
        choice = _chosen(asked, problem, clock, seconds)
        if asked.islands is not None and asked.sampler not in ("auto", "evolve", "guided"):
            said = f"{asked.sampler} breeds no generations that could be shared"
            raise InputError(said, field="--islands", value=asked.islands, hint="--sampler evolve")
        usual = engines.default_batch(choice.used)
        size = asked.batch or (usual if seconds is None else min(usual, TRAINED_BATCH))
        return choice, size, asked.islands or ISLANDS
    before, batch, islands = old["sampler"], old["batch"], old.get("islands", ISLANDS)
    if before["used"] == "merge":
        return _after_merge(asked, old, folder)
    _recorded_sampler(before["used"], asked, folder)
    wanted = before["used"] if asked.sampler == "auto" else asked.sampler
    for what, there, here in (
        ("sampler", before["used"], wanted),
        ("batch", batch, asked.batch or batch),
        ("islands", islands, asked.islands or islands),
    ):
        if there != here:
            raise InputError(
                f"holds another run\n  {what}: {there} there, {here} asked for",
                file=folder,
                hint="--fresh replaces it; or choose another --out",
            )
    unlimited = asked.budget is None and asked.time is None
    limit = old.get("budget") if unlimited else asked.budget
    return engines.Choice(before["asked"], before["used"], before["why"], limit), batch, islands


def _recorded_sampler(name: str, asked: Request, folder: Path) -> None:
    """Refuses a run whose manifest names a sampler that nobody knows, or one that only the user
    may load: no file says what is imported."""
    if ":" in name:
        if asked.sampler == "auto":
            said = f"was searched by {name}, which is loaded where it is asked for"
            raise InputError(said, file=folder, hint=f"--sampler {name}")
    elif name not in engines.SAMPLERS:
        raise InputError(
            "unknown sampler",
            file=folder / NAME,
            field="sampler.used",
            value=name,
            allowed=engines.SAMPLERS,
        )


def _chosen(
    asked: Request,
    problem: Problem,
    clock: Callable[[], float],
    seconds: Callable[[Problem], float] | None,
) -> engines.Choice:
    """The sampler of a new run."""

    def choose(each: float) -> engines.Choice:
        return engines.choose(asked.sampler, problem.space, each, asked.budget, asked.time)

    if asked.sampler != "auto":
        return choose(0.0)
    if seconds is not None:
        return choose(seconds(problem))
    many = engines.default_batch("enumerate")
    each, size = seconds_each(problem, many, clock), problem.space.cardinality
    allowed = BUSY * (asked.time or engines.PATIENCE)
    small = choose(0.0).used == "enumerate"
    if small and choose(each).used != "enumerate" and size * each <= allowed:
        each = min(each, seconds_each(problem, many, clock))
    return choose(each)


def _after_merge(
    asked: Request, old: Mapping[str, Any], folder: Path
) -> tuple[engines.Choice, int, int]:
    """How several runs made one are searched further: by the one engine that learns from any."""
    if not str(old.get("status")).startswith("finished"):
        raise InputError(
            "holds runs that were not merged to the end",
            file=folder,
            hint="transcode merge again; or choose another --out",
        )
    if asked.sampler not in ("auto", *engines.LEARN_FROM_OTHERS):
        raise InputError(
            f"was merged from several runs; {asked.sampler} cannot go on from that",
            file=folder,
            hint="--sampler evolve",
        )
    budget = asked.budget
    if budget is None and asked.time is None:
        budget = int(old["designs"]) + engines.DEFAULT_STREAM_BUDGET
    why = "goes on from several runs made one"
    batch = asked.batch or engines.default_batch("evolve")
    return engines.Choice(asked.sampler, "evolve", why, budget), batch, asked.islands or ISLANDS


def reference_of(
    problem: Problem, outcome: Outcome, old: Mapping[str, Any] | None
) -> np.ndarray | None:
    """(O,) the reference point, minimised: that of the run, of the space, or of the probe.

    old : the manifest of the run that is continued, None for a new one.
    """
    names = [o.name for o in problem.space.objectives]
    if old is not None and old.get("reference_point"):
        return np.array([old["reference_point"][n] for n in names]) * problem.signs
    given = problem.space.reference
    if outcome.feasible.any():
        seen = pareto.reference_point(outcome.objectives[outcome.feasible])
    elif len(given) < len(names):
        return None
    else:
        seen = np.zeros(len(names))
    fixed = np.array([given.get(n, np.nan) for n in names]) * problem.signs
    point = np.where(np.isnan(fixed), seen, fixed)
    if not pareto.has_volume(outcome.objectives[outcome.feasible], point):
        raise InputError(
            "the hypervolume of its designs is larger than any number",
            file=problem.space.source,
            field="reference_point" if given else "objectives",
            hint="values nearer to those of designs, or objectives in larger units",
        )
    return point
