"""Where designs are evaluated: here, on processes of this machine, or on any executor.

What is sent away are pure functions of their arguments. A worker that dies costs only the
time to ask again; who answers, and how many there are, changes no result.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from elector.base.errors import EvaluationError
from transcode import pareto
from transcode.engines.base import Examined
from transcode.engines.evolve.islands import IslandTask, advance, together
from transcode.objective import Accuracy, Columns, Costs, Outcome, Problem, joined
from transcode.search.answers import Examiner, signature

A = TypeVar("A")
R = TypeVar("R")
#: Seconds of work that are worth sending to another process, and from which on each gets two
#: pieces rather than one, for balance; how often a task is asked for again.
_WORTH, _LONG, _TRIES = 0.05, 2.0, 5
#: Seconds between two looks of a worker at whether the search is still there, and of the search
#: at whether workers are.
_LOOK = 1.0
#: Points of a front for each process whose volumes are worth sending away.
_SHARED = 16
#: What a worker does on signals that a terminal or a batch system sends to all of a search.
_ALONE = {"SIGINT": signal.SIG_IGN, "SIGHUP": signal.SIG_IGN, "SIGTERM": signal.SIG_DFL}
#: Batches of fewer designs run faster on one thread.
_THREADED = 8192


@dataclass(frozen=True)
class Simulator:
    """The simulator as an evaluator that can be sent to other processes.

    level : of elector.evaluation.path. jobs : threads, 0 for every processor.
    """

    level: str
    jobs: int

    def __call__(self, columns: Columns, size: int) -> Costs:
        """Costs of `size` designs."""
        from elector.evaluation.path import evaluate

        jobs = 1 if size < _THREADED else self.jobs
        return evaluate(columns, size, jobs=jobs, level=self.level)


def island(problem: bytes, task: IslandTask) -> Examined:
    """One round of an island; a pure function, for whatever executor.

    problem : the pickled Problem.
    """
    known = _unpacked(problem)
    return advance(known.space, known.assess, task)


def outcome(problem: bytes, codes: np.ndarray) -> Outcome:
    """What becomes of (D, S) designs; a pure function, for whatever executor.

    problem : the pickled Problem.
    """
    return _unpacked(problem).assess(codes)


@lru_cache(maxsize=2)
def _unpacked(problem: bytes) -> Problem:
    """The problem, read once in each process."""
    unpacked: Problem = pickle.loads(problem)
    return unpacked


def volumes(problem: bytes, asked: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """`pareto.apart`; a pure function of what is asked.

    problem : the pickled Problem, which is not looked at.

    asked : front (F, O), points (N, O) and reference (O,) as `pareto.apart` takes them.
    """
    return pareto.apart(*asked)


def signed(function: Callable[[bytes, A], R], problem: bytes, argument: A) -> tuple[str, R]:
    """Who answers, and what."""
    return signature(), function(problem, argument)


def _idle() -> None:
    """Nothing."""


class Crew:
    """Those who evaluate designs for one search.

    jobs : processes; with 1, or with an evaluator that cannot be sent away, all is done here.
    executor : used instead of processes of this machine; left open in the end.
    watch : called while its answers are waited for, raises where none is to be expected.
    """

    def __init__(
        self,
        problem: Problem,
        jobs: int,
        executor: Executor | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.problem = problem
        self.jobs = jobs or len(os.sched_getaffinity(0))
        self.given, self.watch = executor, watch
        self.pool: Executor | None = None
        self.blob: bytes | None = None
        self.each = 0.0  # seconds a design took in the last batch
        self.examiner = Examiner(problem)
        # what training says of a design depends on those beside it: one batch, one place
        pointwise = isinstance(problem.accuracy, Accuracy | None)
        if pointwise and (self.jobs > 1 or executor is not None):
            alone = problem
            if isinstance(problem.evaluator, Simulator):
                alone = replace(problem, evaluator=replace(problem.evaluator, jobs=1))
            try:
                self.blob = pickle.dumps(alone)
            except (pickle.PicklingError, AttributeError, TypeError):
                self.blob = None  # such as a function within a function: only this process has it

    @property
    def many(self) -> bool:
        """Whether others do the work."""
        return self.blob is not None

    def rounds(
        self, tasks: Sequence[IslandTask], meanwhile: Callable[[], None] = _idle
    ) -> Examined:
        """What the islands found, in the order of the tasks.

        meanwhile : what this process does first, while others work.
        """
        space, assess = self.problem.space, self.problem.assess
        if self.blob is None:
            meanwhile()
            return together(space, assess, [advance(space, assess, task) for task in tasks])
        finds = self._ask(island, tasks, self.examiner.island_round, meanwhile)
        return together(space, assess, finds)

    def assess(self, codes: np.ndarray, meanwhile: Callable[[], None] = _idle) -> Outcome:
        """What becomes of (D, S) designs; `meanwhile` as in `rounds`."""
        work = len(codes) * self.each
        most = (2 if work > _LONG else 1) * self.jobs
        pieces = min(int(work / _WORTH), most, len(codes))
        begin, several = time.perf_counter(), self.blob is not None and pieces > 1
        if several:
            parts = np.array_split(codes, pieces)
            assessed = joined(self._ask(outcome, parts, self.examiner.outcome, meanwhile))
        else:
            meanwhile()
            assessed = self.problem.assess(codes)
        took = time.perf_counter() - begin
        self.each = took * (min(pieces, self.jobs) if several else 1) / max(len(codes), 1)
        return assessed

    def apart(self, front: np.ndarray, points: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """`pareto.apart`, shared out to the processes of this machine.

        front : (F, O). points : (N, O).
        """
        if self.blob is None or self.given is not None or len(points) < _SHARED * self.jobs:
            return pareto.apart(front, points, reference)
        parts = [(front, part, reference) for part in np.array_split(points, self.jobs)]
        return np.concatenate(self._ask(volumes, parts, self.examiner.volumes))

    def _ask(
        self,
        function: Callable[[bytes, A], R],
        arguments: Sequence[A],
        examine: Callable[[A, R, str], None],
        meanwhile: Callable[[], None] = _idle,
    ) -> list[R]:
        """The function of each argument. Asks again for what a dead worker did not answer.

        examine : raises for an answer that cannot be one to its argument, naming who gave it.
        """
        assert self.blob is not None
        answers: dict[int, R] = {}
        for _ in range(_TRIES):
            pool = self._open()
            try:
                asked = {
                    place: pool.submit(signed, function, self.blob, argument)
                    for place, argument in enumerate(arguments)
                    if place not in answers
                }
                meanwhile()
                meanwhile = _idle
                for place, future in asked.items():
                    who, answer = self._answer(future)
                    examine(arguments[place], answer, who)
                    answers[place] = answer
                return [answers[place] for place in range(len(arguments))]
            except BrokenProcessPool:
                self.close()
        raise EvaluationError(f"worker processes died {_TRIES} times in a row")

    def _answer(self, future: Future[tuple[str, R]]) -> tuple[str, R]:
        """What is answered, however long it takes, as long as somebody is there to answer."""
        while self.watch is not None and not wait([future], timeout=_LOOK).done:
            self.watch()
        return future.result()

    def _open(self) -> Executor:
        if self.given is not None:
            return self.given
        if self.pool is None:
            import multiprocessing as mp

            # Forked workers start at once and need no importable main module.
            kind = "fork" if "fork" in mp.get_all_start_methods() else None
            self.pool = ProcessPoolExecutor(
                self.jobs, mp.get_context(kind), initializer=_begin, initargs=(os.getpid(),)
            )
        return self.pool

    def close(self, *, at_once: bool = False) -> None:
        """Sends the processes home: what they are doing is the last they do.

        at_once : nobody wants to know it any more; one that is stuck is ended, too.

        It waits for them. Python would at its end, and then it may write to a pipe that the pool
        is just closing, which leaves a traceback.
        """
        pool, self.pool = self.pool, None
        if pool is None:
            return
        if at_once:
            for worker in list((getattr(pool, "_processes", None) or {}).values()):
                worker.kill()
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(parent: int) -> None:
    """What a worker does first: signals are the search's to handle, and it ends with the search.

    SIGTERM ends it, which the pool needs; the search asks for its work again, or ends, too.
    """
    for name, action in _ALONE.items():
        if name in signal.Signals.__members__:
            signal.signal(signal.Signals[name], action)
    _keep_memory()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _keep_memory() -> None:
    """Asks glibc to keep what is freed.

    Arrays of some megabytes come and go with every batch; by default each is mapped and cleared
    anew, which costs a tenth of the time.
    """
    import ctypes

    trim, threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system's library
        return
    mallopt(threshold, 32 << 20)
    mallopt(trim, 1 << 30)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # a killed search cannot say goodbye
        time.sleep(_LOOK)
    os._exit(1)
