"""A slow, noisy accuracy: how many evaluations until a search has what BOSHCODE's kind has?

    python benchmarks/noisy_accuracy.py --out results/noisy-accuracy
    python benchmarks/noisy_accuracy.py --table

The truth is known: the accuracy surrogate and the simulator, made one number as TransCODE does
(.5 accuracy, .1 latency, .2 dynamic and .1 leakage energy, .1 area, costs as 1 - cost / largest;
here in points of 100). A search sees it with noise on the accuracy, as trainings with other seeds
give: a standard deviation of .5 points that grows to 1 with the layers, times --noise. The noise
follows from (seed, design): all methods of a seed see the same. A design is evaluated once, but
by `boshcode`, which asks again where noise decides: that counts as an evaluation, and the mean of
the answers as what was observed.

Methods: random, `parzen` (what `auto` takes where models are trained), `guided` (the start of
evolve), `boshcode` (extra [train]), Optuna's TPE and GP (which
draws parameters that only some designs have at random: in bert, most of the accelerator's), and two
re-creations of BOSHCODE's kind of search (`Bosh` below). What counts is the value without noise
of the design a method would hand over: the best observed, or (smoothed) the best by a forest
fitted to all that the method has evaluated. Runs are appended to noisy.csv: started again, the
script goes on with what is missing. Needs scikit-learn (the extra [train]).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from bosh import Bosh, Forest, Networks

from elector.base.table import Column
from transcode import engines
from transcode.objective import MACHINE, Outcome, Problem
from transcode.search import prepare
from transcode.space import load, numbers
from transcode.space.files import find, read

FIELDS = (
    "space",
    "noise",
    "method",
    "seed",
    "evaluation",
    "observed",
    "smoothed",
    "best",
    "highest_seen",
    "processor_s",
)
#: Evaluations of a run, and those of Optuna's GP, which takes seconds for each.
EVALUATIONS, LAST = 300, {"gp": 100}
#: Evaluations for which a method has to hold what it reached.
HOLD = 20
#: What `smoothed` looks at, every so many evaluations.
EVERY = 10
#: Evaluations without a better one after which BOSHCODE ends.
PATIENCE, START = 10, 100
#: TransCODE's weights: of an accuracy of 100 points, and of costs relative to the largest.
ACCURACY, COSTS = 0.5, {"latency": 0.1, "dynamic": 0.2, "leakage": 0.1, "area": 0.1}
#: Results that each space is asked for: latency, energy, leakage.
RESULTS = {
    "bert": ("serve.latency_s", "serve.energy_j", "serve.energy_by_part_j.leakage"),
    "transcode": (
        "serve.latency_per_sequence_s",
        "serve.energy_j",
        "serve.energy_by_part_j.leakage",
    ),
}
#: Layers at which the deviation of a score is a whole point.
DEEPEST = {"bert": 24, "transcode": 12}
#: What Optuna is told of a design that no accelerator can hold: 40 points.
FALLBACK = np.array([-40.0])
#: A sum that none reaches: `guided` takes logarithms of what is missing.
TOP = 100.0
#: Proposals in a row of designs that are known already after which a method is given up.
DRY = 200
METHODS = (
    *("random", "parzen", "guided", "boshcode", "tpe", "gp"),
    *("bosh-forest", "bosh-networks"),
)


@dataclass
class Source:
    """Answers for designs: what a search sees, and what is true.

    largest : what each cost is relative to, of designs from all over the space. noise : of the
    accuracy, times .5 to 1 points.
    """

    name: str
    problem: Problem
    noise: float
    largest: dict[str, float] = field(default_factory=dict)

    def costs(self, outcome: Outcome) -> dict[str, np.ndarray]:
        """Name of a cost -> (D,)."""
        latency, energy, leakage = (outcome.results[n] for n in RESULTS[self.name])
        area = outcome.results["area_mm2"]
        return {"latency": latency, "dynamic": energy - leakage, "leakage": leakage, "area": area}

    def score(self, codes: np.ndarray) -> np.ndarray:
        """(D,) the true weighted sum in points, NaN where infeasible."""
        outcome = self.problem.assess(codes)
        total = ACCURACY * outcome.results["accuracy"]
        for name, cost in self.costs(outcome).items():
            total = total + 100.0 * COSTS[name] * (1.0 - cost / self.largest[name])
        return np.where(outcome.feasible, total, np.nan)

    def seen(
        self,
        codes: np.ndarray,
        true: np.ndarray,
        seed: int,
        asked: dict[int, list[float]] | None = None,
    ) -> np.ndarray:
        """(D,) the weighted sum with the noise of a training on its accuracy.

        asked : what was answered before, by design; a design asked again is trained again.
        """
        space = self.problem.space
        layers = numbers(space.column("model.layers", codes))
        deviation = self.noise * (0.5 + 0.5 * layers / DEEPEST[self.name])
        keys = space.key(codes).tolist()
        asked = {} if asked is None else asked
        again = [len(asked.get(k, ())) for k in keys]
        marks = [[seed, k, n] if n else [seed, k] for k, n in zip(keys, again, strict=True)]
        draws = [np.random.default_rng(mark).standard_normal() for mark in marks]
        answers = true + ACCURACY * deviation * np.array(draws)
        for key, answer in zip(keys, answers, strict=True):
            asked.setdefault(key, []).append(float(answer))
        return answers


def source_of(name: str, noise: float) -> Source:
    """The source of a shipped space with serving alone."""
    text = read(find(name))
    latency, energy, leakage = RESULTS[name]
    text["workloads"] = {"serve": text["workloads"]["serve"]}
    text["workload"].pop("tau_t", None)  # counts in training alone
    text["objectives"] = {"accuracy": "max", latency: "min", energy: "min", "area_mm2": "min"}
    text["record"] = [leakage]
    text.pop("reference_point", None)
    space = load(text)
    sources = prepare.sources_of(space, None, 1, Path())
    problem, first = prepare.probe(space, sources, time.perf_counter)
    source = Source(name, problem, noise)
    for cost, values in source.costs(first).items():
        source.largest[cost] = float(values[first.feasible].max())
    return source


def best_of_all(source: Source, designs: int = 100_000) -> float:
    """The true optimum; of a space too large to enumerate, the best of a long search without
    noise."""
    space, best = source.problem.space, -np.inf
    if space.cardinality < 1 << 24:
        for start in range(0, space.cardinality, 1 << 16):
            codes = space.designs(np.arange(start, min(start + (1 << 16), space.cardinality)))
            best = max(best, float(np.nanmax(source.score(codes[space.allowed(codes)]))))
        return best
    start_with = np.zeros((0, len(space.parameters)), dtype=np.int32)
    engine = engines.Evolve(
        space, 0, engines.streams.random(space, 0), start_with, np.zeros(1), None, 1, 64
    )
    done = 0
    while done < designs:
        codes = engine.suggest(4096)
        true = source.score(codes)
        engine.update(codes, outcome_of(source, true))
        best, done = max(best, float(np.nanmax(true))), done + len(codes)
    return best


def engine_of(name: str, source: Source, seed: int) -> engines.Engine | Bosh:
    """A method on the weighted sum alone, minimised."""
    space = source.problem.space
    start = engines.streams.random(space, seed)
    if name == "bosh-forest":
        return Bosh(space, seed, start, Forest, START)
    if name == "bosh-networks":
        return Bosh(space, seed, start, Networks, START)
    if name == "parzen":
        return engines.Parzen(space, seed, start, np.zeros((0, len(space.parameters)), np.int32), 1)
    none = np.zeros((0, len(space.parameters)), np.int32)
    if name == "guided":  # which goes by the space's objectives: here one cost
        one = replace(space, objectives=space.objectives[-1:])
        start = engines.streams.random(one, seed)
        evolve = engines.Evolve(one, seed, start, none, np.array([TOP]), None, 1, 64)
        return engines.Guided(evolve)
    if name == "boshcode":
        from transcode.engines.boshcode import Boshcode

        return Boshcode(space, seed, start, none, 1, scatters=True)
    if name == "random":
        return start
    import optuna

    maker = engines.optuna_engine.sampler(name, 1)
    engine = engines.optuna_engine.OptunaEngine(space, maker, seed, FALLBACK, np.array([1.0]))
    # a line for every parameter that only one kind of accelerator has: GP draws those at random
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return engine


def outcome_of(source: Source, seen: np.ndarray) -> Outcome:
    """What an engine is told: the sum, to be minimised."""
    feasible = np.isfinite(seen)
    names = [MACHINE, *(e.text for e in source.problem.space.constraints)]
    margins = {n: np.where(feasible, 0.0, 1.0) for n in names}
    return Outcome({}, -seen[:, None], margins, feasible, Column.constant("", len(seen)))


def run(source: Source, method: str, seed: int) -> list[dict[str, object]]:
    """A row for each evaluation of a method."""
    engine = engine_of(method, source, seed)
    codes = np.zeros((0, len(source.problem.space.parameters)), dtype=np.int32)
    true, seen, last, spent = np.zeros(0), np.zeros(0), LAST.get(method, EVALUATIONS), 0.0
    batch = {"parzen": 8, "guided": 4}.get(method, 1)
    asked: dict[int, list[float]] = {}
    dry = 0
    while len(codes) < last and dry < DRY:
        begin = time.process_time()
        new = engine.suggest(min(batch, last - len(codes)))
        spent += time.process_time() - begin
        dry = 0 if len(new) else dry + 1
        its = source.score(new) if len(new) else np.zeros(0)
        noisy = source.seen(new, its, seed, asked) if len(new) else np.zeros(0)
        begin = time.process_time()
        engine.update(new, outcome_of(source, noisy - (TOP if method == "guided" else 0.0)))
        spent += time.process_time() - begin
        codes = np.concatenate([codes, new])
        true, seen = np.concatenate([true, its]), np.concatenate([seen, noisy])
    keys = source.problem.space.key(codes)
    seen = averaged(keys, seen)
    chosen = smoothed(codes, true, seen)
    rows = []
    for count in range(1, len(codes) + 1):
        if not np.isfinite(seen[:count]).any():
            continue
        at = int(np.nanargmax(latest(keys[:count], seen[:count])))
        rows.append(
            {
                "space": source.name,
                "noise": source.noise,
                "method": method,
                "seed": seed,
                "evaluation": count,
                "observed": f"{true[at]:.4f}",
                "smoothed": f"{chosen[count - 1]:.4f}",
                "best": f"{np.nanmax(true[:count]):.4f}",
                "highest_seen": f"{seen[at]:.4f}",
                "processor_s": f"{spent:.2f}",
            }
        )
    return rows


def averaged(keys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(D,) mean of all that was answered for a design so far, by (D,) keys of designs."""
    sums: dict[int, tuple[float, int]] = {}
    means = np.empty(len(seen))
    for place, (key, value) in enumerate(zip(keys.tolist(), seen.tolist(), strict=True)):
        total, often = sums.get(key, (0.0, 0))
        sums[key] = (total + value, often + 1)
        means[place] = (total + value) / (often + 1)
    return means


def latest(keys: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(D,) of each design only what is known of it last, NaN before that."""
    _, back = np.unique(keys[::-1], return_index=True)
    last = len(keys) - 1 - back
    newest = np.full(len(seen), np.nan)
    newest[last] = seen[last]
    return newest


def smoothed(codes: np.ndarray, true: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(D,) true value of the design a forest on the first evaluations takes for the best."""
    chosen = np.full(len(codes), np.nan)
    for count in range(EVERY, len(codes) + 1, EVERY):
        good = np.flatnonzero(np.isfinite(seen[:count]))
        if len(good) < EVERY // 2:
            continue
        forest = Forest(count)
        forest.fit(codes[good].astype(float), seen[good])
        mean, _ = forest.predict(codes[good].astype(float))
        chosen[count - 1 : count - 1 + EVERY] = true[good[int(np.argmax(mean))]]
    return chosen


Curves = dict[str, list[dict[str, np.ndarray]]]


def curves_of(path: Path) -> dict[tuple[str, str], Curves]:
    """(space, noise) -> method -> for each seed: column -> (EVALUATIONS,), NaN where missing."""
    by_space: dict[tuple[str, str], dict[tuple[str, str], dict[str, np.ndarray]]] = {}
    names = FIELDS[5:]
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            runs = by_space.setdefault((row["space"], row["noise"]), {})
            empty = {n: np.full(EVALUATIONS, np.nan) for n in names}
            at = runs.setdefault((row["method"], row["seed"]), empty)
            for name in names:
                at[name][int(row["evaluation"]) - 1] = float(row[name])
    return {
        key: {m: [c for (name, _), c in runs.items() if name == m] for m, _ in runs}
        for key, runs in by_space.items()
    }


def ended(highest_seen: np.ndarray) -> int:
    """Evaluations after which BOSHCODE's patience is over."""
    last = START
    for count in range(START + 1, len(highest_seen) + 1):
        if highest_seen[count - 1] > highest_seen[count - 2]:
            last = count
        if count - last >= PATIENCE:
            return count
    return len(highest_seen)


def needed(curve: np.ndarray, target: float) -> float:
    """The first evaluation from which the target is held for HOLD evaluations; else infinite.

    A lucky draw shows a good design for a moment and another hides it again: that is no success.
    """
    known = curve[: int(np.flatnonzero(np.isfinite(curve))[-1]) + 1]
    below = np.concatenate([[-1], np.flatnonzero(~(known >= target)), [len(known)]])
    held = np.flatnonzero(np.diff(below) > HOLD)
    return float(below[held[0]] + 2) if len(held) else np.inf


def table(path: Path, optimum: dict[str, float]) -> str:
    """Regret by evaluation, and evaluations needed, as Markdown; medians over the seeds."""
    lines = []
    for (space, noise), methods in curves_of(path).items():
        most = max(float(np.nanmax(c["best"])) for runs in methods.values() for c in runs)
        top = max(most, optimum.get(space, most))
        lines += ["", f"{space}, noise x {noise}; best known {top:.3f}", ""]
        for rule in ("observed", "smoothed", "best"):
            lines += regrets(methods, rule, top)
        for rule in ("observed", "smoothed"):
            for reference in ("bosh-forest", "bosh-networks"):
                if reference in methods:
                    lines += evaluations(methods, rule, reference)
    return "\n".join(lines)


def regrets(methods: Curves, rule: str, top: float) -> list[str]:
    """Lines of a table: median (worst) regret at marks."""
    marks = (50, 100, 150, 200, 300)
    lines = [
        f"regret, {rule}",
        "",
        "| method | seeds | " + " | ".join(map(str, marks)) + " | processor s |",
        "|---" * (len(marks) + 3) + "|",
    ]
    for method, runs in methods.items():
        values = [top - np.array([c[rule][m - 1] for c in runs]) for m in marks]
        cells = [
            f"{np.median(v):.2f} ({v.max():.2f})" if np.isfinite(v).all() else "" for v in values
        ]
        spent = np.median([np.nanmax(c["processor_s"]) for c in runs])
        lines.append(f"| {method} | {len(runs)} | " + " | ".join(cells) + f" | {spent:.1f} |")
    return [*lines, ""]


def evaluations(methods: Curves, rule: str, reference: str) -> list[str]:
    """Lines of a table: median evaluations until a method has what the reference has."""
    runs = methods[reference]
    ends = [ended(c["highest_seen"]) for c in runs]
    targets = {f"at {m}": float(np.median([c[rule][m - 1] for c in runs])) for m in (100, 200, 300)}
    final = float(np.median([c[rule][e - 1] for c, e in zip(runs, ends, strict=True)]))
    targets[f"at its end ({np.median(ends):.0f})"] = final
    lines = [
        f"evaluations to what {reference} has, {rule}",
        "",
        "| method | " + " | ".join(f"{n}: {t:.3f}" for n, t in targets.items()) + " |",
        "|---" * (len(targets) + 1) + "|",
    ]
    for method, its in methods.items():
        cells = []
        for target in targets.values():
            counts = [needed(c[rule], target) for c in its]
            middle = float(np.median(counts))
            never = f"> {LAST.get(method, EVALUATIONS)}"
            cells.append(f"{middle:.0f}" if np.isfinite(middle) else never)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def done_in(path: Path) -> set[tuple[str, str, str, str]]:
    """(space, noise, method, seed) that stand in the file already."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        return {(r["space"], r["noise"], r["method"], r["seed"]) for r in rows}


def append(path: Path, rows: list[dict[str, object]]) -> None:
    """Adds the rows of a run to the file."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """Measures what is missing and shows all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/noisy-accuracy"))
    parser.add_argument("--spaces", nargs="+", default=["bert"], choices=sorted(RESULTS))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--noise", type=float, default=1.0, help="times .5 to 1 points")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only show what was measured")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path, optimum = asked.out / "noisy.csv", {}
    for name in () if asked.table else asked.spaces:
        source = source_of(name, asked.noise)
        for method in asked.methods:
            for seed in range(asked.seeds):
                if (name, str(source.noise), method, str(seed)) not in done_in(path):
                    rows = run(source, method, seed)
                    append(path, rows)
                    print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        known = asked.out / f"optimum-{name}.txt"
        if not known.exists():
            known.write_text(f"{best_of_all(source):.6f}\n", encoding="utf-8")
    for known in asked.out.glob("optimum-*.txt"):
        optimum[known.stem.partition("-")[2]] = float(known.read_text(encoding="utf-8"))
    print(table(path, optimum))
    return 0


if __name__ == "__main__":
    sys.exit(main())
