"""Models trained for a search: some steps at a time, from where they stopped.

    proxies/<model>/seed-<s>/model.json     what is trained (seeds train in processes of their own)
    proxies/<model>/seed-<s>/scores.json    steps -> validation score
    proxies/<model>/seed-<s>/checkpoint.pt  until the last step

The learning rate follows the whole schedule, so that a model that goes on is the one that was
stopped. A search compares validation scores; the test split is left for what it chooses.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from elector.base import paths
from elector.base.errors import InputError
from transcode.runs.files import read_json, write_json
from transcode.training import checkpoint
from transcode.training.build import described, for_task
from transcode.training.copy import Copy
from transcode.training.loop import one_thread
from transcode.training.need import need
from transcode.training.recipes import recipe
from transcode.training.settings import Settings
from transcode.training.tasks import list_tasks, load_task


class Proxies:
    """Trains models of a task and keeps them in `folder`.

    steps : of the whole schedule. jobs : models trained at once, each on one thread; 0 for one
    a processor. metric : what a score is.
    """

    def __init__(self, folder: Path, task: str, steps: int, jobs: int = 1) -> None:
        try:
            self.task = load_task(task)
        except InputError as error:
            raise InputError(
                "nothing is trained on this task",
                field="workload.task",
                value=task,
                allowed=list_tasks(),
                hint=error.hint,
            ) from None
        self.name, self.folder, self.steps, self.jobs = task, folder, steps, jobs
        self.metric = self.task.metric
        self.named: dict[str, str] = {}

    @property
    def trained_with(self) -> dict[str, int]:
        """Settings that the task decides, whatever a space says: dotted name -> value."""
        settings = {"workload.sequence_length": self.task.sequence_length}
        if self.task.vocabulary is not None:
            settings["model.vocabulary"] = self.task.vocabulary
        return settings

    def key(self, settings: Mapping[str, object]) -> str:
        """The same for settings that mean the same module and thresholds."""
        written = json.dumps(dict(settings), sort_keys=True, default=str)
        if written not in self.named:
            fitted = for_task(self._model(settings), self.task)
            shape = {k: v for k, v in vars(fitted).items() if k not in ("name", "source")}
            taus = [float(str(settings.get(f"workload.{n}", 0.0))) for n in ("tau_i", "tau_t")]
            content = repr((self.task.name, self.steps, sorted(shape.items()), taus))
            self.named[written] = hashlib.sha256(content.encode()).hexdigest()[:20]
        return self.named[written]

    def prepare(self, wanted: Sequence[tuple[Mapping[str, object], int]], steps: int) -> None:
        """Trains what is not known of these (settings, seed) side by side, each model once.

        wanted : (settings, seed) of each model.
        """
        missing = {}
        for settings, seed in wanted:
            if str(steps) not in _read(self.of(settings) / f"seed-{seed}" / "scores.json"):
                missing[self.key(settings), seed] = (dict(settings), seed)
        if self.jobs == 1 or len(missing) < 2:
            return  # `score` trains them one after another
        joblib = need("joblib", "joblib")
        joblib.Parallel(n_jobs=self.jobs or -1)(
            joblib.delayed(_worker)(self.folder, self.name, self.steps, settings, seed, steps)
            for settings, seed in missing.values()
        )

    def score(self, settings: Mapping[str, object], seed: int, steps: int) -> float:
        """Validation score [points] after `steps` steps, NaN where training diverged.

        Goes on from the last steps that were asked for; what is known is read back.
        """
        place = self.of(settings) / f"seed-{seed}"
        scores = _read(place / "scores.json")
        if str(steps) not in scores:
            place.mkdir(parents=True, exist_ok=True)
            about = {"task": self.task.name, "steps": self.steps, "settings": dict(settings)}
            write_json(place / "model.json", about)
            scores[str(steps)] = self._train(settings, seed, steps, place)
            write_json(place / "scores.json", scores)
        score = scores[str(steps)]
        return math.nan if score is None else float(score)

    def sampling(self, score: float) -> float:
        """Standard error [points] of a share of the validation examples; 0 for a forecast."""
        if self.task.kind == "forecast" or not 0.0 <= score <= 100.0:
            return 0.0
        of = int(np.prod(self.task.valid.y.shape))
        return math.sqrt(score * (100.0 - score) / of)

    def _model(self, settings: Mapping[str, object]) -> Any:
        own = {k: v for k, v in settings.items() if k.startswith("model.")}
        return described(str(settings["model"]), own)

    def _train(
        self, settings: Mapping[str, object], seed: int, steps: int, place: Path
    ) -> float | None:
        """From the checkpoint, or from the beginning, to `steps`; leaves the next checkpoint."""
        usual = recipe(self.task)
        run = Settings(
            model=str(settings["model"]),
            task=self.task.name,
            steps=self.steps,
            seed=seed,
            batch=usual.batch,
            learning_rate=usual.learning_rate,
            dropout=usual.dropout,
            tau_i=float(str(settings.get("workload.tau_i", 0.0))),
            tau_t=float(str(settings.get("workload.tau_t", 0.0))),
        )
        with one_thread():
            copy = Copy(run, self._model(settings), self.task)
            state, first = checkpoint.load(place), 0
            if state is not None and state["step"] <= steps:
                first = int(state["step"])
                copy.restore(state["copy"])
            for step in range(first, steps):
                rows = self.task.batch(step, size=run.batch, seed=seed)
                x, y = (torch.from_numpy(np.array(part)) for part in rows)
                if not math.isfinite(copy.step(step, x, y)):
                    return None
            score = copy.measure(self.task.valid).score
            if steps < self.steps:
                checkpoint.save(place, {"step": steps, "copy": copy.state()})
            else:  # nothing goes on from here
                (place / checkpoint.NAME).unlink(missing_ok=True)
        return score if math.isfinite(score) else None

    def of(self, settings: Mapping[str, object]) -> Path:
        """Where a model lies."""
        return self.folder / self.key(settings)


@functools.cache
def _of_process(folder: Path, task: str, steps: int) -> Proxies:
    return Proxies(folder, task, steps)


def _worker(
    folder: Path, task: str, whole: int, settings: dict[str, object], seed: int, steps: int
) -> None:
    """Trains one model in a process of its own; the score is read from its file."""
    _of_process(folder, task, whole).score(settings, seed, steps)


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "a model's scores", "--fresh") if paths.exists(path) else {}
